"""Tables of a study's report, in Markdown."""
from collections.abc import Sequence

from add.classification.score_tables import GRADED_BY, explanations, table
from add.classification.scores import mean_and_ends
from add.interfaces import Row
from add.study.study_plan import CONTROLS, RIVALS

KID = "kid_efficientnet_lite0"
COMPARED = {KID: "KID", "density": "density", "coverage": "coverage", "vendi": "Vendi score",
            "diversity": "perceptual diversity", "copies_features": "copies (features)", "copies_pixels":
            "copies (pixels)"}
REAL = "real"  # one half of the real test images against the other
NO_GENERATORS = (*CONTROLS, REAL)
REAL_SETS = ("training, other: real training images in the place of generated ones, of the same domain and, as they "
             "are, of the other one, by KID alone, which does not depend on how many they are; real: one half of the "
             "real test images against the other. KID: smaller is better; density, coverage, Vendi score and "
             "diversity: near to those of real is better, of as many images.")


def markdown(result: Row) -> str:
    """Return the report as Markdown: for each size of the training set classification, labels, metrics and commands."""
    options, machine = result["options"], result["machine"]
    lines = [f"# Study: {options['dataset']}", "",
             f"{options['image_size']} pixels, seed {options['seed']}, {result['date']}, {machine['cores']} cores, "
             f"torch {machine['torch']}, commands at a time: {options['jobs']}.", ""]
    for size, found in result["sizes"].items():
        lines += [f"## {size} training images per domain", "", "### Classification", "",
                  table(found["classification"], explained=False)]
        if found["labels"]:
            lines += ["### Soft labels", "", *_label_lines(found["labels"])]
        if found["metrics"]:
            lines += ["### Generators", "", *generator_lines(found), "### Images", "", *_metric_lines(found["metrics"])]
        lines += ["### Commands", "", "| step | seconds | command |", "| --- | --- | --- |",
                  *(f"| {name} | {step['seconds']:g} | `{step['command']}` |" for name, step in found["steps"].items()),
                  ""]
    lines += ["## Scores", "", *explanations(found["classification"] for found in result["sizes"].values())]
    return "\n".join(lines)


def generator_lines(found: Row) -> list[str]:
    """Return the lines of a table with a row per generator: metrics, seconds, and the accuracy gained by its images.

    Args:
        found: results for one size of the training set, see `add.study.study_report.collect`.
    """
    domains = found["classification"]["settings"]["domains"]
    head = ["generator", *COMPARED.values(), "seconds to train", "seconds to make", "gained", "error gained"]
    lines = [f"Means over both domains; {REAL_SETS} Seconds are those of the commands, both domains together. Gained: "
             "accuracy on the first test set against the strongest method without generated images; error gained: the "
             "same of severity_rmse_linked, where less is better.", "", f"| {' | '.join(head)} |",
             "| --- " * len(head) + "|"]
    for name, means in generator_means(found["metrics"], domains).items():
        cells = ["" if means[metric] is None else f"{means[metric]:.4g}" for metric in COMPARED]
        cells += ["", ""] if name in NO_GENERATORS else [f"{seconds:.0f}" for seconds in _seconds(found["steps"], name,
                                                                                                  domains)]
        cells += [_gained(found["classification"], name, score) for score in ("accuracy", GRADED_BY)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def generator_means(metrics: Row, domains: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Return {generator or set of real images: {metric of COMPARED: mean over both domains, or None}}.

    Args:
        metrics: {set of images: what `add evaluate` measured}, those of one size of the training set.
    """
    sets = {"unconditional": [f"samples_{domain}" for domain in domains],
            "progressive": ["translation_0_1", "translation_1_0"],
            **{name: [f"{name}_{domain}" for domain in domains] for name in (*RIVALS, *CONTROLS)}}
    found: dict[str, dict[str, float | None]] = {}
    reals: dict[str, float | None] = {}
    for name, members in sets.items():
        measured = [metrics[member]["metrics"] for member in members if member in metrics]
        if len(measured) == len(members):
            means = {metric: _mean(_at_count(part.get(metric, {})) for part in measured) for metric in COMPARED}
            found[name] = {**dict.fromkeys(COMPARED), KID: means[KID]} if name in CONTROLS else means
            reals = reals or {metric: _mean(part.get(metric, {}).get("real") for part in measured)
                              for metric in COMPARED}
    return found | ({REAL: reals} if found else {})


def _mean(values):
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def _seconds(steps, name, domains):
    """Return (seconds to train, seconds to make images) of a generator."""
    prefix = f"{name}_" if name in RIVALS else ""
    train = [f"train_{name}"] if name == "lofgan" else [f"train_{prefix}{domain}" for domain in domains]
    make = ["translate"] if name == "progressive" else [f"sample_{prefix}{domain}" for domain in domains]
    return tuple(sum(steps[step]["seconds"] for step in part if step in steps) for part in (train, make))


def _gained(classification, method, score):
    """Return the paired difference in a score with its interval on the first test set, or "" where there is none."""
    found = next(iter(classification["tests"].values())).get(method, {}).get(score, {})
    if not found.get("difference"):
        return ""
    return mean_and_ends(*found["difference"])


def _at_count(metric):
    """Return a metric of generated images, at the number that the real ones were measured at where there is one."""
    return metric["fake_at_count"] if metric.get("fake_at_count") is not None else metric.get("fake")


def _label_lines(labels):
    """Return the lines on the label rules and on measured severity by m."""
    lines = ["| rule | Spearman with measured severity | calibration error | root mean square error |",
             "| --- | --- | --- | --- |"]
    for rule, quality in labels["rules"].items():
        lines.append(f"| {rule} | {quality['spearman']:.3f} | {quality['calibration_error']:.3f} | "
                     f"{quality['rmse']:.3f} |")
    low, high = labels["domain_means"]
    lines += ["", f"Mean measured severity by m (the domains' training images have {low:.3f} and {high:.3f}):", ""]
    amount = max(map(len, labels["by_m"].values()))
    lines += ["| domain | " + " | ".join(f"m = {m}" for m in range(1, amount + 1)) + " |",
              "| --- " * (amount + 1) + "|"]
    lines += [f"| {direction} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |"
              for direction, means in labels["by_m"].items()]
    return [*lines, ""]


def _metric_lines(metrics):
    """Return a table: a row per metric, and for each set of images the value and that of real images at the same n."""
    names = list(dict.fromkeys(name for found in metrics.values() for name in found["metrics"]))
    lines = ["In each cell: generated images, or the real training images that stand for them, at the same number as "
             "(in brackets) one half of the real test images against the other.", "",
             "| metric | " + " | ".join(metrics) + " |", "| --- " * (len(metrics) + 1) + "|"]
    for name in names:
        cells = ["" if name.startswith("copies") and images.startswith(tuple(CONTROLS)) else
                 _value(found["metrics"].get(name)) for images, found in metrics.items()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def _value(metric):
    """Return "fake (real)" of a metric, as far as there is any."""
    if metric is None:
        return ""
    fake = _at_count(metric)
    cell = "" if fake is None else f"{fake:.4g}"
    return cell + (f" ({metric['real']:.4g})" if metric.get("real") is not None else "")
