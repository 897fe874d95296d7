"""What grading leaves in a folder: grades.csv, groups.csv, grades.json with scores, and pictures of images by grade."""
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from add.data.files import save_csv, save_json, save_png
from add.interfaces import Row

GRADES, GROUPS, SUMMARY, SHOWN = "grades.csv", "groups.csv", "grades.json", "shown"
MOST_SHOWN = 120  # images on the page, evenly over the order of grades
SHOWN_SIDE = 128  # pixels at most
BINS = 20  # of severity in the summary


class Graded(NamedTuple):
    """Graded images, in rows of [n].

    names: of the images. groups: of them, or None. probabilities: [n, K]. severity, shrunk, low, high, distance: see
    `add.classification.grader.Grades`. places: (x, y) of tiles of a slide on level 0, ints [n, 2]; of other images
    [0, 2].
    """

    names: list[str]
    groups: list[str] | None
    probabilities: np.ndarray
    severity: np.ndarray
    shrunk: np.ndarray
    low: np.ndarray
    high: np.ndarray
    distance: np.ndarray
    places: np.ndarray = np.zeros((0, 2), dtype=np.int64)

    @property
    def unfamiliar(self) -> np.ndarray:
        """Whether an image is unlike all that the grader knows, bool [n]."""
        return self.distance > 1


def write_graded(out_dir: Path, graded: Graded, domains: Sequence[str], read: Callable[[int], np.ndarray],
                 facts: Row) -> None:
    """Write the tables, the summary and the pictures.

    Args:
        domains: names of the classes. read: read(i) -> pixels uint8 [h, w, 3] of image i. facts: for the summary.
    """
    save_csv(out_dir / GRADES, _rows(graded, domains))
    if graded.groups is not None:
        save_csv(out_dir / GROUPS, _group_rows(graded, domains))
    order = np.argsort(graded.severity, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(MOST_SHOWN, len(order))).round().astype(int))]
    for old in (out_dir / SHOWN).glob("*.png"):  # of an earlier grading
        old.unlink()
    shown = []
    for place, i in enumerate(chosen.tolist()):
        picture = Image.fromarray(read(i))
        picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
        save_png(out_dir / SHOWN / f"{place:03d}.png", np.asarray(picture))
        shown.append({"file": f"{SHOWN}/{place:03d}.png", "name": graded.names[i], "class": domains[
            int(graded.probabilities[i].argmax())], "severity": float(graded.severity[i]), "low": float(graded.low[i]),
            "high": float(graded.high[i]), "unfamiliar": bool(graded.unfamiliar[i])})
    counts = np.histogram(graded.severity, bins=BINS, range=(0, 1))[0]
    save_json(out_dir / SUMMARY, facts | {
        "domains": list(domains), "num_images": len(graded.names), "num_unfamiliar": int(graded.unfamiliar.sum()),
        "mean_severity": float(graded.severity.mean()), "histogram": counts.tolist(), "shown": shown})


def _rows(graded: Graded, domains: Sequence[str]) -> Iterable[Sequence[Any]]:
    """Yield the rows of grades.csv, its header first."""
    grouped, placed = graded.groups is not None, len(graded.places) > 0
    yield ["image", *(["group"] if grouped else []), *(["x", "y"] if placed else []),
           *(f"p_{name}" for name in domains), "class", "severity", "severity_shrunk", "severity_low", "severity_high",
           "distance", "out_of_domain"]
    for i, name in enumerate(graded.names):
        yield [name, *([graded.groups[i]] if graded.groups is not None else []),
               *(graded.places[i].tolist() if placed else []),
               *(f"{p:.4f}" for p in graded.probabilities[i]), domains[int(graded.probabilities[i].argmax())],
               f"{graded.severity[i]:.4f}", f"{graded.shrunk[i]:.4f}", f"{graded.low[i]:.4f}", f"{graded.high[i]:.4f}",
               f"{graded.distance[i]:.3f}", int(graded.unfamiliar[i])]


def _group_rows(graded: Graded, domains: Sequence[str]) -> Iterable[Sequence[Any]]:
    """Yield the rows of groups.csv: means of the groups' images, the spread of severity, and who is unfamiliar."""
    yield ["group", "images", "severity", "severity_p10", "severity_p90", *(f"share_{name}" for name in domains),
           "out_of_domain"]
    groups, classes = np.array(graded.groups), graded.probabilities.argmax(axis=1)
    for group in np.unique(groups):
        own = groups == group
        severity = graded.severity[own]
        yield [group, int(own.sum()), f"{severity.mean():.4f}",
               *(f"{value:.4f}" for value in np.percentile(severity, [10, 90])),
               *(f"{(classes[own] == k).mean():.4f}" for k in range(len(domains))),
               f"{graded.unfamiliar[own].mean():.4f}"]
