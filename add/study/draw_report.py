"""Report of a study of several draws, in its folder: draws.md, draws.csv, draws.json and draws.png."""
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from add.classification.grading import SHRUNK
from add.classification.places_file import PLACES, read_places
from add.classification.score_reads import lower_is_better, reading_lines
from add.classification.score_tables import GRADED_BY
from add.classification.scores import interval, mean_and_ends, mean_and_half
from add.data.files import save_csv, save_json, write_atomically
from add.interfaces import Row
from add.study.analysis_plan import ENDPOINTS, plan_lines, read_plan
from add.study.draw_statistics import BETTER, compare_draws, holm, interval_for_other_tests, ranked
from add.study.study_plots import plot_draws
from add.study.study_report import read_metrics, read_scores
from add.study.study_tables import COMPARED, KID, NO_GENERATORS, REAL_SETS, generator_means

ALONE = "one of several classifiers"
AS_ONE = "all classifiers of a draw as one"
SHOWN = (GRADED_BY, SHRUNK, "severity_spearman", "halfway_accuracy", "accuracy", "nll")  # of all methods


def write_draw_report(out_dir: Path, folders: Sequence[Path], sizes: Sequence[int]) -> list[Path]:
    """Write the report of a finished study of several draws and return the paths of its files.

    Args:
        out_dir: the study's folder. folders: those of its draws, in order. sizes: training images per domain.
    """
    noted = read_plan(out_dir)
    result = {"plan": noted, "sizes": {str(size): _collect(noted["plan"], [folder / f"n{size}" for folder in folders])
                                       for size in sizes}}
    result |= {"primary": _primary(result, folders), "secondary": _secondary(result),
               "generators": {size: _generators([folder / f"n{size}" for folder in folders])
                              for size in result["sizes"]},
               "half_way": {size: _half_way(noted["plan"]["primary"], [folder / f"n{size}" for folder in folders])
                            for size in result["sizes"]}}
    paths = {name: out_dir / f"draws.{name}" for name in ("md", "csv", "json", "png")}
    save_json(paths["json"], result)
    write_atomically(paths["md"], lambda file: file.write(draw_tables(result).encode()))
    save_csv(paths["csv"], _rows(result))
    plot_draws(paths["png"], result)
    return list(paths.values())


def _collect(plan, folders):
    """Return {method: {score: {"draws": [mean over the classifiers], "ensembles": [float] or None}}}."""
    found = [read_scores(folder)["tests"][plan["primary"]["test"]] for folder in folders]
    common = [method for method in found[0] if all(method in tests for tests in found)]
    return {method: {score: {"draws": [tests[method][score]["mean"] for tests in found],
                             "ensembles": _known([tests[method][score].get("ensemble") for tests in found])}
                     for score in found[0][method] if all(score in tests[method] for tests in found)}
            for method in common}


def _known(values):
    return values if all(value is not None for value in values) else None


def _generators(folders):
    """Return {generator or set of real images: {metric: [mean over the domains in each draw]}}."""
    found = [generator_means(read_metrics(folder), read_scores(folder)["settings"]["domains"]) for folder in folders]
    return {name: {metric: values for metric in COMPARED
                   if (values := _known([own[name][metric] for own in found])) is not None}
            for name in found[0] if all(name in own for own in found)}


def _half_way(primary, folders):
    """Return the error in every draw of placing every image half way, which needs no classifier; None if not graded."""
    known = [] if primary["endpoint"] not in ENDPOINTS.values() else [
        read_places(folder / "classification" / PLACES, primary["test"], []) for folder in folders]
    truths = [places.truth for places in known if places is not None]
    return [float(np.sqrt(((truth - 0.5) ** 2).mean())) for truth in truths] or None


def _primary(result, folders):
    """Return [{"rival", "difference", "other_tests", "p", "verdict", "by_draw"}] of the primary method."""
    primary = result["plan"]["plan"]["primary"]
    size = primary["num_train"]
    own = result["sizes"][str(size)]
    method, endpoint = primary["method"], primary["endpoint"]
    rivals = [rival for rival in primary["rivals"] if rival in own and rival != method]
    places = [read_places(folder / f"n{size}" / "classification" / PLACES, primary["test"], [method, *rivals],
                          endpoint == SHRUNK)
              for folder in folders] if endpoint in ENDPOINTS.values() and method in own else []
    shared = result["plan"]["plan"]["options"]["dataset"] != "phantom"  # whose test images are drawn anew
    rows = []
    for rival in rivals if method in own else []:
        found = compare_draws(own[method][endpoint]["draws"], own[rival][endpoint]["draws"], primary["margin"],
                              lower_is_better(endpoint))
        known = [place for place in places if place is not None]
        rows.append({"rival": rival, "difference": found.difference[:3], "p": found.p, "verdict": found.verdict,
                     "other_tests": interval_for_other_tests(known, method, rival) if known and shared else None,
                     "by_draw": found.by_draw})
    return rows


def _secondary(result):
    """Return [{"num_train", "score", "rival", "difference", "p", "p_holm"}], first the endpoint at other sizes."""
    primary = result["plan"]["plan"]["primary"]
    method, first = primary["method"], str(primary["num_train"])
    wanted = [(size, primary["endpoint"]) for size in result["sizes"] if size != first]
    wanted += [(first, score) for score in result["plan"]["plan"]["secondary"]]
    rows = []
    for size, score in wanted:
        own = result["sizes"][size]
        rivals = [rival for rival in primary["rivals"] if rival in own and rival != method]
        if score not in own.get(method, {}) or not rivals:
            continue
        rival = ranked({name: own[name] for name in rivals}, score)[0]
        found = compare_draws(own[method][score]["draws"], own[rival][score]["draws"], 0.0, lower_is_better(score))
        rows.append({"num_train": int(size), "score": score, "rival": rival, "difference": found.difference[:3],
                     "p": found.p})
    known = [row for row in rows if row["p"] is not None]
    for row, corrected in zip(known, holm([row["p"] for row in known]), strict=True):
        row["p_holm"] = corrected
    return rows


def draw_tables(result: Row) -> str:
    """Return the report as Markdown: the claim first, then every method, the primary and the secondary endpoints."""
    plan = result["plan"]["plan"]
    primary = plan["primary"]
    lines = [f"# {plan['options']['dataset']}: {plan['draws']} draws", "", claim(result), "",
             *plan_lines(result["plan"])]
    if not plan["disjoint"]:
        lines += ["**The draws share training images, or parts of them**, for there are too few for disjoint ones: the "
                  "intervals are too narrow for new images.", ""]
    for size, own in result["sizes"].items():
        lines += [f"## {size} training images per domain, test set {primary['test']}", "",
                  *_method_lines(own, primary["endpoint"], result["half_way"][size]), ""]
    lines += [f"## Primary: {primary['method']} against each method without generated images", "",
              f"Differences in {primary['endpoint']} at {primary['num_train']} training images; the margin is "
              f"{primary['margin']:g}.", "",
              "| rival | difference | for other test images, too | p | verdict | by draw |", "| --- " * 6 + "|",
              *(f"| {row['rival']} | {mean_and_ends(*row['difference'])} | {_bounds(row['other_tests'])} | "
                f"{_p(row['p'])} | {row['verdict']} | {', '.join(f'{value:+.4f}' for value in row['by_draw'])} |"
                for row in result["primary"]), ""]
    for size, own in result["generators"].items():
        lines += _generator_lines(size, own)
    lines += ["## Secondary: against the best of them in each score", "",
              "| training images | score | best rival | difference | p | p, Holm |", "| --- " * 6 + "|",
              *(f"| {row['num_train']} | {row['score']} | {row['rival']} | {mean_and_ends(*row['difference'])} | "
                f"{_p(row['p'])} | {_p(row.get('p_holm'))} |" for row in result["secondary"]), ""]
    scores = {score for own in result["sizes"].values() for found in own.values() for score in found}
    return "\n".join([*lines, "## Scores", "", *reading_lines(scores), ""])


def claim(result: Row) -> str:
    """Return the sentence that says what the primary endpoint came out as."""
    primary, rows = result["plan"]["plan"]["primary"], result["primary"]
    method, draws = primary["method"], result["plan"]["plan"]["draws"]
    if not rows:
        return f"**Nothing to claim**: {method} was not compared with any method without generated images."
    beaten = [row["rival"] for row in rows if row["verdict"] == BETTER]
    hardest = (max if lower_is_better(primary["endpoint"]) else min)(rows, key=lambda row: row["difference"][0])
    against = f"{hardest['rival']}: {mean_and_ends(*hardest['difference'])} in {primary['endpoint']}"
    if len(beaten) == len(rows):
        surely = min(min(abs(bound) for bound in row["difference"][1:]) for row in rows)
        return (f"**{method} is better than every method without generated images** in {draws} draws; closest to "
                f"{against}." + (f" That may be less than the margin of {primary['margin']:g}."
                                 if surely < primary["margin"] else ""))
    return (f"**{method} is better than {len(beaten) or 'none'} of the {len(rows)} methods without generated images** "
            f"in {draws} draws; hardest {against}, {hardest['verdict']}.")


def _method_lines(own, endpoint, half_way):
    """Return the lines of a table of all methods, the best in the endpoint first, and of placing all half way."""
    shown = [score for score in SHOWN if score in next(iter(own.values())) and score != endpoint]
    order = ranked(own, endpoint)
    head = [f"{endpoint}, {ALONE}", AS_ONE, *shown]
    lines = ["Means over the draws, with the half width of their 95 % interval; the best first.", "",
             f"| method | {' | '.join(head)} |", "| --- " * (len(head) + 1) + "|"]
    for method in order:
        found = own[method]
        cells = [_mean(found[endpoint]["draws"]), _mean(found[endpoint]["ensembles"]),
                 *(_mean(found[score]["draws"]) for score in shown)]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    if half_way is None:
        return lines
    sentence = f"Placing every image half way between the ends, which needs no classifier, has an error of " \
               f"{_mean(half_way)}."
    for score in (score for score in dict.fromkeys((endpoint, GRADED_BY, SHRUNK)) if score in own[order[0]]):
        better = [method for method in order if compare_draws(own[method][score]["draws"], half_way, 0.0, True).verdict
                  == BETTER]
        sentence += f" Better than that by the interval of the difference, in {score}: {', '.join(better) or 'none'}."
    return [*lines, "", sentence]


def _generator_lines(size, generators):
    """Return the lines of a table of the generators and the real images that they are held against, nearest first."""
    metrics = [metric for metric in COMPARED if any(metric in own for name, own in generators.items()
                                                    if name not in NO_GENERATORS)]
    if not metrics:
        return []
    order = sorted(generators, key=lambda name: interval(generators[name][KID]).mean if KID in generators[name] else
                   math.inf)
    return [f"## Generated images, {size} training images per domain", "",
            f"Means over both domains and all draws, with the half width of their 95 % interval; {REAL_SETS}", "",
            f"| images | {' | '.join(COMPARED[metric] for metric in metrics)} |", "| --- " * (len(metrics) + 1) + "|",
            *(f"| {name} | {' | '.join(_mean(generators[name].get(metric)) for metric in metrics)} |"
              for name in order), ""]


def _mean(values):
    if values is None:
        return ""
    found = interval(values)
    return mean_and_half(found.mean, found.low)


def _bounds(bounds):
    return "" if bounds is None else f"[{bounds[0]:+.4f}, {bounds[1]:+.4f}]"


def _p(value: Any) -> str:
    return "" if value is None else f"{value:.3g}"


def _rows(result):
    """Return a header and a row per size, method, score and draw: the classifiers' mean, and all of them as one."""
    rows: list[list[Any]] = [["num_train", "method", "score", "draw", "mean", "ensemble"]]
    for size, own in result["sizes"].items():
        for method, scores in own.items():
            for score, found in scores.items():
                ensembles = found["ensembles"] or [None] * len(found["draws"])
                rows += [[size, method, score, draw, f"{mean:.6f}", "" if one is None else f"{one:.6f}"]
                         for draw, (mean, one) in enumerate(zip(found["draws"], ensembles, strict=True))]
    return rows
