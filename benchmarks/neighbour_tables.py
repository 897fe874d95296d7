"""The tables of neighbour_starts.py, from rows that it has measured."""
from statistics import mean

from neighbour_plan import SCRATCH
from quality_tables import broken, grouped, measured_by, spread, to_quality
from rivals_common import table

FEWEST = 16  # images whose KID is told


def report(rows, ways):
    """Return the Markdown tables of rows, in words where there are none."""
    if not rows:
        return "nothing is measured yet"
    of_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in ("model", "pair", "real")}
    domains = {images: [row | {"recipe": row["way"]} for row in of_kind["model"] if row["images"] == images]
               for images in ("severe", "mild")}
    parts = [part for images, found in domains.items() if found for part in of_domain(images, found, ways)]
    if of_kind["pair"] or of_kind["real"]:
        parts += of_pairs(of_kind["pair"], of_kind["real"], ways)
    return "\n\n".join([*parts, measured_by(rows)])


def of_domain(images, rows, ways):
    """Return the parts of the report on the models of a domain."""
    groups = grouped(rows, ways)
    body = [[way, f"{budget:g}", len(group), f"{mean(row['core_seconds'] for row in group):.0f}",
             f"{mean(row['start_core_seconds'] for row in group):.0f}", f"{mean(row['steps'] for row in group):.0f}",
             spread([row["kid"]["held_out"][0] for row in group]), spread([row["kid"]["training"][0] for row in group])]
            for (way, budget), group in groups.items()]
    header = ["way", "budget", "seeds", "core-seconds", "of its start", "steps", "KID held-out", "KID training"]
    counts = " or ".join(sorted({str(row["num_samples"]) for group in groups.values() for row in group}))
    compared = to_quality(groups, SCRATCH) if images == "severe" else []
    return [f"### The {images} domain", table(header, body),
            f"KID x 1000 of {counts or 'no'} samples, mean and half the range over the seeds.",
            *broken(rows), *compared]


def of_pairs(pairs, real, ways):
    """Return the parts of the report on translations."""
    rows = [row | {"recipe": row["way"]} for row in pairs]
    body = []
    for (way, _), group in grouped(rows, ways).items():
        followed = sum(row["depth_rules"].get("progress", 0) for row in group)
        body.append([way, len(group), f"{mean(row['core_seconds'] for row in group):.0f}",
                     spread([row["kid_last"][0] for row in group]) if all(row["kid_last"] for row in group) else "-",
                     kid_text(group), spread([row["num_middle"] for row in group], 0),
                     spread([row["last_severity"] for row in group], 3),
                     spread([100 * row["forward"] for row in group]),
                     f"{followed} of {sum(row['num_sources'] for row in group)}"])
    body += [["real", 1, "-", spread([row["kid_last"][0]]), kid_text([row]), row["num_middle"],
              f"{row['severity']['severe']:.3f}", "-", "-"] for row in real]
    return ["### Translations from mild to severe", table(
        ["way", "seeds", "core-seconds of training", "KID last", "KID middle", "middle images", "severity last",
         "steps forward, %", "depths by the rule"], body),
        "KID x 1000, mean and half the range over the seeds. Core-seconds are those of both models and of what they "
        "started from. `real`: severe training images as the last ones, unlabelled images of the same measured "
        "severity as the middle ones, and the mean severity of held-out severe images.", *broken(rows)]


def kid_text(group):
    """Return the KID of the middle images of rows, in words where one has too few."""
    if any(row["kid_middle"] is None for row in group):
        return f"fewer than {FEWEST} images"
    return spread([row["kid_middle"][0] for row in group])
