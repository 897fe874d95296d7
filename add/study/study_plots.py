"""Plots of a study (matplotlib): scores by the number of training images, and labels against what was measured."""
from add.classification.score_reads import lower_is_better
from add.classification.scores import interval
from add.errors import UserError
from add.extras import install_command
from add.interfaces import PathLike, Row
from add.results.figures import label_plainly, new_figure, save_figure
from add.study.analysis_plan import ENDPOINTS
from add.study.draw_statistics import ranked

PLOTTED = ("accuracy", "auc", "severity_rmse_linked", "severity_rmse_linked_middle")
BESIDE = {"linked": "by the line between the ends", "shrunk": "drawn towards the middle"}  # beside the endpoint
LEAST_SPAN = 0.02  # of an axis of scores: less is a matter of chance, and shall not fill the picture


def plot_scores(path: PathLike, result: Row) -> None:
    """Write a PNG: a row per test set, a column per score, a mark with its 95 % interval per method and size."""
    sizes = list(result["sizes"])
    tests = {size: result["sizes"][size]["classification"]["tests"] for size in sizes}
    names = list(tests[sizes[0]])
    methods = list(tests[sizes[0]][names[0]])
    figure, axes = _new_figure(len(names), len(PLOTTED), (5 * len(PLOTTED), 3.6 * len(names)))
    for row, test in enumerate(names):
        for column, score in enumerate(PLOTTED):
            axis = axes[row][column]
            axis.set_visible(any(score in own for found in tests.values() for own in found[test].values()))
            for place, method in enumerate(methods):
                own = [tests[size][test].get(method, {}).get(score) for size in sizes]
                if None in own:
                    continue
                offsets = [i + (place - (len(methods) - 1) / 2) * 0.8 / len(methods) for i in range(len(sizes))]
                halves = [0 if found["low"] is None else found["mean"] - found["low"] for found in own]
                axis.errorbar(offsets, [found["mean"] for found in own], halves, fmt="o", capsize=2, markersize=4,
                              label=method, color=f"C{place % 10}")
            axis.set_xticks(range(len(sizes)), [f"{size} images" for size in sizes])
            direction = "smaller" if lower_is_better(score) else "larger"
            axis.set_title(f"{score}, test set {test} ({direction} is better)", fontsize=9)
            label_plainly(axis, LEAST_SPAN)
            axis.grid(axis="y", alpha=0.3)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=min(len(methods), 8), fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.03 + 0.02 / len(names), 1, 1))
    save_figure(path, figure)


def plot_labels(path: PathLike, result: Row) -> None:
    """Write a PNG: for each size, mean measured position by bin of the label and rule; below, mean severity by m."""
    sizes = {size: found["labels"] for size, found in result["sizes"].items() if found["labels"]}
    figure, axes = _new_figure(2, len(sizes), (4.4 * len(sizes), 8))
    for column, (size, found) in enumerate(sizes.items()):
        axis = axes[0][column]
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for rule, points in found["calibration"].items():
            axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=rule)
        axis.set(title=f"{size} training images per domain", xlabel="soft label, share of domain 1",
                 ylabel="measured position between the domains' means")
        axis = axes[1][column]
        for direction, means in found["by_m"].items():
            axis.plot(range(1, len(means) + 1), means, marker="o", markersize=3, label=f"domain {direction}")
        for mean in found["domain_means"]:
            axis.axhline(mean, color="0.7", linewidth=1)
        axis.set(xlabel="m, place in the series", ylabel="mean measured severity")
    for row in axes:
        row[0].legend(fontsize=8, frameon=False)
    figure.tight_layout()
    save_figure(path, figure)


def plot_draws(path: PathLike, result: Row) -> None:
    """Write a PNG: for each method and size the endpoint in every draw and its mean with a 95 % interval.

    Where grading is the endpoint, the errors of linked and of shrunk places stand side by side. Methods without
    generated images, the rivals of the plan, have a colour and a mark of their own; the primary method's name is bold;
    a dashed line stands where placing every image half way would.
    """
    primary, half_way, sizes = result["plan"]["plan"]["primary"], result["half_way"], result["sizes"]
    endpoint = primary["endpoint"]
    titles = {endpoint: ""} | {score: BESIDE[name] for name, score in ENDPOINTS.items() if score != endpoint}
    panels = [(size, score) for size, own in sizes.items() for score in titles
              if all(score in found for found in own.values())]
    height = 2.0 + 0.32 * max(map(len, sizes.values()))
    figure, axes = _new_figure(1, len(panels), (2 + 4.4 * len(panels), height), sharex=True)
    for axis, (size, score) in zip(axes[0], panels, strict=True):
        first, own = score == endpoint, sizes[size]
        order = ranked(own, endpoint)
        for place, method in enumerate(order):
            values = own[method][score]["draws"]
            found = interval(values)
            axis.plot(values, [place] * len(values), "o", color="0.75", markersize=4)
            color, mark = ("C1", "s") if method in primary["rivals"] else ("C0", "o")
            axis.errorbar(found.mean, place, xerr=None if found.low is None else found.mean - found.low, fmt=mark,
                          color=color, capsize=3, markersize=5.5)
        if half_way[size] is not None:
            axis.axvline(interval(half_way[size]).mean, color="0.4", linestyle="--", linewidth=1)
        axis.set_yticks(range(len(order)), order if first else [""] * len(order))
        axis.invert_yaxis()  # the best at the top
        for label in axis.get_yticklabels():
            label.set_fontweight("bold" if label.get_text() == primary["method"] else "normal")
        axis.set_title(titles[score] or f"{size} training images per domain", fontsize=10)
        axis.set_xlabel(f"{score} ({'smaller' if lower_is_better(score) else 'larger'} is better)")
        axis.grid(axis="x", alpha=0.3)
    marks = {"single draws": ("o", "0.75"), "without generated images": ("s", "C1"),
             "with generated images": ("o", "C0")}
    marks |= {"every image half way": ("--", "0.4")} if any(half_way.values()) else {}
    handles = [axes[0][0].plot([], [], mark, color=color)[0] for mark, color in marks.values()]
    figure.legend(handles, list(marks), loc="lower center", ncols=4 if len(panels) > 1 else 2, fontsize=8,
                  frameon=False)
    figure.tight_layout(rect=(0, 0.5 / height, 1, 1))
    save_figure(path, figure)


def _new_figure(rows, columns, size, **options):
    try:
        return new_figure(rows, columns, size, **options)
    except ImportError as error:
        raise UserError("plots need matplotlib, which is not installed: expected it to import; run "
                        f"`{install_command('eval', 'matplotlib')}`, and the same command again") from error
