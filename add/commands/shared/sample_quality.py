"""How near the samples of a model in training are to real images: what --preview_kid tells of each save."""
from collections.abc import Callable

import torch

from add.errors import UserError
from add.interfaces import Scorer
from add.metrics import load_features, squared_mmd

SCALE = 1000  # by which KID is told


def kid_against(device: torch.device) -> Callable[[torch.Tensor], Scorer]:
    """Return what makes of real images a scorer: it gives the KID (x 1000) of as many samples as there are.

    The unbiased estimate from all images at once: the mean over all subsets, so that no draw of them adds chance.

    Args:
        device: where the features are computed.

    Raises:
        UserError: the packages of the features are not installed.
    """
    try:
        extractor = load_features(device=device)
    except UserError as error:
        raise UserError(f"--preview_kid needs features of images: {error}, or leave --preview_kid out") from error

    def against(real: torch.Tensor) -> Scorer:
        features = extractor(real)

        def score(samples: torch.Tensor) -> float:
            return SCALE * squared_mmd(features, extractor(samples)).item()

        return score

    return against
