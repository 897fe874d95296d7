"""Grading: a classifier's place for an image between the first and the last of ordered classes, by one link for all.

A probability depends on how soft the labels were that a classifier learnt from: hard ones drive it to 0 and 1. So
places are read off the log-odds, on a straight line from the mean of the first class's validation images, 0, to that
of the last one's, 1, cut off at both ends. No severity is used, and every straight change of log-odds that keeps
their direction leaves places as they are: of two classes, any temperature and any bias.

Of K > 2 classes there are K - 1 log-odds, one for each border: of the classes above it against those below. A grade's
mean is the sum of the probabilities to lie above each border; so the place is the mean of the borders' places. Here a
temperature is no straight change any more, but one that tends to it the surer a classifier is: places do not saturate.

A place read off a line spreads over [0, 1] however little a classifier knows, and then errs more than who says "half
way" of every image. `Shrinkage` takes that back: the wider the places of one class scatter among the same validation
images, the nearer to the middle it draws all places.
"""
import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from add.classification.label_rules import line_between
from add.classification.labelled_images import expected_positions
from add.errors import UserError
from add.metrics.severity_meter import relative_severity

SHRUNK = "severity_rmse_shrunk"  # the score of places by a Shrinkage
TIE = 1e-9  # of the way between the first and the last domain: distances that differ by less are the same


class DomainSeverities(NamedTuple):
    """Severities of the training images, for each domain in label order: their mean, and their (least, greatest)."""

    means: list[float]
    bands: list[tuple[float, float]]

    def positions(self, severity: np.ndarray) -> np.ndarray:
        """Return the true places float64 [n]: between the first and last domains' means, cut off to [0, 1]."""
        return relative_severity(severity, self.means[0], self.means[-1])

    def parts(self, severity: np.ndarray) -> dict[str, np.ndarray]:
        """Return {"ends": bool [n], "middle": bool [n]} of severities; {} where one of them has fewer than 2 images.

        The middle lies strictly between the bands of two neighbouring domains, where no classifier saw a real image.
        """
        middle = np.zeros(len(severity), dtype=bool)
        for pair in zip(self.bands[:-1], self.bands[1:], strict=True):
            (_, below), (above, _) = sorted(pair)
            middle |= (severity > below) & (severity < above)
        return {"ends": ~middle, "middle": middle} if 2 <= middle.sum() <= len(middle) - 2 else {}


def of_a_class(severity: np.ndarray | None, known: DomainSeverities | None, count: int) -> torch.Tensor:
    """Return which of `count` images lie nearer to one domain's mean severity than to any other's, bool [n].

    What lies exactly half way, as a grade between two trained ones does, is of neither class, whatever folder it is in:
    scores of classes leave it out. All are, where severities are not known, or where it would leave none.
    """
    if severity is None or known is None or len(known.means) < 2:
        return torch.ones(count, dtype=torch.bool)
    nearest = np.sort(np.abs(severity[:, None] - np.asarray(known.means)), axis=1)
    clear = nearest[:, 1] - nearest[:, 0] > TIE * abs(known.means[-1] - known.means[0])
    return torch.from_numpy(clear | ~clear.any())


@dataclasses.dataclass(frozen=True)
class Link:
    """What places log-odds, made by `fit_link`.

    low, high: float64 [K - 1], the mean log-odds of validation images of the first and of the last class.
    borders: float64 [K - 1], the places half way between the mean places of neighbouring classes.
    """

    low: torch.Tensor
    high: torch.Tensor
    borders: torch.Tensor

    def positions(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the places float64 [n] in [0, 1] of logits [n, K]."""
        return _lines(border_log_odds(logits), self.low, self.high).clamp(0, 1).mean(dim=1)

    def classes(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the classes int64 [n] between whose borders logits [n, K] are placed; no place is cut off for it."""
        return (_lines(border_log_odds(logits), self.low, self.high).mean(dim=1)[:, None] > self.borders).sum(dim=1)


def fit_link(logits: torch.Tensor, classes: torch.Tensor) -> Link:
    """Return the `Link` of a classifier from its logits [n, K] of validation images of all classes int64 [n].

    A border whose log-odds are no higher for the last class than for the first places every image half way.
    """
    log_odds = border_log_odds(logits)
    last = logits.shape[1] - 1
    low, high = (log_odds[classes == k].mean(dim=0) for k in (0, last))
    places = _lines(log_odds, low, high).mean(dim=1)
    means = torch.stack([places[classes == k].mean() for k in range(last + 1)])
    return Link(low, high, (means[1:] + means[:-1]) / 2)


class Shrinkage(NamedTuple):
    """The line from places by a `Link` to those with the least squared error, made by `fit_shrinkage`.

    middle: the place that goes half way. slope: of the line, 0 or more; the smaller, the more the places of a class
    scatter. Of places that hardly scatter, whose ends are cut off, it is up to 1.03.
    """

    middle: float
    slope: float

    def places(self, positions: torch.Tensor) -> torch.Tensor:
        """Return the places float64 [n] in [0, 1] of places by a link [n]."""
        return (0.5 + self.slope * (positions.double() - self.middle)).clamp(0, 1)


def fit_shrinkage(positions: torch.Tensor, classes: torch.Tensor, num_classes: int) -> Shrinkage:
    """Return the `Shrinkage` of places by a link, [n], of validation images of all classes int64 [n].

    A place p of an image whose true place is t counts as p = middle + rise (t - 1/2) + noise. The classes' means, t
    evenly from 0 to 1, give middle and rise; what images lie off that line, the variance of the noise. Of all lines
    t = 1/2 + slope (p - middle) the one with slope = rise / (rise^2 + 12 noise) errs least where every t from 0 to 1
    is equally likely, with a variance of 1/12 (the linear Bayes estimate, Hartigan 1969, J. R. Statist. Soc. B 31,
    446). That they are is an assumption; and as a link cuts places off, the noise of sure ones is taken for less than
    it is. No severity is used. Where places say nothing, or no class has two images, all images go half way.
    """
    truth = torch.linspace(-0.5, 0.5, num_classes, dtype=torch.float64)
    positions = positions.double()
    means = torch.stack([positions[classes == k].mean() for k in range(num_classes)])
    middle = means.mean()
    rise = ((means * truth).sum() / (truth ** 2).sum()).clamp(min=0)
    spare = len(positions) - num_classes
    if rise <= 0 or spare <= 0:
        return Shrinkage(middle.item(), 0.0)
    noise = ((positions - (middle + rise * truth)[classes]) ** 2).sum() / spare
    return Shrinkage(middle.item(), (rise / (rise ** 2 + 12 * noise)).item())


def border_log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Return the log-odds float64 [n, K - 1] that the class lies above each border, of logits [n, K]."""
    logits = logits.double()
    return torch.stack([logits[:, k:].logsumexp(dim=1) - logits[:, :k].logsumexp(dim=1)
                        for k in range(1, logits.shape[1])], dim=1)


def linked_scores(logits: torch.Tensor, classes: torch.Tensor, link: Link, severity: np.ndarray | None = None,
                  known: DomainSeverities | None = None, shrinkage: Shrinkage | None = None) -> dict[str, float]:
    """Return how a classifier of ordered classes does by its `Link`.

    halfway_accuracy: share of images, of those `of_a_class`, on the right side of the borders half way between the
    classes' validation means; kappa_quadratic, of three or more classes: agreement of these classes with the true ones,
    see `quadratic_kappa`.
    Where severities are known, those of `severity_scores`: severity_spearman of the mean log-odds, which needs no
    link; severity_rmse_linked of the places; severity_rmse_shrunk of those by `shrinkage`; severity_rmse of the
    softmax's mean grade, in place of which severity_rmse_linked came.

    Args:
        logits: [n, K], of the test images. classes: int64 [n].
        severity, known: of the test images, float64 [n], and of the training images; or None.
        shrinkage: of the same validation images as `link`; or None, then its score is left out.
    """
    clear = of_a_class(severity, known, len(classes))
    scores = class_scores(link.classes(logits)[clear], classes[clear], logits.shape[1])
    if severity is None or known is None:
        return scores
    linked = link.positions(logits)
    places = {"severity_rmse_linked": linked}
    places |= {SHRUNK: shrinkage.places(linked)} if shrinkage else {}
    places |= {"severity_rmse": expected_positions(logits.double().softmax(dim=1))}
    return scores | severity_scores({"severity_spearman": border_log_odds(logits).mean(dim=1)}, places, severity, known)


def head_scores(severities: torch.Tensor, classes: torch.Tensor, num_classes: int, severity: np.ndarray | None = None,
                known: DomainSeverities | None = None) -> dict[str, float]:
    """Return how the severities that a network says itself grade, without a link.

    Names as those of `linked_scores`, with _head: halfway_accuracy_head and kappa_quadratic_head of the nearest grades,
    and where severities are known severity_spearman_head and severity_rmse_head.

    Args:
        severities: float64 [n], 0 for the first class and 1 for the last, cut off here.
        classes, severity, known: see `linked_scores`.
    """
    places = severities.clamp(0, 1)
    clear = of_a_class(severity, known, len(classes))
    scores = class_scores((places * (num_classes - 1)).round().long()[clear], classes[clear], num_classes, "_head")
    if severity is None or known is None:
        return scores
    return scores | severity_scores({"severity_spearman_head": severities}, {"severity_rmse_head": places}, severity,
                                    known)


def class_scores(found: torch.Tensor, classes: torch.Tensor, num_classes: int, suffix: str = "") -> dict[str, float]:
    """Return {"halfway_accuracy", and of K > 2 "kappa_quadratic"} of class numbers int64 [n]; `suffix` ends names."""
    scores = {f"halfway_accuracy{suffix}": (found == classes).double().mean().item()}
    if num_classes > 2:
        scores[f"kappa_quadratic{suffix}"] = quadratic_kappa(found, classes)
    return scores


def severity_scores(ranks: Mapping[str, torch.Tensor], places: Mapping[str, torch.Tensor], severity: np.ndarray,
                    known: DomainSeverities) -> dict[str, float]:
    """Return {score: float} of images whose severity is known: of all, and with _ends and _middle of `known.parts`.

    Args:
        ranks: {score: float64 [n]}, of which Spearman's rank correlation with severity is taken.
        places: {score: float64 [n] in [0, 1]}, whose root mean square difference from the true places is taken.
        severity: float64 [n].
    """
    parts = {"": np.ones(len(severity), dtype=bool)} | {f"_{k}": own for k, own in known.parts(severity).items()}
    scores: dict[str, float] = {}
    for score, values in ranks.items():
        scores |= {score + part: rank_correlation(values.numpy()[own], severity[own]) for part, own in parts.items()}
    for score, values in places.items():
        errors = values.numpy() - known.positions(severity)
        scores |= {score + part: math.sqrt((errors[own] ** 2).mean()) for part, own in parts.items()}
    return scores


def rank_correlation(values: np.ndarray, severity: np.ndarray) -> float:
    """Return Spearman's rank correlation of values [n] and severities [n], 0 where either is constant."""
    from scipy.stats import spearmanr

    if np.ptp(values) == 0 or np.ptp(severity) == 0:
        return 0.0
    return float(spearmanr(values, severity).statistic)


def quadratic_kappa(found: torch.Tensor, classes: torch.Tensor) -> float:
    """Return Cohen's kappa with quadratic weights (1968, Psychol. Bull. 70) of class numbers int64 [n].

    1 - mean_i (a_i - b_i)^2 / mean_ij (a_i - b_j)^2: 1 for agreement, 0 for that of chance, or of one class alone.
    """
    found, classes = found.double(), classes.double()
    by_chance = found.var(correction=0) + classes.var(correction=0) + (found.mean() - classes.mean()) ** 2
    return 1 - (((found - classes) ** 2).mean() / by_chance).item() if by_chance > 0 else 0.0


def _lines(log_odds, low, high):
    """Return each border's places float64 [n, K - 1], not cut off, of log-odds [n, K - 1]; ends [K - 1]."""
    columns = []
    for own, start, end in zip(log_odds.T, low, high, strict=True):
        try:
            columns.append(line_between(own, start[None], end[None]))
        except UserError:  # it can't tell the ends apart
            columns.append(torch.full_like(own, 0.5))
    return torch.stack(columns, dim=1)
