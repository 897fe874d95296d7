"""The depth rule `progress`: depths spaced by how far images come, as a rough trial decode, the pilot, measures it.

The encode is walked anyway, so latents at a few depths are free. The pilot decodes them in very few steps and measures
the images it gets: how far they have moved from the source image, or what a classifier makes of them. Between its
depths the measure is interpolated, and `choose_depths` finds where it has gone m / N of its way.
"""
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch.nn import functional as F

from add.diffusion.gaussian import GaussianDiffusion
from add.diffusion.noise_levels import GRIDS, NoiseLevels
from add.diffusion.prediction_types import ModelMeanType
from add.diffusion.solvers import SOLVERS, predictor_of, walk, x_start_from
from add.diffusion.wide_numbers import to_float64
from add.errors import UserError
from add.interfaces import Gradient, Model
from add.transition.depths import DepthPlan, uniform_depths
from add.transition.two_way_samplers import OBELM, Sampler, guided

SHARE = 4  # the pilot costs at most a quarter of the run's own evaluations
STEPS = 4  # evaluations of a pilot decode, from any depth; with fewer the images differ in kind, not only in detail
MOST_DEPTHS = 6  # of the pilot; more tell no more
SOLVER, GRID = SOLVERS["dpm++2m"], GRIDS["quadratic"]  # the soundest in 4 steps, where those of the run itself fail
CELLS = 8  # per side of an image


def move(images: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return how far `images` [K, 3, H, W] have moved from image x [3, H, W], float64 [K], in units of [-1, 1].

    It is the root mean square change of the mean colours of 8 x 8 cells, joined with that of the contrast in each
    channel. The colours say where tissue or stain has changed, the contrast how much structure there is.
    """
    features = _features(torch.cat([x[None], images]))
    return (features[1:] - features[:1]).square().sum(dim=1).sqrt()


def _features(x):
    """Return float64 [B, features] of images [B, 3, H, W], each of the two groups with a mean square as its sum."""
    x = to_float64(x).clamp(-1, 1)
    cells = F.adaptive_avg_pool2d(x, CELLS).flatten(1)
    contrast = x.flatten(2).std(dim=2, correction=0)
    return torch.cat([cells / cells.shape[1] ** 0.5, contrast / contrast.shape[1] ** 0.5], dim=1)


class Pilot:
    """The pilot of a run: which depths it decodes roughly, and what that says of all depths.

    Args:
        sampler: the run's own.
        source, target: diffusions.
        amount: number of depths N to choose.

    Attributes:
        depths: ascending ints that end at T, or () where no pilot is needed or none can be had.
        sampler: what decodes them.
    """

    def __init__(self, sampler: Sampler, source: GaussianDiffusion, target: GaussianDiffusion, amount: int) -> None:
        self.amount, self.num_steps = amount, source.num_timesteps
        self.sampler = Rough(sampler.clip_denoised, sampler.cond_fn)
        self.depths: tuple[int, ...] = ()
        self._reason = ""
        if amount in (1, self.num_steps):
            return  # one depth is T, and all depths are all
        if target.model_mean_type == ModelMeanType.PREVIOUS_X:
            self._reason = "a target model that predicts the previous x can't be tried in few steps"
            return
        if isinstance(sampler, OBELM):
            self._reason = f"sampler {sampler.name} must know its depths before it encodes"
            return
        # The least that `amount` depths could cost, however they are chosen.
        least = sum(sampler.evaluations(source, [*range(1, amount), self.num_steps]))
        count = min(MOST_DEPTHS, self.num_steps, least // (SHARE * STEPS))
        if count < 2:
            self._reason = f"the run's own {least} evaluations are too few to spend a quarter of them on a pilot"
            return
        self.depths = uniform_depths(self.num_steps, count)

    def curves(self, x: torch.Tensor, images: torch.Tensor,
               classifier: Callable[[torch.Tensor], Any] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (starts float64 [B], curves float64 [B, T]), the measure of x itself and at each depth from 1 on.

        Args:
            x: [B, 3, H, W], source images; images: [B, K, 3, H, W], decoded from `depths`.
            classifier: as for `translate`; asked about one source image and its pilot at a time.
        """
        values = measure_progress(x, images, classifier)
        steps = np.arange(1, self.num_steps + 1)
        curves = [np.interp(steps, (0, *self.depths), row) for row in values.numpy()]
        return values[:, 0], torch.from_numpy(np.stack(curves))

    def plan(self) -> DepthPlan:
        """Return the DepthPlan of every image where there is no pilot."""
        return DepthPlan(uniform_depths(self.num_steps, self.amount), "uniform" if self._reason else "progress",
                         self._reason)


def measure_progress(x: torch.Tensor, images: torch.Tensor,
                     classifier: Callable[[torch.Tensor], Any] | None = None) -> torch.Tensor:
    """Return float64 [B, 1 + K], the progress measure of source images x [B, 3, H, W] and of K images after each.

    Args:
        images: [B, K, 3, H, W]. classifier: as for `translate`; left out: how far they have moved, see `move`.
    """
    if classifier is None:
        return torch.stack([torch.cat([torch.zeros(1, dtype=torch.float64), move(decoded, source).cpu()])
                            for source, decoded in zip(x, images, strict=True)])
    return torch.stack([_ask(classifier, torch.cat([source[None], decoded]).clamp(-1, 1))
                        for source, decoded in zip(x, images, strict=True)])


def _ask(classifier, images):
    """Return the classifier's numbers for images [B, 3, H, W], float64 [B]."""
    values = torch.as_tensor(classifier(images)).detach().cpu().double()
    if values.shape != (len(images),) or not values.isfinite().all():
        raise UserError(f"the classifier answered {tuple(values.shape)}, {values.flatten()[:4].tolist()} ... to "
                        f"{len(images)} images: expected one finite number for each, [{len(images)}]; give the "
                        f"probability of the target domain, for instance")
    return values


@dataclass(frozen=True)
class Rough:
    """A sampler that only decodes, in few steps, the same number from any depth of any schedule."""

    clip_denoised: bool = False
    cond_fn: Gradient | None = None

    def check(self, diffusion: GaussianDiffusion) -> None:
        """Accept any diffusion that `Pilot` takes."""

    def decode(self, model: Model, diffusion: GaussianDiffusion, latents: torch.Tensor, depths: torch.Tensor,
               known: ArrayLike | None = None) -> torch.Tensor:
        """Return roughly the clean images that latents [R, C, H, W] at depths int64 [R] lead to."""
        levels = NoiseLevels(diffusion.alphas_cumprod, diffusion.timestep_map)
        timesteps = np.asarray(diffusion.timestep_map)[np.minimum(depths.cpu().numpy(), diffusion.num_timesteps - 1)]
        grids = {t: GRID.timesteps(levels, min(t, levels.last), levels.first, STEPS - 1)
                 for t in set(timesteps.tolist())}
        predict = predictor_of(diffusion, levels, guided(model, self.cond_fn, diffusion), SOLVER.quantity,
                               self.clip_denoised)
        *_, step = walk(SOLVER, predict, levels, latents,
                        np.stack([grids[t] for t in timesteps.tolist()], axis=1))
        signal, spread = levels.factors(levels.first)
        return x_start_from(SOLVER.quantity, step.value, step.seen, float(signal), float(spread))


def expected_evaluations(sampler: Sampler, source: GaussianDiffusion, target: GaussianDiffusion, amount: int,
                         rule: str) -> tuple[int, int]:
    """Return the evaluations of the source's and of the target's model for one image; about, where depths aren't even.

    Args:
        source, target: diffusions; amount, rule: as `translate` takes them.
    """
    pilot = Pilot(sampler, source, target, amount).depths if rule == "progress" else ()
    there, back = sampler.evaluations(source, uniform_depths(source.num_timesteps, amount))
    return there, back + STEPS * len(pilot)
