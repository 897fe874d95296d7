"""What a classification comparison found: a summary over the seeds, and tables of it."""
from collections.abc import Iterable, Sequence
from typing import Any

from add.classification.grading import SHRUNK
from add.classification.score_reads import lower_is_better, reading_lines
from add.classification.scores import interval, mean_and_ends, mean_and_half, paired_difference
from add.data.files import save_csv
from add.interfaces import PathLike, Row
from add.metrics.set_comparison import FEWEST_IMAGES

GRADING = "severity_"  # begins the names of scores that stand in a table of their own
GRADED_BY = "severity_rmse_linked"  # what methods are compared by there
OF_ENSEMBLES = ("accuracy", "auc", "nll", "halfway_accuracy", "kappa_quadratic", "severity_spearman", GRADED_BY,
                SHRUNK)
FEWEST_ERRORS = 6  # McNemar's exact test needs six images that only one of two methods errs on for p < 0.05


def summarise(by_method: dict[str, list[dict[str, float]]], baselines: Sequence[str],
              ensembles: dict[str, dict[str, float]] | None = None,
              intervals: dict[str, dict[str, tuple[float, float]]] | None = None) -> Row:
    """Return {method: {score: {"mean", "low", "high", "values", "against", "strongest", "difference", "ensemble",
    "ensemble_interval"}}}.

    `against` names the strongest of the baselines by this score's own mean, and `difference` is the paired one to it,
    [mean, low, high]; both are None for that baseline itself, or where there is no baseline.

    Args:
        by_method: {method: [{score: float} for each seed]}, the same seeds for all.
        baselines: names of the methods to be beaten.
        ensembles: {method: {score: float}} of all classifiers of a method as one; "ensemble" is None without.
        intervals: {method: {score: (low, high)}} of these over groups of test images; "ensemble_interval" is None
            without.
    """
    summary: Row = {method: {} for method in by_method}
    for score in next(iter(by_method.values()))[0]:
        values = {method: [run[score] for run in runs] for method, runs in by_method.items()}
        strongest = _strongest(values, baselines, score)
        for method, own in values.items():
            against = None if method == strongest else strongest
            difference = paired_difference(own, values[against]) if against else None
            mean, low, high, _ = interval(own)
            summary[method][score] = {"mean": mean, "low": low, "high": high, "values": own, "against": against,
                                      "strongest": method == strongest,
                                      "difference": list(difference[:3]) if difference else None,
                                      "ensemble": ensembles[method][score] if ensembles else None,
                                      "ensemble_interval": _pair((intervals or {}).get(method, {}).get(score))}
    return summary


def table(result: Row, explained: bool = True) -> str:
    """Return the result as Markdown: tables per test set, means with 95 % confidence intervals over the seeds.

    The scores of the classes come first, then those of grading, where severities are known. A test set that can't tell
    methods apart gets a sentence that says so, in place of gains or of the whole table.

    Args:
        explained: end with `explanations`.
    """
    lines = []
    for name, summary in result["tests"].items():
        count = result["num_images"][name]
        scores = list(next(iter(summary.values())))
        runs = len(next(iter(summary.values()))[scores[0]]["values"])
        if count < FEWEST_IMAGES:
            lines += [f"Test set {name}: {count} images are too few to compare methods on, a single one is "
                      f"{100 / count:.0f} points of accuracy: expected {FEWEST_IMAGES} or more, better 100. The scores "
                      f"are in classification.csv.", ""]
            continue
        too_easy = _too_easy(summary, count)
        lines += [f"Test set {name}: {count} images, {runs} seeds, mean ± half of the 95 % "
                  f"confidence interval; last column: paired difference in accuracy to the strongest method without "
                  f"synthetic images.", "",
                  *_rows(summary, [score for score in scores if not score.startswith(GRADING)], "accuracy",
                         "accuracy gained", bool(too_easy))]
        lines += ["", too_easy] if too_easy else []
        lines.append("")
        if graded := [score for score in scores if score.startswith(GRADING)]:
            lines += [f"Test set {name}, grading; last column: paired difference in {GRADED_BY}, where less is better.",
                      "", *_rows(summary, graded, GRADED_BY, "error gained"), ""]
        lines += _ensemble_lines(name, summary, runs)
    lines += explanations([result]) if explained else []
    if notes := result.get("notes"):  # earlier versions wrote none
        lines += [*(f"- {note}" for note in notes), ""]
    return "\n".join(lines)


def explanations(results: Iterable[Row]) -> list[str]:
    """Return Markdown lines that say how to read the scores of some results."""
    scores = {score for result in results for summary in result["tests"].values()
              for own in summary.values() for score in own}
    return ["How to read the scores:", "", *reading_lines(scores), ""]


def _rows(summary, scores, compared, heading, ungained=False):
    """Return the lines of a table of `scores`, with the gain in the score `compared`, or none, in the last column."""
    lines = [f"| method | {' | '.join(scores)} | {heading} |", "| --- " * (len(scores) + 2) + "|"]
    for method, own in summary.items():
        cells = [mean_and_half(own[score]["mean"], own[score]["low"]) for score in scores]
        gain = "" if ungained or compared not in own else _gain(own[compared])
        lines.append(f"| {method} | {' | '.join(cells)} | {gain} |")
    return lines


def _ensemble_lines(name, summary, runs):
    """Return the lines of a table of all classifiers of each method as one, where there are several."""
    methods = {method: own for method, own in summary.items()
               if runs > 1 and all(found.get("ensemble") is not None for found in own.values())}
    if not methods:
        return []
    scores = [score for score in OF_ENSEMBLES if score in next(iter(methods.values()))]
    grouped = any(own[score].get("ensemble_interval") for own in methods.values() for score in scores)
    told = "; in brackets 95 % intervals over the groups of test images" if grouped else ""
    lines = [f"Test set {name}: the {runs} classifiers of each method as one, by the mean of their log "
             f"probabilities{told}.", "", f"| method | {' | '.join(scores)} |", "| --- " * (len(scores) + 1) + "|"]
    lines += [f"| {method} | {' | '.join(map(_ensemble_cell, (own[score] for score in scores)))} |"
              for method, own in methods.items()]
    return [*lines, ""]


def _too_easy(summary, count):
    """Return a sentence where the method to be beaten errs so rarely that nothing could be told to beat it, else ""."""
    known = {method: own["accuracy"]["mean"] for method, own in summary.items()}
    beaten = next((method for method, own in summary.items() if own["accuracy"]["strongest"]), None)
    beaten = beaten or max(known, key=known.__getitem__)
    errors = (1 - known[beaten]) * count
    if errors >= FEWEST_ERRORS:
        return ""
    return (f"This test set is too easy, or too small, to tell methods apart by accuracy: {beaten} errs on "
            f"{errors:.1f} of {count} images on average, and even a faultless method would not differ from it beyond "
            f"chance, which takes {FEWEST_ERRORS} errors. Harder or more test images are needed.")


def write_csv(path: PathLike, result: Row) -> None:
    """Write the result as a table of test, method, share, seed, score and value, a row for each number."""
    first_seed = result["settings"]["first_seed"]
    rows: list[list[Any]] = [["test", "method", "share", "seed", "score", "value"]]
    for test, summary in result["tests"].items():
        for method, scores in summary.items():
            for score, found in scores.items():
                rows += [[test, method, result["chosen_share"][method], first_seed + i, score, f"{value:.6f}"]
                         for i, value in enumerate(found["values"])]
    save_csv(path, rows)


def _ensemble_cell(found):
    low, high = found.get("ensemble_interval") or (None, None)
    return f"{found['ensemble']:.4f}" + ("" if low is None else f" ({low:.3f} to {high:.3f})")


def _pair(interval):
    return None if interval is None else list(interval)


def _gain(score):
    if score["difference"] is None:
        return "(strongest)" if score["strongest"] else ""
    return f"{mean_and_ends(*score['difference'])} vs {score['against']}"


def _strongest(values, baselines, score):
    if not baselines:
        return None
    means = {method: sum(values[method]) / len(values[method]) for method in baselines}
    return (min if lower_is_better(score) else max)(means, key=means.__getitem__)
