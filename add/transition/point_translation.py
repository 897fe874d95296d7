"""Translation of points in the plane by two models: to the noise of one, and from there to the set of the other.

Su et al. 2023 (DDIB, arXiv:2203.08382), Section 5.1. Points [B, 2] are carried as the B pixels of one image of two
channels, [1, 2, B], so that a sampler works out its steps once for all of them.
"""
from collections.abc import Callable, Sequence

import torch

from add.diffusion.blend import Blend
from add.diffusion.gaussian import GaussianDiffusion
from add.interfaces import Model
from add.transition.depths import uniform_depths
from add.transition.translation import decode, encode
from add.transition.two_way_samplers import Sampler


class PointCloud:
    """A network for points, model(points [B, 2], t [B]) -> [B, K], called like one for images: (x [1, 2, B], t [1]).

    Args:
        on_step: called after each evaluation with the number of points in it.

    Attributes:
        evaluations: points evaluated so far.
    """

    def __init__(self, model: Model, on_step: Callable[[int], None] | None = None) -> None:
        self.model, self.on_step, self.evaluations = model, on_step, 0

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return the network's output for all points, [1, K, B]."""
        count = x.shape[2]
        output = self.model(x[0].T.contiguous(), t.expand(count))
        self.evaluations += count
        if self.on_step is not None:
            self.on_step(count)
        return output.T[None]


def encode_points(model: Model, diffusion: GaussianDiffusion, points: torch.Tensor,
                  sampler: str | Sampler) -> torch.Tensor:
    """Return the latents [B, 2] of points [B, 2] at the depth T; O-BELM's are pairs of states, [B, 4].

    Args:
        model: as from PointCloud. sampler: as from make_sampler, or its name.
    """
    return encode(model, diffusion, points.T[None], _full_depth(diffusion), sampler)[0, 0].T


def decode_points(model: Model, diffusion: GaussianDiffusion, latents: torch.Tensor,
                  sampler: str | Sampler) -> torch.Tensor:
    """Return the points [B, 2] that latents [B, 2], or O-BELM's pairs [B, 4], lead to; see `encode_points`."""
    return decode(model, diffusion, latents.T[None, None], _full_depth(diffusion), sampler)[0, 0].T


@torch.no_grad()
def points_between(models: Sequence[Model], diffusions: Sequence[GaussianDiffusion], points: torch.Tensor,
                   latents: torch.Tensor, amount: int, path: str, sampler: Sampler) -> list[torch.Tensor]:
    """Return N - 1 point sets [B, 2] on the path from `points` [B, 2] to their full translation, at m / N of it.

    Args:
        models, diffusions: of source and target. latents: [B, 2] or [B, 4], as from `encode_points`.
        path: "blend", decoded from the latents with weight m / N on the target, or "depth", by the target's model from
            the depth m T / N.
        sampler: as from make_sampler.
    """
    if path == "blend":
        found = []
        for m in range(1, amount):
            weights = torch.tensor([[1 - m / amount, m / amount]], dtype=torch.float64)
            found.append(decode_points(Blend(models, diffusions, weights), diffusions[1], latents, sampler))
        return found
    depths = torch.tensor([uniform_depths(diffusions[0].num_timesteps, amount)])[:, :-1]
    ways = encode(models[0], diffusions[0], points.T[None], depths, sampler)[0]
    return [sampler.decode(models[1], diffusions[1], ways[[k]], depths[0, [k]], known=depths[0].numpy())[0].T
            for k in range(amount - 1)]


def point_evaluations(sampler: Sampler, diffusion: GaussianDiffusion, amount: int, path: str) -> tuple[int, int]:
    """Return the evaluations (encoding, decoding) of a point on its way with N - 1 sets between."""
    there, back = sampler.evaluations(diffusion)
    if amount == 1 or path == "blend":
        return there, back * (2 * amount - 1)
    again, ways = sampler.evaluations(diffusion, uniform_depths(diffusion.num_timesteps, amount)[:-1])
    return there + again, back + ways


def _full_depth(diffusion):
    return torch.tensor([[diffusion.num_timesteps]])
