"""curves.png beside progress.csv: errors, learning rate, seconds a step and KID, against steps and against minutes."""
from collections.abc import Sequence

from add.interfaces import PathLike
from add.results.figures import new_figure, save_figure, scale_by_factors, set_margins
from add.results.page_plots import LOGARITHMIC
from add.results.run_view import LABELS, panels_of

CURVES_NAME = "curves.png"
SELDOM = ("val_loss", "kid_x1000")  # values of few rows, whose points are marked


def draw_curves(path: PathLike, rows: Sequence[dict[str, str]]) -> None:
    """Write the picture of the rows of a progress.csv, dicts of text; a column that a row lacks is passed over.

    Raises:
        ImportError: matplotlib is not installed.
    """
    panels = panels_of(rows)
    figure, axes = new_figure(len(panels), 2, (10, 2 + 2 * len(panels)), sharex="col", sharey="row")
    for row, (title, names) in enumerate(panels.items()):
        for column, place in enumerate(("step", "minutes")):
            axis = axes[row][column]
            for name in names:
                points = [(float(cells[place]), float(cells[name])) for cells in rows
                          if cells.get(name) and cells.get(place)]
                if points:
                    axis.plot(*zip(*points, strict=True), label=LABELS.get(name), linewidth=1.2,
                              marker="o" if name in SELDOM or len(points) == 1 else None, markersize=3)
            axis.grid(alpha=0.3)
        values = [float(cells[name]) for cells in rows for name in names if cells.get(name)]
        if title == "error" and values and min(values) > 0 and max(values) > LOGARITHMIC * min(values):
            scale_by_factors(axes[row][0])
        axes[row][0].set_ylabel(title)
        axes[row][0].yaxis.set_label_coords(-0.18, 0.5)
    if axes[0][0].lines:
        axes[0][0].legend(fontsize=8, frameon=False)
    axes[-1][0].set_xlabel("step")
    axes[-1][1].set_xlabel("minutes of training")
    set_margins(figure, left=1.0, right=0.15, bottom=0.55, top=0.15, between=(0.2, 0.25))
    save_figure(path, figure)
