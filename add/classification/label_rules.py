"""Label rules: soft labels read from the images, as how far each has come from the source to the target domain.

`depth` and `power` know only the place of an image in its series (`add.transition.soft_labels`). `classifier`,
`features` and `likelihood` give every image a score that grows from the source to the target domain, and read the label
off the straight line that puts the mean score of real source images at 0 and that of real target images at 1, cut off
at both ends. So all three are calibrated by real images with nothing but their domain known.

- `classifier`, the default: the log-odds of small classifiers of the two domains. A probability would switch where the
  classifier's border lies; the log-odds keep growing on both sides. The classifiers are trained with mixup, which makes
  them straighter between the classes (Zhang et al. 2018, arXiv:1710.09412), and cross-fitted: each is calibrated on the
  real images that it was not trained on.
- `features`: likewise, by logistic regressions on pretrained features, which know more than a few hundred images tell.
- `likelihood`: how much better the target's diffusion model restores the image from noise than the source's does.
- `blend`: the mean of the line's value of `classifier` and of `depth`, weighted by PLACE_WEIGHT, then cut
  off. The series knows the order of its images, the classifier how far each one is; their errors are different ones.
- `anchored`: from the line's value of the source image to that of its full translation, by the place in the series. The
  classifier says where a series begins and ends, the place what lies between.
"""
from typing import TypeAlias

import numpy as np
import torch

from add.diffusion import GaussianDiffusion
from add.errors import UserError
from add.interfaces import Count, Model
from add.metrics.progression import projection
from add.results.translation_series import REVIEWED_RULE

Models: TypeAlias = tuple[tuple[Model, GaussianDiffusion], tuple[Model, GaussianDiffusion]]  # of source and target

LABEL_RULES = ("depth", "power", "classifier", "features", "likelihood", "blend", "anchored")
READABLE_RULES = (*LABEL_RULES, REVIEWED_RULE)  # that classifiers learn from; the last one is made by readers
RULES_OF_PLACE = ("depth", "power")  # look at no image
PLACE_WEIGHT = 0.3  # of depth in blend
POWER = 0.8  # gamma of Diff-Mix (arXiv:2403.19600)
TIMESTEP_SHARES = (0.15, 0.2, 0.3, 0.4, 0.5, 0.6)  # of T: where the two models differ by more than chance
_CHUNK = 64  # images per network evaluation


def line_between(scores: torch.Tensor, source_scores: torch.Tensor, target_scores: torch.Tensor) -> torch.Tensor:
    """Return the positions of `scores` on the line from the mean source score, 0, to the mean target score, 1.

    `add.metrics.progression.projection` of one feature, so that evaluations and labels mean the same by a position.

    Args:
        scores: [n]. source_scores, target_scores: [a], [b], of real images.

    Raises:
        UserError: the score does not grow from source to target, so it can't tell the domains apart.
    """
    low, high = source_scores.mean(), target_scores.mean()
    if not high > low:
        raise UserError("the label rule's score is no higher for real target images than for real source images: it "
                        "can't tell the two domains apart; check the folders' order, or take another rule")
    return projection(scores[:, None], low[None], high[None])


def anchored_positions(places: torch.Tensor, series: torch.Tensor, sources: torch.Tensor,
                       ends: torch.Tensor) -> torch.Tensor:
    """Return float64 [n], a + place (b - a) of each image, a being its source's position and b its full translation's.

    Args:
        places: [n], from 0 at the source to 1. series: int64 [n], the number of each image's source image.
        sources, ends: [number of source images], positions.
    """
    a, b = sources.double()[series], ends.double()[series]
    return a + places.double() * (b - a)


def likelihood_positions(images: torch.Tensor, source: torch.Tensor, target: torch.Tensor, models: Models,
                         draws: int = 1, seed: int = 0, count: Count = lambda number: None) -> torch.Tensor:
    """Return positions float64 [n] of images from source (about 0) to target (about 1), not cut off.

    The score is the difference of the two models' mean squared errors in restoring the clean image, source minus
    target, summed over timesteps with the weights that tell real source from real target images best when errors of
    different timesteps are independent (Fisher's linear discriminant with a diagonal covariance). Both models see
    the same noise. Denoising errors bound the likelihood: Ho et al. 2020, arXiv:2006.11239, Eq. 5.

    Args:
        images, source, target: [n, 3, H, W], [a, 3, H, W], [b, 3, H, W]; the real images better ones that the models
            were not trained on, whose errors are too small.
        models: ((source model, its diffusion), (target model, its diffusion)).
        draws: noises per image and timestep.
        seed: of the noise.
        count: called with the number of network evaluations since its last call, in images.
    """
    gains = [restoring_gain(part, models, draws, seed, count) for part in (images, source, target)]
    means = [gain.mean(dim=0) for gain in gains[1:]]
    spread = torch.cat([gain - mean for gain, mean in zip(gains[1:], means, strict=True)]).var(dim=0)
    weights = (means[1] - means[0]) / spread.clamp(min=1e-30)
    return line_between(*(gain @ weights for gain in gains))


@torch.no_grad()
def restoring_gain(images: torch.Tensor, models: Models, draws: int = 1, seed: int = 0,
                   count: Count = lambda number: None) -> torch.Tensor:
    """Return the first model's mean squared error in restoring images minus the second's, float64 [n, timesteps]."""
    gain = torch.zeros(len(images), len(TIMESTEP_SHARES), dtype=torch.float64)
    for column, share in enumerate(TIMESTEP_SHARES):
        for draw in range(draws):
            generator = torch.Generator().manual_seed(seed + 1000 * draw + column)
            noise = torch.randn(images.shape[1:], generator=generator)  # the same for every image, so they compare
            for first in range(0, len(images), _CHUNK):
                part = images[first:first + _CHUNK]
                errors = [_restoring_error(part, noise, share, *model) for model in models]
                gain[first:first + _CHUNK, column] += (errors[0] - errors[1]) / draws
                count(len(models) * len(part))
    return gain


def two_sided(positions: torch.Tensor | np.ndarray, source: int, target: int, num_domains: int) -> np.ndarray:
    """Return soft labels float64 [n, num_domains]: positions [n] in [0, 1] on `target`, the rest on `source`."""
    weight = np.clip(np.asarray(positions, dtype=np.float64), 0, 1)
    labels = np.zeros((len(weight), num_domains))
    labels[:, source], labels[:, target] = 1 - weight, weight
    return labels


def _restoring_error(images, noise, share, model, diffusion):
    """Return the mean squared error per image, float64 [b], of the clean image restored at a share of the schedule."""
    t = torch.full((len(images),), round(share * (diffusion.num_timesteps - 1)))
    x_t = diffusion.q_sample(images, t, noise.expand_as(images))
    restored = diffusion.p_mean_variance(model, x_t, t, clip_denoised=False)["pred_xstart"]
    return ((restored - images).double() ** 2).mean(dim=(1, 2, 3))
