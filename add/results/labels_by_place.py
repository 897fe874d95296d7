"""What is said of a translation's images by their place m in the series: label rules side by side, in one table."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from add.interfaces import PathLike
from add.results.translation_series import DEPTH_RULE, read_series

LABEL = "label_"  # in front of a rule's name
MEANS = {  # of each column, in the order of the table
    "label_depth": "the label in labels.csv, m / N: the place in the series; it looks at no image",
    "label_power": "the place in the series with an exponent, (m / N)^gamma; it looks at no image",
    "label_classifier": "where classifiers of the two domains put the image: 0 at the mean of real source images, 1 at "
                        "that of real target images, cut off there; they look for what tells the two apart",
    "label_features": "the same scale, by regressions on pretrained features in place of classifiers",
    "label_likelihood": "the same scale, by which of the two diffusion models restores the image better",
    "label_blend": "0.7 of label_classifier and 0.3 of label_depth",
    "label_anchored": "by the place in the series, from label_classifier of the source image to that of its full "
                      "translation",
    "label_reviewed": "a label that was put where readers see the images (add review score); rejected images are left "
                      "out, and - stands where all were",
    "position": "the same scale on the features of the evaluation, not cut off; everything that features hold counts, "
                "also what doesn't tell the domains apart, such as texture, so that it lags behind",
}


def labels_by_place(folder: PathLike) -> dict[str, list[Any]]:
    """Return {"m": 1..N, "label_RULE": mean share of the target by m} for every label table in a translation folder.

    The share is None for an m whose images a review has all rejected. A chain, whose places lie between more than two
    domains, has none of the latter.
    """
    rules = [DEPTH_RULE, *sorted(path.stem.removeprefix("labels_") for path in Path(folder).glob("labels_*.csv"))]
    found: dict[str, list[Any]] = {}
    for rule in rules:
        series = read_series(folder, rule)
        found.setdefault("m", np.unique(series.m).tolist())
        if series.is_chain:
            break
        share = series.labels[:, series.target]
        found[LABEL + rule] = [float(share[series.m == m].mean()) if (series.m == m).any() else None
                               for m in found["m"]]
    return found


def place_table(by_m: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return the lines of a Markdown table of columns by m, and below it what those of MEANS say."""
    rows = [list(by_m), ["---"] * len(by_m), *zip(*(map(_text, column) for column in by_m.values()), strict=True)]
    meanings = [f"- {name}: {meaning}." for name, meaning in MEANS.items() if name in by_m]
    return [*(f"| {' | '.join(row)} |" for row in rows), *([""] if meanings else []), *meanings]


def _text(value):
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.4g}"
