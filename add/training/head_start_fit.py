"""Fit of a network's Gaussian head start to the images that it is trained on."""
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from add.data import ImageSet, to_model_input
from add.diffusion.gaussian_prior import fit_gaussian
from add.errors import UserError
from add.interfaces import PathLike
from add.networks.head_start import PREFIX, GaussianHeadStart

MOST_IMAGES = 4096  # of a larger set, this many, evenly spread over it, tell the moments well enough
AT_ONCE = 64


def fit_head_start(network: nn.Module, images: ImageSet, augment: str) -> None:
    """Fit the head start of a network to a set, and for each class to its images; without one, nothing is done.

    A class without images, and the label of no class, get the whole set's.

    Args:
        augment: what training does to the images, one of add.data.transforms.ORIENTATIONS.
    """
    head_start = getattr(network, "head_start", None)
    if not isinstance(head_start, GaussianHeadStart):
        return
    head_start.fit(fit_gaussian(_batches(images, np.arange(len(images))), augment))
    if len(head_start.mean) > 1:
        assert images.labels is not None, "a class-conditional network is trained with labels"
        for label in np.unique(images.labels).tolist():
            chosen = np.flatnonzero(images.labels == label)
            head_start.fit(fit_gaussian(_batches(images, chosen), augment), label)


def with_own_head_start(network: nn.Module, weights: dict[str, Any], path: PathLike) -> dict[str, Any]:
    """Return another network's weights with the head start of this one in place of its own.

    Raises:
        UserError: one of them has a head start and the other none; `path` is for the message.
    """
    own = {name: value for name, value in network.state_dict().items() if name.startswith(PREFIX)}
    others = {name: value for name, value in weights.items() if not name.startswith(PREFIX)}
    if bool(own) != (len(others) < len(weights)):
        has, asked = ("no head start", "gaussian") if own else ("a head start", "none")
        raise UserError(f"checkpoint {path} has {has}, and this training was asked for --head_start {asked}: expected "
                        f"the same, for the weights mean something else without it; give --head_start "
                        f"{'none' if own else 'gaussian'}")
    return others | own


def _batches(images: ImageSet, chosen: np.ndarray) -> Iterator[torch.Tensor]:
    """Give images `chosen` of a set, or MOST_IMAGES of them, as float32 [b, 3, H, W] in [-1, 1]."""
    if len(chosen) > MOST_IMAGES:
        chosen = chosen[np.linspace(0, len(chosen) - 1, MOST_IMAGES).round().astype(int)]
    for first in range(0, len(chosen), AT_ONCE):
        yield to_model_input(images.batch(chosen[first:first + AT_ONCE], crop="center"))
