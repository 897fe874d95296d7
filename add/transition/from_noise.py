"""Image generation from noise, every image with random numbers of its own.

Image i of a seed is made from the numbers of (seed, i), in the same order whatever else is made beside it: first the
noise that it starts from, then, with samplers that draw, that of each step.
"""
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from add.diffusion.ddpm_and_ddim import decoding_timesteps
from add.diffusion.gaussian import GaussianDiffusion
from add.errors import UserError
from add.interfaces import Gradient, Model
from add.transition import SAMPLERS, make_sampler

STEPWISE = ("ddim", "ddpm")  # walk the diffusion's own steps
FROM_NOISE = (*(name for name in SAMPLERS if name not in ("obelm", "ddim")), *STEPWISE)  # obelm walks pairs of states


class OwnNoise:
    """Standard normal noise of a batch, each image's drawn by a generator of its own.

    Args:
        numbers: the images' numbers, [B]. shape: of an image.
    """

    def __init__(self, seed: int, numbers: Iterable[int], shape: Sequence[int],
                 device: torch.device | str = "cpu") -> None:
        self.generators = [np.random.default_rng([seed, number]) for number in numbers]
        self.shape, self.device = shape, device

    def __call__(self) -> torch.Tensor:
        """Return the next noise, float32 [B, *shape]."""
        noise = np.stack([generator.standard_normal(self.shape, dtype=np.float32) for generator in self.generators])
        return torch.from_numpy(noise).to(self.device)


def draw_noise(seed: int, number: int, shape: Sequence[int]) -> torch.Tensor:
    """Return the standard normal noise float32 `shape` that sample `number` of a seed is made from."""
    return OwnNoise(seed, [number], shape)()[0]


@dataclass(frozen=True)
class FromNoise:
    """A sampler that makes images of noise, with its options.

    name: one of FROM_NOISE. "ddpm" is ancestral sampling (Ho et al. 2020, arXiv:2006.11239, Algorithm 2) and "ddim"
        Song et al. 2021 (arXiv:2010.02502), both guided-diffusion's; the others solve the ODE in few evaluations.
    decode_steps: evaluations per image of the others; 0: the sampler's own number.
    eta: of ddim, 0 (deterministic) to 1 (as random as ddpm).

    Raises:
        UserError: an unknown name, or options that the sampler has no use for.
    """

    name: str
    decode_steps: int = 0
    clip_denoised: bool = True
    eta: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in FROM_NOISE:
            raise UserError(f"--sampler is {self.name!r}, expected one of {', '.join(FROM_NOISE)}: choose one of them")
        if not 0 <= self.eta <= 1:
            raise UserError(f"--eta is {self.eta}, expected 0 (deterministic) to 1 (as random as ddpm)")
        if self.eta and self.name != "ddim":
            raise UserError(f"--eta is {self.eta} with --sampler {self.name}, expected it with ddim only: leave it "
                            f"out, or use --sampler ddim")
        if self.name not in STEPWISE:
            self._solver()
        elif self.decode_steps:
            raise UserError(f"--decode_steps is {self.decode_steps} with --sampler {self.name}, which takes the steps "
                            f"of --timestep_respacing: set that, or use another --sampler")

    def check(self, diffusion: GaussianDiffusion) -> None:
        """Raise UserError where the sampler can't take the steps of this diffusion."""
        if self.name not in STEPWISE:
            self._solver().check(diffusion)

    def evaluations(self, diffusion: GaussianDiffusion) -> int:
        """Return how often `images` calls the model."""
        return diffusion.num_timesteps if self.name in STEPWISE else self._solver().evaluations(diffusion)[1]

    @torch.no_grad()
    def images(self, model: Model, diffusion: GaussianDiffusion, noise: Callable[[], torch.Tensor],
               gradient: Gradient | None = None) -> torch.Tensor:
        """Return images [B, C, H, W], not clipped.

        Args:
            model: model(x, t). diffusion: what it predicts; a fast sampler needs all of its timesteps.
            noise: noise() -> the next noise [B, C, H, W], such as `OwnNoise`.
            gradient: guidance, gradient(x, t) -> like x, as from `class_gradient`. ddpm moves the mean by it, the
                others the prediction (arXiv:2105.05233, Algorithms 1 and 2).
        """
        x = noise()
        if self.name not in STEPWISE:
            depths = torch.full((len(x),), diffusion.num_timesteps)
            return self._solver(gradient).decode(model, diffusion, x, depths)
        for step in decoding_timesteps(diffusion):
            t = torch.full((len(x),), step, device=x.device)
            if self.name == "ddpm":
                out = diffusion.p_sample(model, x, t, self.clip_denoised, cond_fn=gradient, noise=noise())
            else:
                out = diffusion.ddim_sample(model, x, t, self.clip_denoised, cond_fn=gradient, eta=self.eta,
                                            noise=noise() if self.eta else None)
            x = out["sample"]
        return x

    def _solver(self, gradient=None):
        return make_sampler(self.name, 0, self.decode_steps, self.clip_denoised, cond_fn=gradient)
