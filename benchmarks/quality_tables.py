"""The tables of time_to_quality.py, and the core-seconds to a given quality, which neighbour_starts.py gives, too."""
import math
from statistics import mean

from quality_recipes import RECIPES, SETS, SLOW
from rivals_common import table

EMBEDDED = ("The core-seconds of the embedded model are the minutes of its progress.csv: by the clock of one thread, "
            "with its files and measurements. Those of the others were measured here. It trained on 90 % of the "
            "patches.")


def report(rows):
    """Return the Markdown tables of rows as `time_to_quality.py` writes them, in words where there are none."""
    parts = [of_set(name, [row for row in rows if row["set"] == name]) for name in SETS]
    return "\n\n".join(part for part in parts if part) or "nothing is measured yet"


def of_set(name, rows):
    """Return the tables of the rows of one set, "" without any."""
    if not rows:
        return ""
    groups = grouped(rows)
    body = [line_of(recipe, group) for (recipe, _), group in groups.items()]
    samples = sorted({(row["recipe"] in SLOW, row["num_samples"]) for row in rows if row["num_samples"]})
    drawn = ", ".join(f"{count} for {'gd and other libraries' if slow else 'ours'}" for slow, count in samples)
    parts = [f"### {name}, {SETS[name][0]} px",
             table(["recipe", "seeds", "core-seconds", "steps", "core-s per step", "parameters, M", "KID held-out",
                    "KID training", "held-out v error"], body),
             f"KID x 1000, mean and half the range over the seeds. Samples: {drawn or 'none'}. "
             + measured_by(rows)]
    if any(row["recipe"] == "embedded" for row in rows):
        parts.append(EMBEDDED)
    return "\n\n".join([*parts, *broken(rows), *to_quality(groups)])


def measured_by(rows):
    """Return a sentence on processors and versions."""
    cpus = sorted({row["cpu"] for row in rows})
    versions = sorted({f"{name} {number}" for row in rows for name, number in row["versions"].items()})
    return f"One thread of {', '.join(cpus)}; {', '.join(versions)}."


def broken(rows):
    """Return a sentence for each row whose training broke down."""
    return [f"{row['recipe']}, seed {row['seed']}, {row['budget']:g} core-seconds broke down: {row['broke_down']}."
            for row in rows if row["broke_down"]]


def grouped(rows, recipes=RECIPES):
    """Return {(recipe, budget): rows of all seeds}, by budget and in the order of `recipes`, without broken ones."""
    good = [row for row in rows if not row["broke_down"]]
    keys = sorted({(row["recipe"], row["budget"]) for row in good}, key=lambda key: (key[1], recipes.index(key[0])))
    return {key: [row for row in good if (row["recipe"], row["budget"]) == key] for key in keys}


def line_of(recipe, group):
    """Return the cells of one recipe at one budget."""
    first = group[0]
    trained = bool(first["steps"])
    return [recipe, len(group), f"{mean(row['core_seconds'] for row in group):.0f}" if first["core_seconds"] else "-",
            f"{mean(row['steps'] for row in group):.0f}" if trained else "-",
            f"{mean(row['core_seconds'] / row['steps'] for row in group):.3f}" if trained else "-",
            f"{first['parameters'] / 1e6:.2f}" if first["parameters"] else "-",
            spread([row["kid"]["held_out"][0] for row in group]),
            spread([row["kid"]["training"][0] for row in group]) if "training" in first["kid"] else "-",
            f"{mean(row['v_error'] for row in group):.4f}" if first["v_error"] is not None else "-"]


def spread(values, digits=1):
    """Return the mean of values with half their range, as text."""
    middle = f"{mean(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} +- {(max(values) - min(values)) / 2:.{digits}f}"


def curves(groups):
    """Return {recipe: [(core-seconds, KID to held-out images)]}, means over the seeds, ascending in core-seconds."""
    found = {}
    for (recipe, _), group in groups.items():
        if group[0]["core_seconds"]:
            found.setdefault(recipe, []).append((mean(row["core_seconds"] for row in group),
                                                 mean(row["kid"]["held_out"][0] for row in group)))
    return {recipe: sorted(curve) for recipe, curve in found.items()}


def seconds_to_reach(curve, level):
    """Return the core-seconds at which a curve [(core-seconds, KID)] comes down to a level, or None where it doesn't.

    Between two points KID is taken as linear in the logarithm of core-seconds. Where the first point is at the level
    or below it, its own core-seconds are returned: the most that it takes.
    """
    before = None
    for seconds, value in curve:
        if value <= level:
            if before is None:
                return seconds
            share = (before[1] - level) / (before[1] - value)
            return math.exp((1 - share) * math.log(before[0]) + share * math.log(seconds))
        before = seconds, value
    return None


def to_quality(groups, reference="before"):
    """Return [the table of core-seconds to the KID that a recipe has at its largest budget], [] without that recipe."""
    found = curves(groups)
    if reference not in found:
        return []
    own, level = found[reference][-1]
    body = []
    for recipe, curve in found.items():
        reached = seconds_to_reach(curve, level)
        if reached is None:
            body.append([recipe, f"not reached by {curve[-1][0]:.0f}", "-"])
            continue
        bound = curve[0][1] <= level and curve[0] != (own, level)
        body.append([recipe, f"{'at most ' if bound else ''}{reached:.0f}",
                     f"{'at least ' if bound else ''}{own / reached:.2f}"])
    return [f"Core-seconds to a held-out KID x 1000 of {level:.1f}, what `{reference}` has after {own:.0f}:",
            table(["recipe", "core-seconds", "times fewer"], body)]
