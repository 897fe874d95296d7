"""Familiarity: how far an image lies from all that a grader has learnt from, to tell of images that it can't know.

A classifier gives every image a grade, also one of another tissue, stain or camera. The distance to the k-th nearest
known image in the features of a network of ImageNet tells such images (Sun et al. 2022, arXiv:2204.06507). It is held
against that of validation images, which are known to belong.
"""
import dataclasses
import math

import torch
from torch.nn import functional as F

from add.errors import UserError

NEAREST = 3  # k
SHARE_OUTSIDE = 0.05  # of images that belong, at most, which are called unfamiliar
MOST_KNOWN = 4000  # images that are kept to be near to
_CHUNK = 256


@dataclasses.dataclass(frozen=True)
class Familiarity:
    """What tells how far an image lies from the known ones, made by `fit_familiarity`.

    known: float16 [m, D], features of known images, of length 1. limit: distance of an image that just belongs.
    """

    known: torch.Tensor
    limit: float

    def distances(self, features: torch.Tensor) -> torch.Tensor:
        """Return the distances float32 [n] of images with features [n, D], as multiples of the limit.

        An image above 1 is unfamiliar.
        """
        return _kth_distance(F.normalize(features.float(), dim=1), self.known.float()) / self.limit


def fit_familiarity(known: torch.Tensor, validation: torch.Tensor, generator: torch.Generator) -> Familiarity:
    """Return the `Familiarity` of images that a grader learnt from, generated ones included.

    The limit is the split-conformal quantile of validation distances: of images that belong, and are as independent
    of each other as these are, SHARE_OUTSIDE lie beyond it at most, on average.

    Args:
        known: features [m, D]; of more than MOST_KNOWN, so many are drawn. validation: features [v, D].
        generator: of the draw.

    Raises:
        UserError: fewer than NEAREST known images, or images that are all alike.
    """
    if len(known) < NEAREST or not len(validation):
        raise UserError(f"{len(known)} training and {len(validation)} validation images do not tell what is familiar: "
                        f"expected {NEAREST} and 1 or more; give more images")
    if len(known) > MOST_KNOWN:
        known = known[torch.randperm(len(known), generator=generator)[:MOST_KNOWN].sort().values]
    kept = F.normalize(known.float(), dim=1).half()
    limit = conformal_quantile(_kth_distance(F.normalize(validation.float(), dim=1), kept.float()), 1 - SHARE_OUTSIDE)
    if limit <= 0:
        raise UserError("all validation images lie where the training images lie, in the features of the network: "
                        "expected images that differ; look at the folders")
    return Familiarity(kept, limit)


def conformal_quantile(scores: torch.Tensor, coverage: float) -> float:
    """Return the score that a further one stays below with a chance of `coverage` or more, if all are exchangeable.

    Split conformal prediction (Vovk et al. 2005; Lei et al. 2018, arXiv:1604.04173): the ceil((n + 1) coverage)-th
    smallest of scores [n]. Of too few the largest, whose coverage is n / (n + 1).
    """
    rank = min(math.ceil((len(scores) + 1) * coverage), len(scores))
    return float(scores.double().sort().values[rank - 1])


def _kth_distance(features, known):
    """Return the distances float32 [n] of features [n, D] to the NEAREST-th of known [m, D], all of length 1."""
    return torch.cat([torch.cdist(part, known).topk(NEAREST, largest=False).values[:, -1]
                      for part in features.split(_CHUNK)])
