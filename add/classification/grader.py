"""A grader: an ensemble of classifiers, calibrated, that gives images a grade and says how sure it is of it.

- **Class probabilities** are the softmax of the members' mean log probability at a temperature and with an offset for
  each class (vector scaling with one slope, Guo et al. 2017, arXiv:1706.04599, section 4.2), fitted on validation
  images. The temperature is never below 1: a few images that are all told apart would sharpen it without end.
- **Severity** is the mean of the members' places between the first class, 0, and the last one, 1. A member's place is
  read off a straight line through the means of its validation images of these two, cut off at both ends: of the class
  log-odds (`add.classification.grading`), or of its severity head where it has one that learnt from images between.
- **A shrunk severity**, drawn towards the middle by as much as the severities of one class scatter among the validation
  images (`add.classification.grading.Shrinkage`): of a single image it errs less, as a rule. It is fitted to the
  ensemble's, whose members' scatter evens out in part. How far slides differ it knows as far as validation slides do.
- **An interval** of the severity, by split conformal prediction with the spread of the members as its scale (Lei et al.
  2018, arXiv:1604.04173, section 5.2; ensembles: Lakshminarayanan et al. 2017, arXiv:1612.01474). Validation images
  fix it, and these are of known classes: images of the classes have theirs, 0 or 1, inside it with the stated chance.
  **Between the classes no image with a known severity was there to fix it**; it grows there with the disagreement of
  the members, and no more is promised.
- **Unfamiliar images** are told by `add.classification.familiarity`.
"""
import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from add.classification.classifier_methods import network_of, parse_method
from add.classification.classifier_runs import Reading, as_one, predict
from add.classification.familiarity import Familiarity, conformal_quantile
from add.classification.feature_classifier import features_of
from add.classification.grading import Link, Shrinkage, fit_link, fit_shrinkage
from add.classification.label_rules import line_between
from add.errors import UserError
from add.interfaces import Row

COVERAGE = 0.9  # of the intervals
LEAST_SPREAD = 0.05  # of the members, as a scale: members that happen to agree are not sure without end
MOST_TEMPERATURE, MOST_OFFSET = 20.0, 20.0


class Grades(NamedTuple):
    """What a grader says of images, arrays of [n] rows.

    probabilities: float64 [n, K]. severity, shrunk, low, high: float64 in [0, 1]; low and high are of severity.
    distance: float64, from what is known; above 1 an image is unfamiliar.
    """

    probabilities: np.ndarray
    severity: np.ndarray
    shrunk: np.ndarray
    low: np.ndarray
    high: np.ndarray
    distance: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """The likeliest class of each image, int64 [n]."""
        return self.probabilities.argmax(axis=1)

    @property
    def unfamiliar(self) -> np.ndarray:
        """Whether each image is unlike all that the grader knows, bool [n]."""
        return self.distance > 1


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What validation images fixed.

    temperature, offsets [K]: of the class probabilities. width: of an interval, in spreads.
    lines: float64 [members, 2], the mean severities that each member's head gives the first and the last class; or
    None, and `links` place log-odds. shrinkage: of the ensemble's severity.
    """

    temperature: float
    offsets: torch.Tensor
    width: float
    links: tuple[Link, ...]
    lines: torch.Tensor | None
    shrinkage: Shrinkage


@dataclasses.dataclass(frozen=True)
class Grader:
    """An ensemble with its calibration.

    domains: names of the classes, in order. image_size: pixels that images are brought to. method, network, heads: of
    the classifiers, see `add.classification`. states: the weights of each. facts: of its training, for its card.
    """

    domains: tuple[str, ...]
    image_size: int
    method: str
    network: str
    heads: str
    states: tuple[dict[str, Any], ...]
    calibration: Calibration
    familiarity: Familiarity
    facts: Row

    def networks(self) -> list[nn.Module]:
        """Return the members, in evaluation mode; raises UserError where weights do not fit."""
        return load_members(self.states, self.method, self.network, self.heads, len(self.domains))

    def grade(self, images: torch.Tensor, members: Sequence[nn.Module]) -> Grades:
        """Return the `Grades` of images.

        Args:
            images: [n, 3, image_size, image_size] in [-1, 1]. members: as from `networks`.
        """
        readings = [read_member(member, images, self.method, self.heads, len(self.domains)) for member in members]
        severity, spread = place_ensemble(readings, self.calibration.links, self.calibration.lines)
        half = self.calibration.width * (spread + LEAST_SPREAD)
        logits = as_one(readings).logits / self.calibration.temperature + self.calibration.offsets
        return Grades(logits.softmax(dim=1).numpy(), severity.numpy(),
                      self.calibration.shrinkage.places(severity).numpy(),
                      (severity - half).clamp(0, 1).numpy(), (severity + half).clamp(0, 1).numpy(),
                      self.familiarity.distances(features_of(images)).double().numpy())


def load_members(states: Sequence[dict[str, Any]], method: str, network: str, heads: str, num_classes: int
                 ) -> list[nn.Module]:
    """Return classifiers with the weights of `states`, in evaluation mode."""
    members = []
    for state in states:
        member = network_of(parse_method(method), network, heads, num_classes, state)
        try:
            member.load_state_dict(state)
        except RuntimeError as error:
            raise UserError(f"the grader's weights do not fit its network {network}: expected those that `add grade` "
                            f"wrote; copy the whole folder again") from error
        members.append(member.to(memory_format=torch.channels_last).eval())  # type: ignore[call-overload]
    return members


def read_member(member: nn.Module, images: torch.Tensor, method: str, heads: str, num_classes: int) -> Reading:
    """Return what one member says of images [n, 3, H, W]: its logits, no validation ones, and severities or None."""
    logits, severities = predict(member, images, parse_method(method), heads, num_classes)
    return Reading(logits, logits[:0], severities)


def fit_calibration(readings: Sequence[Reading], classes: torch.Tensor) -> Calibration:
    """Return the `Calibration` of an ensemble.

    Args:
        readings: each member's, of validation images. classes: int64 [v], their numbers; some of each.
    """
    num_classes = readings[0].logits.shape[1]
    links = tuple(fit_link(reading.logits, classes) for reading in readings)
    lines = None
    if readings[0].severities is not None:
        ends = [[reading.severities[classes == k].mean() for k in (0, num_classes - 1)]  # type: ignore[index]
                for reading in readings]
        lines = torch.tensor(ends, dtype=torch.float64)
    severity, spread = place_ensemble(readings, links, lines)
    errors = (severity - classes.double() / (num_classes - 1)).abs() / (spread + LEAST_SPREAD)
    temperature, offsets = fit_scaling(as_one(readings).logits, classes)
    return Calibration(temperature, offsets, conformal_quantile(errors, COVERAGE), links, lines,
                       fit_shrinkage(severity, classes, num_classes))


def fit_scaling(logits: torch.Tensor, classes: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Return (temperature in [1, MOST_TEMPERATURE], offsets float64 [K] of sum 0) with the least log loss.

    Args:
        logits: [v, K]. classes: int64 [v], as many of each as weigh equally: they are weighted so.
    """
    from scipy.optimize import minimize

    num_classes = logits.shape[1]
    weight = 1 / torch.bincount(classes, minlength=num_classes).clamp(min=1).double()

    def loss(values):
        free = torch.tensor(values, requires_grad=True)
        with torch.enable_grad():
            found = F.cross_entropy(logits.double() / free[0].exp() + free[1:] - free[1:].mean(), classes, weight)
            gradient, = torch.autograd.grad(found, free)
        return found.item(), gradient.numpy()

    bounds = [(0, math.log(MOST_TEMPERATURE)), *[(-MOST_OFFSET, MOST_OFFSET)] * num_classes]
    found = minimize(loss, np.array([math.log(2)] + [0.0] * num_classes), jac=True, bounds=bounds).x
    offsets = torch.from_numpy(found[1:])
    return float(math.exp(found[0])), offsets - offsets.mean()


def place_ensemble(readings: Sequence[Reading], links: Sequence[Link], lines: torch.Tensor | None
                   ) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (mean, standard deviation) float64 [n] of the members' places in [0, 1] of images."""
    if lines is None:
        places = torch.stack([link.positions(reading.logits)
                              for reading, link in zip(readings, links, strict=True)])
    else:
        places = torch.stack([_on_line(reading.severities, *ends)
                              for reading, ends in zip(readings, lines, strict=True)])
    return places.mean(dim=0), places.std(dim=0, correction=0)


def _on_line(severities, low, high):
    """Return places float64 [n], cut off to [0, 1]; half way where the ends are not told apart."""
    try:
        return line_between(severities.double(), low[None], high[None]).clamp(0, 1)
    except UserError:
        return torch.full_like(severities, 0.5, dtype=torch.float64)
