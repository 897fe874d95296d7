"""Samplers that carry images to a depth and back: DDIM on the schedule's own steps, or a fast solver of its ODE.

Level convention. DDIM, as published: the clean image counts as level 0; after d encode steps the latent stands at
alphas_cumprod[d] of the (respaced) schedule, and decoding from it starts with step d - 1. The others carry one level
both ways: the clean image counts as timestep 0, and a depth d is the timestep d. The depth T is pure noise: the noise
found at the last timestep, which decoding takes as standing there. An image is x_start as the model sees it at 0.

Every sampler takes clip_denoised: clip the predicted clean image to [-1, 1]; clip_encoded, the same for encoding alone
(DDIB encodes unclipped), left out: as clip_denoised; and cond_fn, the gradient of a classifier that guides decoding,
cond_fn(x, t) as from `class_gradient`.
"""
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike

from add.diffusion.gaussian import GaussianDiffusion
from add.diffusion.guidance import ClassifierGuided
from add.diffusion.leapfrog import leap, leapfrog_walk
from add.diffusion.noise_levels import GRIDS, Grid, NoiseLevels
from add.diffusion.parametrization import eps_from_x_start
from add.diffusion.solvers import SOLVERS, Solver, Step, predictor_of, walk, x_start_from
from add.errors import UserError
from add.interfaces import Gradient, Model

LEAST_STEPS = 3  # evaluations of the shortest decode
SWEEP_COPIES = 6  # of each image that a decoding sweep holds at most: its state, and evaluations of the steps before


@dataclass(frozen=True)
class Interval:
    """A range of depths that encoding has just passed, with the latents in it.

    start, end: depths; it covers those above start, up to end. at: at(depth) -> latents [B, C, H, W].
    """

    start: float
    end: float
    at: Callable[[float], torch.Tensor]


@dataclass(frozen=True)
class DDIM:
    """DDIM (Song et al. 2021, arXiv:2010.02502) on the diffusion's own steps, which --timestep_respacing thins.

    Guidance moves the mean of each step as guided-diffusion does (arXiv:2105.05233, Algorithm 2).
    """

    clip_denoised: bool = False
    cond_fn: Gradient | None = None
    clip_encoded: bool | None = None
    name: str = field(default="ddim", init=False)
    copies: int = field(default=1, init=False)  # of an image that each Interval holds

    def check(self, diffusion: GaussianDiffusion) -> None:
        """Accept any diffusion."""

    def num_intervals(self, diffusion: GaussianDiffusion) -> int:
        """Return how many `Interval`s `encode` yields at most."""
        return diffusion.num_timesteps

    def evaluations(self, diffusion: GaussianDiffusion, depths: ArrayLike | None = None) -> tuple[int, int]:
        """Return the evaluations of one image's encode and of its decodes from `depths` (ints), left out: from T."""
        return diffusion.num_timesteps, int(_depths(diffusion, depths).sum())

    def encode(self, model: Model, diffusion: GaussianDiffusion, x: torch.Tensor,
               depths: Sequence[int] | None = None) -> Iterator[Interval]:
        """Yield the `Interval`s of images x [B, C, H, W], each one step."""
        for step in range(diffusion.num_timesteps):
            t = torch.full((len(x),), step, device=x.device)
            x = diffusion.ddim_reverse_sample(model, x, t, clip_denoised=_clips_encoding(self))["sample"]
            yield Interval(step, step + 1, _always(x))

    def decode(self, model: Model, diffusion: GaussianDiffusion, latents: torch.Tensor, depths: torch.Tensor,
               known: ArrayLike | None = None) -> torch.Tensor:
        """Return the clean images that latents [R, C, H, W] at depths int64 [R], descending, lead to."""
        x = latents.clone()
        for step in range(int(depths[0]) - 1, -1, -1):
            active = int((depths > step).sum())
            t = torch.full((active,), step, device=x.device)
            x[:active] = diffusion.ddim_sample(model, x[:active], t, self.clip_denoised, cond_fn=self.cond_fn)["sample"]
        return x


@dataclass(frozen=True)
class Fast:
    """A multistep solver for each direction, with its grid and its number of steps.

    encode_steps: steps from the image to the last timestep; one evaluation more. decode_steps: evaluations from the
    last timestep to the image; from lower depths as many as their share of the way, in the grid's coordinate. (A solver
    that evaluates twice a step takes twice as many, less one.)
    """

    name: str
    encode_solver: Solver
    decode_solver: Solver
    encode_grid: Grid
    decode_grid: Grid
    encode_steps: int
    decode_steps: int
    clip_denoised: bool = False
    clip_encoded: bool | None = None
    cond_fn: Gradient | None = None
    copies: int = field(default=3, init=False)  # x, what was evaluated, and the value

    def check(self, diffusion: GaussianDiffusion) -> None:
        """Raise UserError where the diffusion can't be walked between its own timesteps."""
        _check_whole_schedule(diffusion)

    def num_intervals(self, diffusion: GaussianDiffusion) -> int:
        """Return how many `Interval`s `encode` yields at most."""
        return self.encode_steps + 1

    def evaluations(self, diffusion: GaussianDiffusion, depths: ArrayLike | None = None) -> tuple[int, int]:
        """Return the evaluations of one image's encode and of its decodes from `depths` (ints), left out: from T."""
        levels = NoiseLevels(diffusion.alphas_cumprod)
        steps = self.decode_evaluations(levels, np.minimum(_depths(diffusion, depths), levels.last)) - 1
        return (self.encode_steps * (1 + self.encode_solver.twice) + 1,
                int((steps * (1 + self.decode_solver.twice) + 1).sum()))

    def encode(self, model: Model, diffusion: GaussianDiffusion, x: torch.Tensor,
               depths: Sequence[int] | None = None) -> Iterator[Interval]:
        """Yield the `Interval`s of images x [B, C, H, W]: one for each step, and that to pure noise."""
        levels = NoiseLevels(diffusion.alphas_cumprod)
        predict = predictor_of(diffusion, levels, model, self.encode_solver.quantity, _clips_encoding(self))
        grid = self.encode_grid.timesteps(levels, levels.first, levels.last, self.encode_steps)
        for step in walk(self.encode_solver, predict, levels, x, np.repeat(grid[:, None], len(x), axis=1)):
            yield Interval(step.start[0], step.end[0], _dense(step))
        signal, spread = (float(factor) for factor in levels.factors(levels.last))
        x_start = x_start_from(self.encode_solver.quantity, step.value, step.seen, signal, spread)
        eps = eps_from_x_start(step.seen, x_start, signal, spread)
        yield Interval(levels.last, diffusion.num_timesteps, _always(eps))

    def decode(self, model: Model, diffusion: GaussianDiffusion, latents: torch.Tensor, depths: torch.Tensor,
               known: ArrayLike | None = None) -> torch.Tensor:
        """Return the clean images that latents [R, C, H, W] at depths int64 [R], descending, lead to."""
        levels = NoiseLevels(diffusion.alphas_cumprod)
        predict = predictor_of(diffusion, levels, guided(model, self.cond_fn, diffusion), self.decode_solver.quantity,
                               self.clip_denoised)
        starts = np.minimum(depths.numpy(), levels.last)
        rows = self.decode_evaluations(levels, starts)
        timesteps = np.zeros((rows.max(), len(rows)))
        for column, (start, count) in enumerate(zip(starts, rows, strict=True)):
            timesteps[-count:, column] = self.decode_grid.timesteps(levels, start, levels.first, count - 1)
        *_, step = walk(self.decode_solver, predict, levels, latents, timesteps, joins=rows.max() - rows)
        signal, spread = levels.factors(levels.first)
        return x_start_from(self.decode_solver.quantity, step.value, step.seen, float(signal), float(spread))

    def decode_evaluations(self, levels: NoiseLevels, t: np.ndarray) -> np.ndarray:
        """Return the evaluations, int array, of decoding from timesteps t, at most the last one."""
        share = self.decode_grid.way(levels, t)
        return np.maximum(LEAST_STEPS, np.ceil(self.decode_steps * share - 1e-9)).astype(int)


@dataclass(frozen=True)
class OBELM:
    """O-BELM (arXiv:2410.07273), exactly invertible: one model there and back returns the image, up to rounding.

    It walks one grid both ways, moved so that each depth is a timestep of it, and a latent is a pair of states: the one
    at the depth and the one before it, [B, 2 C, H, W]. The depth T is the last timestep, not pure noise.
    """

    encode_steps: int
    grid: Grid = GRIDS["quadratic"]
    clip_denoised: bool = False
    clip_encoded: bool | None = None
    cond_fn: Gradient | None = None
    name: str = field(default="obelm", init=False)
    copies: int = field(default=2, init=False)

    def check(self, diffusion: GaussianDiffusion) -> None:
        """Raise UserError where the diffusion can't be walked between its own timesteps."""
        _check_whole_schedule(diffusion)

    def num_intervals(self, diffusion: GaussianDiffusion) -> int:
        """Return how many `Interval`s `encode` yields at most."""
        return self.encode_steps

    def evaluations(self, diffusion: GaussianDiffusion, depths: ArrayLike | None = None) -> tuple[int, int]:
        """Return the evaluations of one image's encode and of its decodes from `depths` (ints), left out: from T."""
        levels, nodes = self._nodes(diffusion, _depths(diffusion, depths))
        places = np.searchsorted(nodes, np.minimum(_depths(diffusion, depths), levels.last))
        return self.encode_steps, int((places - 1).sum())

    def encode(self, model: Model, diffusion: GaussianDiffusion, x: torch.Tensor,
               depths: Sequence[int] | None = None) -> Iterator[Interval]:
        """Yield the `Interval`s of images x [B, C, H, W] between the wanted depths (ints)."""
        if depths is None:
            raise UserError("sampler obelm has no latents between its steps, so it must know the depths beforehand: "
                            "use --depth_schedule uniform, or another --sampler")
        levels, nodes = self._nodes(diffusion, depths)
        predict = predictor_of(diffusion, levels, model, "eps", _clips_encoding(self))
        passed = 0
        for row, before, after in leapfrog_walk(predict, levels, x, nodes):
            if nodes[row + 1] in np.minimum(depths, levels.last):
                depth = diffusion.num_timesteps if row + 2 == len(nodes) else int(nodes[row + 1])
                yield Interval(passed, depth, _always(torch.cat([after, before], dim=1)))
                passed = depth

    def decode(self, model: Model, diffusion: GaussianDiffusion, latents: torch.Tensor, depths: torch.Tensor,
               known: ArrayLike | None = None) -> torch.Tensor:
        """Return the clean images that pairs of latents [R, 2 C, H, W] at depths int64 [R], descending, lead to.

        Args:
            known: the depths that encoding was told of, where they are more than those of the latents.
        """
        levels, nodes = self._nodes(diffusion, depths.unique().numpy() if known is None else known)
        predict = predictor_of(diffusion, levels, guided(model, self.cond_fn, diffusion), "eps", self.clip_denoised)
        places = np.searchsorted(nodes, np.minimum(depths.numpy(), levels.last))
        behind, x = latents.chunk(2, dim=1)
        behind, x = behind.clone(), x.clone()
        for place in range(int(places[0]) - 1, 0, -1):
            active = int((places > place).sum())
            eps = predict(x[:active], np.full(active, nodes[place]))
            after = leap(levels, nodes[place + 1], behind[:active], nodes[place], x[:active], eps, nodes[place - 1])
            behind[:active], x[:active] = x[:active].clone(), after
        return x

    def _nodes(self, diffusion, depths):
        """Return (levels, timesteps [encode_steps + 1]); the timestep nearest to each depth is moved onto it."""
        levels = NoiseLevels(diffusion.alphas_cumprod)
        nodes = self.grid.timesteps(levels, levels.first, levels.last, self.encode_steps)
        depths = np.minimum(np.asarray(depths), levels.last)
        places = np.abs(nodes[:, None] - depths).argmin(axis=0)
        nodes[places] = depths
        if len(set(places)) < len(set(depths)) or places.min() < 1:
            raise UserError(f"{self.encode_steps} steps are too few to tell depths {sorted(set(depths.tolist()))} "
                            f"apart: raise --encode_steps")
        return levels, nodes


Sampler: TypeAlias = DDIM | Fast | OBELM


def guided(model: Model, cond_fn: Gradient | None, diffusion: GaussianDiffusion) -> Model:
    """Return the model moved along the gradient cond_fn, or itself where that is None."""
    return model if cond_fn is None else ClassifierGuided(model, cond_fn, diffusion)


def _depths(diffusion, depths):
    """Return depths as an array, left out: the depth T alone."""
    return np.array([diffusion.num_timesteps]) if depths is None else np.asarray(depths)


def _always(latents):
    """Return the `at` of an Interval that has the same latents at all depths."""
    return lambda depth: latents


def _dense(step: Step) -> Callable[[float], torch.Tensor]:
    """Return the `at` of an Interval that a solver's step has passed, for images that share their timesteps."""
    return lambda t: step.x if t == step.end[0] else step.at(np.full(len(step.x), float(t)))


def _clips_encoding(sampler):
    return sampler.clip_denoised if sampler.clip_encoded is None else sampler.clip_encoded


def _check_whole_schedule(diffusion):
    """Raise UserError where a solver that goes between timesteps can't walk the diffusion."""
    if diffusion.num_timesteps != diffusion.original_num_steps:
        raise UserError(f"the diffusion is respaced to {diffusion.num_timesteps} of {diffusion.original_num_steps} "
                        f"steps, which only --sampler ddim walks: leave out --timestep_respacing, and set "
                        f"--encode_steps and --decode_steps, or use --sampler ddim")
    # It refuses models that predict the previous x; the model given here is not called.
    predictor_of(diffusion, NoiseLevels(diffusion.alphas_cumprod), torch.zeros_like, "eps")


def _both_ways(name, encode_grid, encode_steps, decode_steps):
    solver = SOLVERS[name]
    return Fast(name, solver, solver, encode_grid, GRIDS["mixed"], encode_steps, decode_steps)


PRESETS: dict[str, Fast | OBELM] = {
    "unipc": Fast("unipc", SOLVERS["unipc"], SOLVERS["v_pc"], GRIDS["cubic"], GRIDS["mixed"], 36, 20),
    "dpm++2m": _both_ways("dpm++2m", GRIDS["cubic"], 40, 24),
    "deis": _both_ways("deis", GRIDS["cubic"], 40, 24),
    "heun": _both_ways("heun", GRIDS["cubic"], 20, 12),
    "obelm": OBELM(100),
    "draft": Fast("draft", SOLVERS["unipc"], SOLVERS["deis"], GRIDS["cubic"], Grid(0.3), 15, 9),
}
SAMPLERS = ("ddim", *PRESETS)
# Of decodes that all start from full depth fewer steps are as near to the exact ones.
FROM_FULL_DEPTH = {"unipc": (36, 16)}


def make_sampler(name: str = "unipc", encode_steps: int = 0, decode_steps: int = 0, clip_denoised: bool = False,
                 clip_encoded: bool | None = None, cond_fn: Gradient | None = None, path: str = "depth") -> Sampler:
    """Return the sampler of a name in SAMPLERS.

    Args:
        encode_steps: steps from the image to noise; decode_steps: evaluations from noise to the image. 0: the
            sampler's own number for the path. DDIM's are those of its diffusion, O-BELM's are the same both ways.
        clip_denoised, clip_encoded, cond_fn: see above.

    Raises:
        UserError: an unknown name, or steps that the sampler doesn't take.
    """
    if name not in SAMPLERS:
        raise UserError(f"unknown sampler '{name}': expected one of {', '.join(SAMPLERS)}; change --sampler")
    if name == "ddim":
        if encode_steps or decode_steps:
            raise UserError("sampler ddim takes the steps of --timestep_respacing: leave out --encode_steps and "
                            "--decode_steps, or use another --sampler")
        return DDIM(clip_denoised, cond_fn, clip_encoded)
    for option, steps in (("encode_steps", encode_steps), ("decode_steps", decode_steps)):
        if steps and steps < LEAST_STEPS:
            raise UserError(f"{option} is {steps}: expected {LEAST_STEPS} or more, or 0 for the sampler's own number; "
                            f"change --{option}")
    preset = replace(PRESETS[name], clip_denoised=clip_denoised, clip_encoded=clip_encoded, cond_fn=cond_fn)
    if isinstance(preset, OBELM):
        if decode_steps:
            raise UserError("sampler obelm decodes on the steps it encoded on: leave out --decode_steps")
        return replace(preset, encode_steps=encode_steps or preset.encode_steps)
    own = preset.encode_steps, preset.decode_steps
    there, back = own if path == "depth" else FROM_FULL_DEPTH.get(name, own)
    return replace(preset, encode_steps=encode_steps or there, decode_steps=decode_steps or back)
