"""Quality of soft labels: their agreement with the severity that can be measured in the images themselves."""
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from add.data import tissue
from add.metrics.severity_meter import SeverityMeter, relative_severity

BINS = 10
MEASURED = ("phantom", "tissue")  # data whose images show how far they have come


class LabelQuality(NamedTuple):
    """Agreement of labels with measured positions between two domains.

    spearman: rank correlation of label and measured severity; calibration_error: mean distance, over ten bins of equal
    width and weighted by their images, of the mean label from the mean position; rmse: root mean square distance.
    """

    spearman: float
    calibration_error: float
    rmse: float


def label_quality(labels: np.ndarray, severity: np.ndarray, source_mean: float, target_mean: float) -> LabelQuality:
    """Return the `LabelQuality` of labels float [n], the share of the target domain.

    Args:
        severity: measured in the images, float [n].
        source_mean, target_mean: mean severities of the two domains; the true label of an image is its position
            between them, cut off to [0, 1].
    """
    from scipy.stats import spearmanr

    truth = relative_severity(severity, source_mean, target_mean)
    bins = np.minimum((labels * BINS).astype(int), BINS - 1)
    gaps = [abs(labels[bins == k].mean() - truth[bins == k].mean()) * (bins == k).mean() for k in np.unique(bins)]
    return LabelQuality(float(spearmanr(labels, severity).statistic), float(sum(gaps)),
                        float(np.sqrt(((labels - truth) ** 2).mean())))


@functools.cache
def severity_measure(dataset: str, image_size: int) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return measure(images uint8 [n, H, W, 3]) -> severity float64 [n] for a data set in MEASURED; None for others.

    The phantom's severity is measured by segmentation and regression (`SeverityMeter`), the tissue's is the share of
    brown pixels.
    """
    if dataset == "phantom":
        return SeverityMeter.fit(image_size)
    if dataset == "tissue":
        return lambda images: np.array([tissue.stain_masks(image)["brown"].mean() for image in images])
    return None


def mean_by_place(severity: np.ndarray, m: np.ndarray) -> list[float]:
    """Return the mean of severity [n] at each place m = 1..N of the series, from the places m [n] of the images."""
    return [float(severity[m == place].mean()) for place in range(1, int(m.max()) + 1)]
