"""Soft labels put where readers see the images: an isotonic calibration on the places that they gave.

A label is the share of the scale's second stage. The calibrated one is the rising function of it that lies nearest to
the readers' places (squared error; Barlow et al. 1972, "Statistical Inference under Order Restrictions"), a straight
line between neighbouring steps. Each translation has a function of its own: series from the first stage to the second
lag behind in one direction, those back in the other.
"""
import dataclasses
from collections.abc import Sequence

import numpy as np

MIDDLE = 0.5
RESAMPLES = 500
FEWEST = 5  # placed images of a translation: with fewer, a curve would follow single answers


@dataclasses.dataclass(frozen=True)
class Curve:
    """A rising function of labels: straight between the points (labels, places), float64 [k], constant beyond them."""

    labels: np.ndarray
    places: np.ndarray

    def __call__(self, labels: np.ndarray) -> np.ndarray:
        """Return the places of labels, float64 [n]."""
        return np.interp(labels, self.labels, self.places)

    def middle(self) -> float | None:
        """Return the label at which the places cross the middle, half way where a whole range lies there, else None."""
        if not self.places[0] <= MIDDLE <= self.places[-1]:
            return None
        at = np.flatnonzero(self.places == MIDDLE)
        if len(at):
            return float((self.labels[at[0]] + self.labels[at[-1]]) / 2)
        after = int(np.searchsorted(self.places, MIDDLE))
        share = (MIDDLE - self.places[after - 1]) / (self.places[after] - self.places[after - 1])
        return float(self.labels[after - 1] + share * (self.labels[after] - self.labels[after - 1]))


def fit_curve(labels: np.ndarray, places: np.ndarray) -> Curve:
    """Return the `Curve` of labels and the places that readers gave, float64 [n] in [0, 1]; images may stand twice."""
    from sklearn.isotonic import isotonic_regression

    points, place_of, weights = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.bincount(place_of, places) / weights
    return Curve(points, isotonic_regression(means, sample_weight=weights))


def middle_interval(labels: np.ndarray, places: np.ndarray, images: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return a 95 % interval (low, high) of the label that readers see in the middle, by a bootstrap of images.

    Where a resampled curve doesn't reach the middle, the label counts as the end beyond which it would lie: 0 or 1.

    Args:
        labels, places: as in `fit_curve`. images: int64 [n], the number of the image that each answer is of.
    """
    rng = np.random.default_rng(seed)
    rows_of = [np.flatnonzero(images == number) for number in np.unique(images)]
    found = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([rows_of[i] for i in rng.integers(len(rows_of), size=len(rows_of))])
        curve = fit_curve(labels[rows], places[rows])
        middle = curve.middle()
        found.append((0.0 if curve.places[0] > MIDDLE else 1.0) if middle is None else middle)
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def rejected_images(verdicts: Sequence[tuple[str, bool]]) -> set[str]:
    """Return the images that at least half of their verdicts (image, kept) reject."""
    kept: dict[str, list[bool]] = {}
    for image, keep in verdicts:
        kept.setdefault(image, []).append(keep)
    return {image for image, own in kept.items() if 2 * sum(own) <= len(own)}


def calibrated(labels: np.ndarray, pair: tuple[int, int], curve: Curve) -> np.ndarray:
    """Return labels float64 [n, K] whose share of pair[1] is what the curve makes of it, and of pair[0] the rest."""
    result = np.zeros_like(labels)
    result[:, pair[1]] = curve(labels[:, pair[1]])
    result[:, pair[0]] = 1 - result[:, pair[1]]
    return result
