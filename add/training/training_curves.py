"""curves.png beside progress.csv: errors, learning rate, seconds a step and KID, against steps and against minutes.

The training's error is the plain mean squared error, as that of held-out images is: the loss may weight timesteps
(min-SNR), and the two would stand apart without any reason.
"""
from collections.abc import Sequence

from add.interfaces import PathLike
from add.results.figures import new_figure, save_figure, scale_by_factors

CURVES_NAME = "curves.png"
PANELS = {"error": ("mse", "val_loss"), "learning rate": ("lr",), "seconds a step": ("sec_per_step",)}
QUALITY = {"KID x 1000": ("kid_x1000",)}  # of runs that measured it
LOSS = {"error": ("loss", "val_loss")}  # of runs without a mean squared error: a loss in the same unit
LABELS = {"mse": "training, mean squared error", "val_loss": "held out", "loss": "training"}
SELDOM = ("val_loss", "kid_x1000")  # values of few rows, whose points are marked
LOGARITHMIC = 5.0  # ratio of the largest to the smallest loss from which on the axis is logarithmic


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
    if axes[0][0].lines:
        axes[0][0].legend(fontsize=8, frameon=False)
    axes[-1][0].set_xlabel("step")
    axes[-1][1].set_xlabel("minutes of training")
    figure.tight_layout()
    save_figure(path, figure)


def panels_of(rows: Sequence[dict[str, str]]) -> dict[str, tuple[str, ...]]:
    """Return {title: columns} of what is drawn: columns of one panel are in the same unit."""
    errors = PANELS if any(cells.get("mse") for cells in rows) else PANELS | LOSS
    return errors | (QUALITY if any(cells.get("kid_x1000") for cells in rows) else {})
