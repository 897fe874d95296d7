"""Decoding along weights: one full latent, and networks that are mixed, from the source to the target.

ADD decodes with the target's model alone, from deeper and deeper latents, so the first image already bears the target's
texture. Here every decode starts from the full latent and both models take part, the target's with weight w: w = 0
leads back to the source image, w = 1 is the full translation. simplex_weights.py says which weights there are, blend.py
what law their mean belongs to.
"""
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from add.diffusion.blend import Blend
from add.diffusion.gaussian import GaussianDiffusion
from add.diffusion.noise_levels import NoiseLevels
from add.diffusion.solvers import predictor_of, walk, x_start_from
from add.errors import UserError
from add.interfaces import Model
from add.transition.depths import DepthPlan, choose_depths
from add.transition.progress_rule import STEPS, Rough, measure_progress
from add.transition.simplex_weights import WEIGHT_RULES, edge_weights, mosaic_weights
from add.transition.two_way_samplers import SWEEP_COPIES, Fast, Sampler, guided

TRIED = (1 / 3, 2 / 3, 1.0)  # weights that the pilot of the rule "progress" decodes roughly, on each edge
FINE = 1000  # places of an edge that the rule "progress" chooses among
# While noise is high, images of neighbouring weights hardly differ: until this share of a decode's steps is done, only
# so many weights are decoded on each edge, and the others are interpolated from them.
SHARED = ((0.15, 3), (0.5, 5))


@dataclass(frozen=True)
class Mosaic:
    """How a mosaic's fields are drawn; see `mosaic_weights`."""

    scale: float = 0.5
    edge: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class Weighted:
    """Images decoded along weights.

    images: [B, M, C, H, W], not clipped. weights: float64 [B, M, K].
    plans: the DepthPlan of each image, whose rule is that of the weights. curves: float64 [B, (K - 1) FINE], the
        measure that "progress" follows, or None. pilot_nfe: network evaluations of its rough decode, per source image.
    """

    images: torch.Tensor
    weights: torch.Tensor
    plans: list[DepthPlan]
    curves: torch.Tensor | None
    pilot_nfe: float


def decode_weighted(models: Sequence[Model], diffusions: Sequence[GaussianDiffusion], latents: torch.Tensor,
                    x: torch.Tensor, amount: int, sampler: Sampler, rule: str = "even",
                    points: torch.Tensor | None = None, mosaic: Mosaic | None = None, max_memory: float = 2 * 1024**3,
                    classifier: Callable[[torch.Tensor], Any] | None = None) -> Weighted:
    """Return the `Weighted` images of latents [B, C, H, W] at the depth T, encoded from images x by the first model.

    Args:
        models, diffusions: K, from the source to the target.
        amount: weights on each edge, N; M = (K - 1) N.
        rule: "even", or "progress", which spaces weights so that images come as far each time; see `choose_depths`.
        points: float64 [M, K], the weights themselves; amount and rule then don't count.
        mosaic: where pixels have weights of their own; left out: all the same.
        classifier: as for `translate`.
    """
    decoder = _Decoder(models, diffusions, sampler, mosaic, x, max_memory)
    num_steps, edges = diffusions[0].num_timesteps, len(models) - 1
    curves, positions, pilot_nfe = None, None, 0
    reasons = [""] * len(x)
    if points is not None:
        weights = points.expand(len(x), *points.shape)
    else:
        if rule == "progress" and amount > 1:
            curves, positions, reasons = _by_progress(decoder, latents, x, edges, amount, classifier)
            pilot_nfe = STEPS * edges * int(_evaluated(torch.tensor(TRIED), 0, 2).sum())
        else:
            steps = torch.arange(1, edges * amount + 1, dtype=torch.float64) / amount
            positions = steps.expand(len(x), -1)
        weights = edge_weights(positions, len(models))
    images = decoder.decode(latents, weights, positions)
    name = "given" if points is not None else rule
    plans = [DepthPlan((num_steps,) * weights.shape[1], "even" if reason else name, reason) for reason in reasons]
    return Weighted(images, weights, plans, curves, float(pilot_nfe))


def check_weights(rule: str) -> None:
    """Raise UserError where there is no such rule for weights."""
    if rule not in WEIGHT_RULES:
        raise UserError(f"unknown weight rule '{rule}': expected one of {', '.join(WEIGHT_RULES)}; change "
                        f"--weight_schedule")


def _by_progress(decoder, latents, x, edges, amount, classifier):
    """Return (curves [B, edges * FINE], positions [B, edges * amount], reasons) by a rough decode of a few weights."""
    tried = torch.tensor([edge + share for edge in range(edges) for share in TRIED], dtype=torch.float64)
    rough = decoder.rough().decode(latents[:, :x.shape[1]], edge_weights(tried.expand(len(x), -1), edges + 1))
    curves, positions = [], []
    reasons: list[list[str]] = [[] for _ in x]
    for edge in range(edges):
        shown = rough[:, edge * len(TRIED):(edge + 1) * len(TRIED)]
        start = x if edge == 0 else rough[:, edge * len(TRIED) - 1]
        values = measure_progress(start, shown, classifier).numpy()
        fine = np.stack([np.interp(np.arange(1, FINE + 1) / FINE, (0, *TRIED), row) for row in values])
        plans = [choose_depths(curve, amount, "progress", row[0]) for curve, row in zip(fine, values, strict=True)]
        curves.append(torch.from_numpy(fine))
        positions.append(edge + torch.tensor([plan.depths for plan in plans], dtype=torch.float64) / FINE)
        for found, plan in zip(reasons, plans, strict=True):
            found += [plan.reason] if plan.reason else []
    return torch.cat(curves, dim=1), torch.cat(positions, dim=1), ["; ".join(found) for found in reasons]


@dataclass(frozen=True)
class _Decoder:
    """What decodes latents of images x with given weights."""

    models: Sequence[Model]
    diffusions: Sequence[GaussianDiffusion]
    sampler: Sampler | Rough
    mosaic: Mosaic | None
    x: torch.Tensor
    max_memory: float

    def rough(self):
        """Return a decoder of few steps."""
        return replace(self, sampler=Rough(self.sampler.clip_denoised, self.sampler.cond_fn))

    def decode(self, latents, weights, positions=None):
        """Return images [B, M, C, H, W]; positions [B, M] on the edges, where weights [B, M, K] lie on them."""
        count = weights.shape[1]
        at_once = max(1, int(self.max_memory // (SWEEP_COPIES * count * latents[0].numel() * latents.element_size())))
        return torch.cat([self._decode_part(*part) for part in zip(
            latents.split(at_once), weights.split(at_once), self.x.split(at_once),
            [None] * len(latents) if positions is None else positions.split(at_once), strict=False)])

    def _decode_part(self, latents, weights, x, positions):
        if self.mosaic is not None:
            fields = mosaic_weights(weights, x, self.mosaic.scale, self.mosaic.edge, self.mosaic.seed)
            return self._decode_all(latents, fields)
        if positions is None or not isinstance(self.sampler, Fast):
            return self._decode_all(latents, weights)
        edges = weights.shape[2] - 1
        return torch.cat([self._decode_edge(self.sampler, latents, part - edge, edge)
                          for edge, part in enumerate(positions.chunk(edges, dim=1))], dim=1)

    def _decode_all(self, latents, weights):
        """Return the images, each decoded by itself; weights may be fields [B, M, K, H, W]."""
        diffusion, (images, count) = self.diffusions[-1], weights.shape[:2]
        depths = torch.full((images * count,), diffusion.num_timesteps)
        blend, cond_fn = self._blend(weights.flatten(0, 1))
        decoded = replace(self.sampler, cond_fn=cond_fn).decode(
            blend, diffusion, latents.repeat_interleave(count, dim=0), depths, known=depths[:1].numpy())
        return decoded.reshape(images, count, *decoded.shape[1:])

    def _blend(self, weights):
        """Return (Blend, gradient or None), the guidance of the last domain weighted like its model."""
        blend, gradient = Blend(self.models, self.diffusions, weights), self.sampler.cond_fn
        if gradient is None:
            return blend, None
        return blend, lambda x, t: blend.shares(len(self.models) - 1, x) * gradient(x, t)

    def _decode_edge(self, sampler, latents, positions, edge):
        """Return images [B, N, C, H, W] at positions [B, N] from 0 to 1 on an edge, few of them while noise is high."""
        solver, diffusion, count = sampler.decode_solver, self.diffusions[-1], len(self.models)
        levels = NoiseLevels(diffusion.alphas_cumprod)
        steps = sampler.decode_steps - 1
        timesteps = sampler.decode_grid.timesteps(levels, levels.last, levels.first, steps)
        stages = stages_of(steps, positions.shape[1])
        stands, x = None, latents[:, None]
        history: list[tuple[int, torch.Tensor]] = []
        for (nodes, end), begin in zip(stages, [0, *(end for _, end in stages)], strict=False):
            wanted = positions if nodes is None else torch.linspace(0, 1, nodes, dtype=torch.float64).expand(len(x), -1)
            mix = _interpolation(stands, wanted)
            x, stands = mix(x), wanted
            history = [(row, mix(values)) for row, values in history]
            rows = wanted.numel()
            blend, cond_fn = self._blend(edge_weights(edge + wanted.flatten(), count))
            predict = predictor_of(diffusion, levels, guided(blend, cond_fn, diffusion), solver.quantity,
                                   sampler.clip_denoised)
            walked = walk(solver, predict, levels, x.flatten(0, 1), np.repeat(timesteps[:, None], rows, axis=1),
                          history=[(row, values.flatten(0, 1)) for row, values in history])
            *_, step = itertools.islice(walked, end - begin)
            x = step.x.unflatten(0, wanted.shape)
            history = [(row, values.unflatten(0, wanted.shape)) for row, values in step.history]
        signal, spread = levels.factors(levels.first)
        images = x_start_from(solver.quantity, step.value, step.seen, float(signal), float(spread))
        return images.unflatten(0, positions.shape)


def stages_of(steps: int, amount: int) -> list[tuple[int | None, int]]:
    """Return (number of weights, step at which the stage ends) of an edge's decode in `steps`; None: all N weights."""
    shared = [(nodes, round(share * steps)) for share, nodes in SHARED if nodes < amount and round(share * steps) > 0]
    return [*shared, (None, steps)]


def weighted_evaluations(sampler: Sampler, diffusions: Sequence[GaussianDiffusion], amount: int, rule: str = "even",
                         points: torch.Tensor | None = None, mosaic: bool = False) -> list[tuple[int, int]]:
    """Return the evaluations (encoding, decoding) of each domain's model for one source image.

    Args:
        sampler: of the whole run; the others as for `decode_weighted`.
    """
    there, back = sampler.evaluations(diffusions[0])
    count = len(diffusions)
    decoding = torch.zeros(count, dtype=torch.int64)
    if points is not None:
        decoding += back * (points > 0).sum(dim=0)
    for edge in range(count - 1 if points is None else 0):
        stages = stages_of(back - 1, amount) if isinstance(sampler, Fast) and not mosaic else [(None, back - 1)]
        for (nodes, end), begin in zip(stages, [-1, *(end for _, end in stages)], strict=False):
            decoding += (end - begin) * _evaluated(torch.linspace(0, 1, nodes or amount + 1)[not nodes:], edge, count)
        if rule == "progress" and amount > 1:
            decoding += STEPS * _evaluated(torch.tensor(TRIED), edge, count)
    return [(there if k == 0 else 0, int(number)) for k, number in enumerate(decoding)]


def _evaluated(places, edge, count):
    """Return int64 [count], how often each domain's model is evaluated for weights at these places of an edge."""
    return (edge_weights(edge + places.double(), count) > 0).sum(dim=0)


def _interpolation(stands, wanted):
    """Return mix(values [B, n, C, H, W] at positions `stands` [B, n]) -> values at positions `wanted` [B, m]."""
    if stands is None:  # nothing told the weights apart yet
        return lambda values: values.expand(-1, wanted.shape[1], -1, -1, -1)
    basis = torch.ones(*wanted.shape, stands.shape[1], dtype=torch.float64)
    for j, k in itertools.permutations(range(stands.shape[1]), 2):
        basis[:, :, j] *= (wanted - stands[:, k, None]) / (stands[:, j, None] - stands[:, k, None])
    return lambda values: torch.einsum("bmn,bnchw->bmchw", basis.to(values), values)
