"""The picture of a reading's scores: what was taken for real, and the readers' places against the labels."""
from pathlib import Path

from add.errors import UserError
from add.extras import install_command
from add.interfaces import PathLike, Row
from add.results.figures import new_figure, save_figure
from add.review.reading_items import GENERATED, REAL

_COLOURS = {GENERATED: "C1", REAL: "C0"}


def plot_reading(path: PathLike, result: Row) -> None:
    """Write a PNG: the shares taken for real by reader with exact intervals, then a panel for each translation.

    Args:
        result: what `score_reading` returned.
    """
    translations = result["translations"]
    try:
        figure, axes = new_figure(1, 1 + len(translations), (4.6 * (1 + len(translations)), 4.2))
    except ImportError as error:
        raise UserError("plots need matplotlib, which is not installed: expected it to import; run "
                        f"`{install_command('eval', 'matplotlib')}`, and the same command again") from error
    _draw_shares(axes[0, 0], result)
    for axis, own in zip(axes[0, 1:], translations, strict=True):
        _draw_places(axis, own, result["stages"])
    figure.tight_layout()
    save_figure(path, figure)


def _draw_shares(axis, result):
    readers = result["readers"] | ({"all": result["all"]} if "all" in result else {})
    for shift, kind in ((0.1, GENERATED), (-0.1, REAL)):
        for place, own in enumerate(readers.values()):
            share = own[f"{kind}_taken_for_real"]
            if share["of"]:
                errors = [[share["share"] - share["low"]], [share["high"] - share["share"]]]
                axis.errorbar(share["share"], place + shift, xerr=errors, fmt="o", color=_COLOURS[kind], capsize=3,
                              label=f"{kind} images" if place == 0 else None)
    axis.set_yticks(range(len(readers)), [_short(name) for name in readers])
    axis.set_ylim(-0.6, len(readers) - 0.4)
    axis.invert_yaxis()
    axis.set_xlim(-0.03, 1.03)
    axis.set_xlabel("share taken for real, with its exact 95 % interval")
    axis.grid(axis="x", alpha=0.3)
    axis.legend(fontsize=8, frameon=False, loc="best")


def _draw_places(axis, own, stages):
    labels, places = own["points"]
    axis.plot([0, 1], [0, 1], color="0.8", linewidth=1, label="label = place")
    axis.plot(labels, places, "o", color="C0", alpha=0.45, markersize=5, label="answers")
    if own["curve"]:
        axis.plot(*own["curve"], color="C3", label="calibrated label")
    if own["middle"] and own["middle"]["label"] is not None:
        axis.axvline(own["middle"]["label"], color="C3", linewidth=1, linestyle=":", label="seen in the middle")
    axis.set_xlim(-0.03, 1.03)
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlabel(f"soft label: share of {_short(stages[1])}")
    axis.set_ylabel(f"readers' place: 0 {_short(stages[0])}, 1 {_short(stages[1])}")
    axis.set_title(_short(Path(own["folder"]).name), fontsize=10)
    axis.legend(fontsize=8, frameon=False)


def _short(text):
    """Return a name as matplotlib should write it: short, and without its marks for formulas."""
    return text[:24].replace("$", r"\$")
