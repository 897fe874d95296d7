"""Translation between domains: images are encoded with the source's model and decoded with the target's.

Su et al. 2023 (DDIB, arXiv:2203.08382), made a series in one of three ways, the paths. `depth`, as ADD (arXiv:
2311.12316): the encode is cut short at a series of depths, and the target's model decodes from each. `blend` and
`mosaic`: all decodes start from full depth, and both models take part, with weights for all pixels or for each.
One encode serves all of them, and they are decoded together; two_way_samplers.py says at which levels depths stand.
"""
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from add.diffusion.gaussian import GaussianDiffusion
from add.errors import UserError
from add.interfaces import Model
from add.transition.depths import DepthPlan, check_depth_options, choose_depths
from add.transition.fixed_batches import InBatches
from add.transition.fourier_measure import measure_feature
from add.transition.labels import chain_labels, series_labels
from add.transition.progress_rule import Pilot, Rough
from add.transition.simplex_weights import PATHS, check_mosaic
from add.transition.two_way_samplers import SWEEP_COPIES, Sampler, make_sampler
from add.transition.weighted_decode import Mosaic, check_weights, decode_weighted

MEASURED = ("reference", "even")  # rules that follow the feature F along the encode


@dataclass(frozen=True)
class Translation:
    """The translation of B images, each in N progressive images.

    targets: [B, N, 3, H, W], decoded images, not clipped.
    latents: [B, N, 3, H, W], the encoded images at the depths.
    depths: int64 [B, N], in encode steps of the diffusion (training timesteps, unless it is respaced).
    plans: the DepthPlan of each image.
    labels: float64 [N, K], soft labels.
    curves: float64 [B, T], F after each encode step, for "progress" the measure of the image decoded from there; or
        None where the rule needs none.
    nfe: network evaluations per source image, those of a repeated encode and of a pilot included.
    pilot_nfe: those of the pilot alone, which only "progress" has.
    weights: float64 [B, N, K], by which the domains' models took part in each image's decode, of the path "mosaic" on
        average over the pixels; None on the path "depth", where the target's is alone.
    """

    targets: torch.Tensor
    latents: torch.Tensor
    depths: torch.Tensor
    plans: list[DepthPlan]
    labels: torch.Tensor
    curves: torch.Tensor | None
    nfe: float
    pilot_nfe: float = 0.0
    weights: torch.Tensor | None = None


@torch.no_grad()
def translate(source: Model, target: Model, x: torch.Tensor, amount: int, source_diffusion: GaussianDiffusion,
              target_diffusion: GaussianDiffusion | None = None, sampler: str | Sampler = "unipc",
              rule: str | None = None, feature: str = "reference", domains: tuple[int, int] = (0, 1),
              num_domains: int = 2, max_memory: float = 2 * 1024**3, batch_size: int = 8,
              on_step: Callable[[int], None] | None = None,
              classifier: Callable[[torch.Tensor], Any] | None = None, path: str | None = None,
              weight_rule: str = "even", points: torch.Tensor | None = None, mosaic: Mosaic | None = None,
              pad: bool = True) -> Translation:
    """Return the Translation of images x [B, 3, H, W] in [-1, 1].

    An image's result does not depend on the others of its batch, nor on max_memory. The source's model encodes; then
    the target's alone decodes on the path "depth", and both do on the others.

    Args:
        source, target: networks, called as model(x, t).
        amount: number of progressive images per source image, N.
        source_diffusion, target_diffusion: what they predict, on one schedule of levels; the second is the
            first where left out.
        sampler: as from `make_sampler`, or its name.
        rule: how depths are chosen, see choose_depths; left out: "progress", which spends at most a quarter of the
            other evaluations on a pilot. feature: what "even" and "reference" follow, see measure_feature.
        domains: (source number, target number) in label vectors of num_domains entries.
        max_memory: bytes for the states of the encode, which a rule other than "uniform" keeps until it knows
            the depths; where they would not fit, the encode is repeated.
        batch_size: images per network evaluation; the last evaluation of each step is padded to it.
        on_step: called after each network evaluation with the number of images in it.
        classifier: what the rule "progress" measures images by instead of their features: classifier(images
            [B, 3, H, W] in [-1, 1]) -> [B], such as the probability of the target domain.
        path: "blend", "mosaic" or "depth", see above; left out: "depth" where a rule for depths is given, else "blend".
            rule and feature are for "depth", the next ones for the others.
        weight_rule: "even" weights, m / N; or "progress", which spaces them so that images come as far each time.
        points: float64 [M, 2], weights in place of `amount` even ones; they are the soft labels.
        mosaic: how the fields of the path "mosaic" are drawn.
        pad: False spares the evaluations that pad a batch; images then depend on their company, by rounding.

    Raises:
        UserError: schedules that differ, an amount out of range, unknown sampler, rule or feature, images or a batch
            size that can't be worked on, all before the first network evaluation; or an encode that diverges.
    """
    target_diffusion = source_diffusion if target_diffusion is None else target_diffusion
    path = path_for(path, rule)
    sampler = make_sampler(sampler, path=path) if isinstance(sampler, str) else sampler
    rule = rule or "progress"
    if path != "depth":
        return translate_weighted((source, target), x, amount, (source_diffusion, target_diffusion), domains,
                                  num_domains, sampler, path, weight_rule=weight_rule, points=points, mosaic=mosaic,
                                  max_memory=max_memory, batch_size=batch_size, on_step=on_step, classifier=classifier,
                                  pad=pad)
    num_steps = source_diffusion.num_timesteps
    _check(x, (source_diffusion, target_diffusion), sampler)
    check_depth_options(num_steps, amount, rule)
    labels = chain_labels(amount, domains, num_domains)
    starts = measure_feature(x, feature) if rule in MEASURED else None  # refuses what can't be measured
    source, target = (in_batches(model, batch_size, on_step, pad) for model in (source, target))
    pilot = Pilot(sampler, source_diffusion, target_diffusion, amount) if rule == "progress" else None
    curves, pilot_nfe = None, 0.0
    if rule == "uniform" or pilot and not pilot.depths:
        plans = [pilot.plan() if pilot else choose_depths(np.zeros(num_steps), amount, rule)] * len(x)
        walked = _Path(sampler, source, source_diffusion, x, plans[0].depths)
    else:
        walked = _Path(sampler, source, source_diffusion, x, None, max_memory)
        if pilot:
            tried = torch.tensor([pilot.depths] * len(x))
            images = decode(target, target_diffusion, walked.latents(tried), tried, pilot.sampler, max_memory)
            pilot_nfe = _evaluations(target) / len(x)
            starts, curves = pilot.curves(x, images, classifier)
        else:
            curves = walked.curves(feature)
        assert starts is not None  # every rule but "uniform" is MEASURED or has a pilot
        plans = [choose_depths(curve, amount, rule, start)
                 for curve, start in zip(curves.numpy(), starts.tolist(), strict=True)]
    depths = torch.tensor([plan.depths for plan in plans])
    latents = walked.latents(depths)
    targets = decode(target, target_diffusion, latents, depths, sampler, max_memory)
    return Translation(targets, latents[:, :, :x.shape[1]], depths, plans, labels, curves,
                       (_evaluations(source) + _evaluations(target)) / len(x), pilot_nfe)


@torch.no_grad()
def translate_weighted(models: Sequence[Model], x: torch.Tensor, amount: int, diffusions: Sequence[GaussianDiffusion],
                       domains: Sequence[int], num_domains: int, sampler: Sampler, path: str = "blend", *,
                       weight_rule: str = "even", points: torch.Tensor | None = None, mosaic: Mosaic | None = None,
                       max_memory: float = 2 * 1024**3, batch_size: int = 8,
                       on_step: Callable[[int], None] | None = None,
                       classifier: Callable[[torch.Tensor], Any] | None = None, pad: bool = True) -> Translation:
    """Return the Translation of images x [B, 3, H, W] through K domains on the path "blend" or "mosaic".

    The first domain's model encodes once; each image's decode evaluates those models that have weight in it. The
    weights walk along the edges from each domain to the next, N on each, or are `points`, float64 [M, K]. A Translation
    has (K - 1) N or M images of each source image; `targets` and labels as `translate_chain` gives them.

    Args:
        models, diffusions: K each; domains: K different numbers in label vectors of num_domains entries.
        others: as `translate` takes them.
    """
    _check(x, diffusions, sampler)
    check_weights(weight_rule)
    labels = series_labels(amount, domains, num_domains, points)
    if path == "mosaic":
        mosaic = mosaic or Mosaic()
        check_mosaic(mosaic.scale, mosaic.edge)
    networks = [in_batches(model, batch_size, on_step, pad) for model in models]
    latents = encode(networks[0], diffusions[0], x, torch.full((len(x), 1), diffusions[0].num_timesteps), sampler)[:, 0]
    found = decode_weighted(networks, diffusions, latents, x, amount, sampler, weight_rule, points,
                            mosaic if path == "mosaic" else None, max_memory, classifier)
    count = found.weights.shape[1]
    return Translation(found.images, latents[:, None, :x.shape[1]].expand(-1, count, -1, -1, -1),
                       torch.full((len(x), count), diffusions[0].num_timesteps), found.plans, labels, found.curves,
                       sum(map(_evaluations, networks)) / len(x), found.pilot_nfe, found.weights)


def path_for(path: str | None, rule: str | None) -> str:
    """Return the path's name, left out: "depth" where a rule for depths is given, else "blend".

    Raises:
        UserError: there is no path of that name.
    """
    path = path or ("blend" if rule is None else "depth")
    if path not in PATHS:
        raise UserError(f"unknown path '{path}': expected one of {', '.join(PATHS)}; change --path")
    return path


def _check(x, diffusions, sampler):
    """Raise UserError where images or diffusions can't be worked on."""
    for diffusion in diffusions:
        check_schedules(diffusions[0], diffusion)
        sampler.check(diffusion)
    _check_images(x)


def in_batches(model: Model, batch_size: int, on_step: Callable[[int], None] | None = None,
               pad: bool = True) -> InBatches:
    """Return the model as `InBatches`; raise UserError where the batch size is below 1."""
    if batch_size < 1:
        raise UserError(f"batch size {batch_size}: expected at least 1; raise --batch_size")
    return InBatches(model, batch_size, on_step, pad)


def _evaluations(in_batches):
    """Return the network evaluations of an `InBatches`, of which guidance without a classifier needs two a call."""
    return in_batches.evaluations * getattr(in_batches.model, "nfe_per_call", 1)


class _Path:
    """The encode of images x [B, C, H, W], walked once where its states fit into max_memory bytes, else each time."""

    def __init__(self, sampler, model, diffusion, x, known=None, max_memory=0):
        self.x, self.num_steps = x, diffusion.num_timesteps
        self._walk = lambda: sampler.encode(model, diffusion, x, known)
        size = sampler.num_intervals(diffusion) * sampler.copies * x.numel() * x.element_size()
        self._keeps = size <= max_memory
        self._kept = None

    def intervals(self):
        """Return an iterable of the `Interval`s."""
        if self._keeps and self._kept is None:
            self._kept = list(self._walk())
        return self._walk() if self._kept is None else self._kept

    def latents(self, depths):
        """Return the latents [B, N, C, H, W] at depths int64 [B, N]; the walk ends at the deepest."""
        latents = None
        for interval in self.intervals():
            for depth in depths[(depths > interval.start) & (depths <= interval.end)].unique().tolist():
                state = interval.at(depth)
                latents = state.new_empty(depths.shape + state.shape[1:]) if latents is None else latents
                image, place = torch.where(depths == depth)
                latents[image, place] = state[image]
            if depths.max() <= interval.end:
                return latents
        raise AssertionError(f"depths {depths.tolist()} lie beyond the walk")

    def curves(self, feature):
        """Return F at each depth from 1 on, float64 [B, T]."""
        curves = torch.empty(len(self.x), self.num_steps, dtype=torch.float64)
        for interval in self.intervals():
            for depth in range(int(interval.start) + 1, int(interval.end) + 1):
                curves[:, depth - 1] = measure_feature(interval.at(depth), feature)
        return curves


@torch.no_grad()
def encode(model: Model, diffusion: GaussianDiffusion, x: torch.Tensor, depths: torch.Tensor,
           sampler: str | Sampler = "ddim") -> torch.Tensor:
    """Return the latents [B, N, C, H, W] of x [B, C, H, W] at depths int64 [B, N], each from 1 to T.

    O-BELM's latents are pairs of states, [B, N, 2 C, H, W].
    """
    _check_depths(depths, diffusion)
    sampler = make_sampler(sampler) if isinstance(sampler, str) else sampler
    sampler.check(diffusion)
    return _Path(sampler, model, diffusion, x, depths.unique().tolist()).latents(depths)


@torch.no_grad()
def decode(model: Model, diffusion: GaussianDiffusion, latents: torch.Tensor, depths: torch.Tensor,
           sampler: str | Sampler | Rough = "ddim", max_memory: float = 2 * 1024**3) -> torch.Tensor:
    """Return the clean images [B, N, C, H, W] that `latents` at `depths` lead to.

    All are decoded in one sweep, which each joins at its depth; more sweeps where one would not fit into max_memory.

    Args:
        latents: as from `encode`; depths: int64 [B, N], each from 1 to T.
        max_memory: bytes for the states of a sweep.
    """
    _check_depths(depths, diffusion)
    sampler = make_sampler(sampler) if isinstance(sampler, str) else sampler
    sampler.check(diffusion)
    starts, order = depths.flatten().sort(descending=True, stable=True)
    flat = latents.flatten(0, 1)
    at_once = max(1, int(max_memory // (SWEEP_COPIES * flat[0].numel() * flat.element_size())))
    parts = [sampler.decode(model, diffusion, flat[places], sweep, known=depths.unique().numpy())
             for places, sweep in zip(order.split(at_once), starts.split(at_once), strict=True)]
    images = torch.cat(parts)
    restored = torch.empty_like(images)
    restored[order] = images
    return restored.reshape(*depths.shape, *images.shape[1:])


def training_depths(diffusion: GaussianDiffusion, depths: torch.Tensor) -> torch.Tensor:
    """Return depths in encode steps as training timesteps 0..T, the same shape.

    The latent after d steps stands at the level of timestep timestep_map[d]; after all of them at pure noise, T.
    """
    return torch.tensor([*diffusion.timestep_map, diffusion.original_num_steps])[depths]


def check_schedules(source: GaussianDiffusion, target: GaussianDiffusion) -> None:
    """Raise UserError where two diffusions do not walk the same noise levels."""
    if not np.array_equal(source.alphas_cumprod, target.alphas_cumprod):
        raise UserError(f"the two models walk different noise schedules ({source.num_timesteps} and "
                        f"{target.num_timesteps} steps): expected one schedule for both; use models trained "
                        f"with the same --diffusion_steps, --noise_schedule and --zero_terminal_snr")


def _check_images(x):
    if x.dim() != 4 or len(x) == 0 or not x.is_floating_point():
        raise UserError(f"images of shape {tuple(x.shape)}, {x.dtype}: expected floating-point [B, 3, H, W] in "
                        f"[-1, 1], at least one")


def _check_depths(depths, diffusion):
    if depths.numel() == 0 or depths.min() < 1 or depths.max() > diffusion.num_timesteps:
        raise UserError(f"depths {depths.tolist()}: expected at least one, each from 1 to "
                        f"{diffusion.num_timesteps}, the number of steps")
