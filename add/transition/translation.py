"""Translation between domains: encode with the source's model, decode from each depth with the target's.

Su et al. 2023 (DDIB, arXiv:2203.08382), cut short at a series of depths by ADD (arXiv:2311.12316). Level
convention, as published: the clean image counts as level 0; after d encode steps the latent stands at
alphas_cumprod[d] of the (respaced) schedule, and decoding from it starts with step d - 1.
"""
from dataclasses import dataclass

import numpy as np
import torch

from add.errors import UserError
from add.transition.depths import check_depth_options, choose_depths
from add.transition.feature import measure_feature
from add.transition.labels import soft_labels


@dataclass(frozen=True)
class Translation:
    """A batch of B images on their way in N steps.

    targets: [B, N, 3, H, W], decoded images, not clipped.
    latents: [B, N, 3, H, W], the encoded images at the depths.
    depths: int64 [B, N], in encode steps. plans: the DepthPlan of each image.
    labels: float64 [N, K], soft labels.
    curves: float64 [B, T], F after each encode step, or None where the rule needs none.
    nfe: network evaluations per source image, those of the measuring encode included.
    """

    targets: torch.Tensor
    latents: torch.Tensor
    depths: torch.Tensor
    plans: list
    labels: torch.Tensor
    curves: torch.Tensor | None
    nfe: float


@torch.no_grad()
def translate(source, target, x, amount, source_diffusion, target_diffusion=None, rule="uniform",
              feature="reference", domains=(0, 1), num_domains=2, clip_denoised=False, max_memory=2 * 1024**3,
              batch_size=None, on_step=None):
    """Return the Translation of images x [B, 3, H, W] in [-1, 1].

    Args:
        source, target: networks, called as model(x, t).
        amount: number of progressive images per source image, N.
        source_diffusion, target_diffusion: what they predict, on one schedule of levels; the second is the
            first where left out.
        rule, feature: how depths are chosen, see choose_depths and measure_feature.
        domains: (source number, target number) in label vectors of num_domains entries.
        clip_denoised: clip the predicted x_start to [-1, 1] on the way.
        max_memory: bytes for the latents of all steps, which a rule other than "uniform" keeps until it knows
            the depths; where they would not fit, the encode is repeated. The images are the same.
        batch_size: latents per network evaluation while decoding; left out: 4 times B.
        on_step: called after each network evaluation with the number of images in it.

    Raises:
        UserError: schedules that differ, an amount out of range, unknown rule or feature, images or a batch
            size that can't be worked on, all before the first network evaluation; or an encode that diverges.
    """
    target_diffusion = source_diffusion if target_diffusion is None else target_diffusion
    batch_size = 4 * len(x) if batch_size is None else batch_size
    num_steps = source_diffusion.num_timesteps
    check_schedules(source_diffusion, target_diffusion)
    _check_images(x)
    _check_batch_size(batch_size)
    check_depth_options(num_steps, amount, rule)
    labels = soft_labels(amount, *domains, num_domains)
    count = _Counter(on_step)
    curves = every_latent = None
    if rule == "uniform":
        plans = [choose_depths(np.zeros(num_steps), amount, rule)] * len(x)
    else:
        keep = x.numel() * x.element_size() * num_steps <= max_memory
        starts = measure_feature(x, feature)
        curves, every_latent = _measuring_encode(source, source_diffusion, x, feature, clip_denoised, count,
                                                 keep)
        plans = [choose_depths(curve, amount, rule, start)
                 for curve, start in zip(curves.numpy(), starts.tolist(), strict=True)]
    depths = torch.tensor([plan.depths for plan in plans])
    if every_latent is None:
        latents = encode(source, source_diffusion, x, depths, clip_denoised, count)
    else:
        latents = every_latent[torch.arange(len(x))[:, None], depths - 1]
    targets = decode(target, target_diffusion, latents, depths, clip_denoised, batch_size, count)
    return Translation(targets, latents, depths, plans, labels, curves, count.evaluations / len(x))


def _measuring_encode(model, diffusion, x, feature, clip_denoised, count, keep):
    """Return F after each encode step, float64 [B, T], and, if `keep`, the latents [B, T, 3, H, W]."""
    num_steps = diffusion.num_timesteps
    curves = torch.empty(len(x), num_steps, dtype=torch.float64)

    def measure(step, x_t):
        curves[:, step - 1] = measure_feature(x_t, feature)

    first = 1 if keep else num_steps
    depths = torch.arange(first, num_steps + 1).expand(len(x), -1)
    latents = encode(model, diffusion, x, depths, clip_denoised, count, measure)
    return curves, latents if keep else None


@torch.no_grad()
def encode(model, diffusion, x, depths, clip_denoised=False, count=lambda images: None, on_level=None):
    """Return the latents [B, N, 3, H, W] of x [B, 3, H, W] after `depths` encode steps.

    Args:
        depths: int64 [B, N], each from 1 to T.
        count: called with the number of images after each network evaluation.
        on_level: called as on_level(step, x_t) after each step, steps counted from 1.
    """
    _check_depths(depths, diffusion)
    latents = x.new_empty(depths.shape + x.shape[1:])
    for step in range(1, int(depths.max()) + 1):
        t = torch.full((len(x),), step - 1, device=x.device)
        x = diffusion.ddim_reverse_sample(model, x, t, clip_denoised=clip_denoised)["sample"]
        count(len(x))
        image, place = torch.where(depths == step)
        latents[image, place] = x[image]
        if on_level is not None:
            on_level(step, x)
    return latents


@torch.no_grad()
def decode(model, diffusion, latents, depths, clip_denoised=False, batch_size=64, count=lambda images: None):
    """Return the clean images [B, N, 3, H, W] that `latents` at `depths` lead to, in one descending sweep.

    A latent joins the sweep when it reaches its depth, so that an evaluation works on as many as there are.

    Args:
        latents: [B, N, 3, H, W]; depths: int64 [B, N], each from 1 to T.
        batch_size: latents per network evaluation.
        count: called with the number of images after each network evaluation.
    """
    _check_depths(depths, diffusion)
    _check_batch_size(batch_size)
    starts, order = depths.flatten().sort(descending=True, stable=True)
    flat = latents.flatten(0, 1)[order]  # a copy: the sweep writes into it
    for step in range(int(starts[0]) - 1, -1, -1):
        active = int((starts > step).sum())
        for first in range(0, active, batch_size):
            part = flat[first:min(first + batch_size, active)]
            t = torch.full((len(part),), step, device=flat.device)
            part[:] = diffusion.ddim_sample(model, part, t, clip_denoised=clip_denoised)["sample"]
            count(len(part))
    restored = torch.empty_like(flat)
    restored[order] = flat
    return restored.reshape(latents.shape)


def training_depths(diffusion, depths):
    """Return depths in encode steps as training timesteps 0..T, the same shape.

    The latent after d steps stands at the level of timestep timestep_map[d]; after all of them at pure noise, T.
    """
    return torch.tensor([*diffusion.timestep_map, diffusion.original_num_steps])[depths]


def check_schedules(source, target):
    """Raise UserError where two diffusions do not walk the same noise levels."""
    if not np.array_equal(source.alphas_cumprod, target.alphas_cumprod):
        raise UserError(f"the two models walk different noise schedules ({source.num_timesteps} and "
                        f"{target.num_timesteps} steps): expected one schedule for both; use models trained "
                        f"with the same --diffusion_steps, --noise_schedule and --zero_terminal_snr")


def _check_images(x):
    if x.dim() != 4 or len(x) == 0 or not x.is_floating_point():
        raise UserError(f"images of shape {tuple(x.shape)}, {x.dtype}: expected floating-point [B, 3, H, W] in "
                        f"[-1, 1], at least one")


def _check_batch_size(batch_size):
    if batch_size < 1:
        raise UserError(f"batch size {batch_size}: expected at least 1; raise --batch_size")


def _check_depths(depths, diffusion):
    if depths.numel() == 0 or depths.min() < 1 or depths.max() > diffusion.num_timesteps:
        raise UserError(f"depths {depths.tolist()}: expected at least one, each from 1 to "
                        f"{diffusion.num_timesteps}, the number of steps")


class _Counter:
    """Counts network evaluations in images and passes them on."""

    def __init__(self, on_step):
        self.evaluations, self.on_step = 0, on_step

    def __call__(self, images):
        self.evaluations += images
        if self.on_step is not None:
            self.on_step(images)
