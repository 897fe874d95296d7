"""What a results page shows of a training run: curves by steps and minutes, previews, and what it was made with."""
import re
from collections.abc import Sequence
from pathlib import Path

from add.data.read_back import read_rows
from add.interfaces import Row
from add.results.page_plots import line_plot
from add.results.translation_view import relative_url
from add.results.used_facts import read_facts

PANELS = {"error": ("mse", "val_loss"), "learning rate": ("lr",), "seconds a step": ("sec_per_step",)}
QUALITY = {"KID x 1000": ("kid_x1000",)}  # of runs that measured it
LOSS = {"error": ("loss", "val_loss")}  # of runs without a mean squared error: a loss in the same unit
LABELS = {"mse": "training, mean squared error", "val_loss": "held out", "loss": "training"}
READS = {
    "error": "Smaller is better. Where the held-out error rises while that of training falls, the model learns its "
             "training images by heart.",
    "learning rate": "How far each step went.",
    "seconds a step": "A jump says that something else used the machine.",
    "KID x 1000": "Distance of samples to held-out images: smaller is better, and about 0 for a perfect generator.",
}
PLACES = {"step": "steps", "minutes": "minutes of training"}
PREVIEW = re.compile(r"samples(\d+)\.png")


def panels_of(rows: Sequence[dict[str, str]]) -> dict[str, tuple[str, ...]]:
    """Return {title: columns} of what is drawn of a progress.csv: columns of one panel are in the same unit.

    The training's error is the plain mean squared error, as that of held-out images is: the loss may weight timesteps
    (min-SNR), and the two would stand apart without any reason.
    """
    errors = PANELS if any(cells.get("mse") for cells in rows) else PANELS | LOSS
    return errors | (QUALITY if any(cells.get("kid_x1000") for cells in rows) else {})


def training_view(folder: Path, base: Path) -> Row:
    """Return what a page in `base` shows of a run folder; raises UserError for a progress.csv that is damaged."""
    rows = read_rows(folder / "progress.csv", advice="remove it, and the run goes on with a new one")
    plots = [line_plot(f"{title}, by {told}", told,
                       {LABELS.get(name, name): _points(rows, place, name) for name in names},
                       READS[title] if place == "step" else "", by_factors=title == "error")
             for title, names in panels_of(rows).items() for place, told in PLACES.items()]
    last = rows[-1] if rows else {}
    minutes = _number(last.get("minutes"))
    taken = "" if minutes is None else f" in {minutes:.3g} minutes" if minutes >= 1 else f" in {60 * minutes:.2g} s"
    return {"lead": f"Training to step {last.get('step') or 0}{taken}.",
            "reads": "Curves of training, each against steps and against minutes. The previews are samples from the "
                     "same noise, so that they show how the model changed.",
            "plots": [plot for plot in plots if plot], "previews": _previews(folder, base),
            "used": [{"title": "How the model was trained", **read_facts(folder / "config.json", options="train")}]}


def _points(rows, place, name):
    """Return the points (x, y) of rows that have both."""
    pairs = [(_number(cells.get(place)), _number(cells.get(name))) for cells in rows]
    return [(x, y) for x, y in pairs if x is not None and y is not None]


def _number(text):
    try:
        return float(text)
    except (TypeError, ValueError):  # an empty cell, or a row that a kill cut short
        return None


def _previews(folder, base):
    """Return [{"step": ..., "url": ...}, ...] of the pictures of samples, by step."""
    found = {int(match[1]): path for path in (*folder.glob("samples*.png"), *folder.glob("samples/samples*.png"))
             if (match := PREVIEW.fullmatch(path.name))}
    return [{"step": step, "url": relative_url(found[step], base)} for step in sorted(found)]
