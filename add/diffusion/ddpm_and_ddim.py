"""Sampling by DDPM and DDIM: single steps and whole loops, from noise to image and back.

Each function takes a diffusion first, and is a method of `GaussianDiffusion` under the same name.

Common arguments:
    model: model(x, t_model, **model_kwargs), see `GaussianDiffusion.p_mean_variance`.
    x: [B, C, H, W] at timesteps t, int64 [B].
    clip_denoised, denoised_fn: what is done to the predicted x_start; all else then follows from that value.
    cond_fn: guidance, cond_fn(x, t_model, **model_kwargs) -> gradient of log p(y | x).
    noise: in a step the random draw, in a loop the images to start from; else drawn from `generator`, or
        from torch's global one where that is None too.
    start_depth: in a decoding loop, the number of steps to take, T by default: the first is start_depth - 1.
    progress: wraps the loop's timesteps, such as tqdm.tqdm. True is accepted for guided-diffusion's sake and
        shows nothing.
    on_step: called as on_step(i, t, x) after step i, which was taken at timestep t and led to x.

Ho et al. 2020 (arXiv:2006.11239), Algorithm 2; Song et al. 2021 (arXiv:2010.02502), Eq. 12; encoding as in
DDIB (Su et al. 2023, arXiv:2203.08382).
"""
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from add.errors import UserError
from add.interfaces import Gradient, Model, OnStep

if TYPE_CHECKING:
    from add.diffusion.gaussian import GaussianDiffusion

Tensors: TypeAlias = dict[str, torch.Tensor]
ModelKwargs: TypeAlias = Mapping[str, Any]  # what a model is told besides x and t, such as {"y": labels}
Denoised: TypeAlias = Callable[[torch.Tensor], torch.Tensor]  # denoised_fn(x_start) -> x_start
Progress: TypeAlias = bool | Callable[[range], Iterable[int]]
Device: TypeAlias = torch.device | str


def noise_like(x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """Return standard normal noise like x; a generator may live on another device."""
    if generator is None:
        return torch.randn_like(x)
    return torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype).to(x.device)


# One step


def p_sample(diffusion: "GaussianDiffusion", model: Model, x: torch.Tensor, t: torch.Tensor, clip_denoised: bool = True,
             denoised_fn: Denoised | None = None, cond_fn: Gradient | None = None,
             model_kwargs: ModelKwargs | None = None, noise: torch.Tensor | None = None,
             generator: torch.Generator | None = None) -> Tensors:
    """Return {"sample": a draw of x_{t-1}, "pred_xstart"}; no noise is added at t = 0."""
    out = diffusion.p_mean_variance(model, x, t, clip_denoised, denoised_fn, model_kwargs)
    mean = out["mean"]
    if cond_fn is not None:
        mean = diffusion.condition_mean(cond_fn, out, x, t, model_kwargs)
    noise = noise_like(x, generator) if noise is None else noise
    is_random = (t != 0).reshape(-1, *[1] * (x.dim() - 1))
    sample = mean + is_random * torch.exp(0.5 * out["log_variance"]) * noise
    return {"sample": sample, "pred_xstart": out["pred_xstart"]}


def ddim_sample(diffusion: "GaussianDiffusion", model: Model, x: torch.Tensor, t: torch.Tensor,
                clip_denoised: bool = True, denoised_fn: Denoised | None = None, cond_fn: Gradient | None = None,
                model_kwargs: ModelKwargs | None = None, eta: float = 0.0, noise: torch.Tensor | None = None,
                generator: torch.Generator | None = None) -> Tensors:
    """Return {"sample": x one level cleaner by DDIM, "pred_xstart"}; a draw is made only where eta > 0."""
    out = diffusion.p_mean_variance(model, x, t, clip_denoised, denoised_fn, model_kwargs)
    if cond_fn is not None:
        out = diffusion.condition_score(cond_fn, out, x, t, model_kwargs)
    x_start = out["pred_xstart"]
    eps = diffusion.eps_from_x_start(x, t, x_start)
    signal, direction, sigma = _step_coefficients(diffusion, "alphas_cumprod_prev", eta, t, x)
    sample = signal * x_start + direction * eps
    if eta:
        sample = sample + sigma * (noise_like(x, generator) if noise is None else noise)
    return {"sample": sample, "pred_xstart": x_start}


def ddim_reverse_sample(diffusion: "GaussianDiffusion", model: Model, x: torch.Tensor, t: torch.Tensor,
                        clip_denoised: bool = True, denoised_fn: Denoised | None = None,
                        model_kwargs: ModelKwargs | None = None, eta: float = 0.0) -> Tensors:
    """Return {"sample": x one level noisier along the DDIM ODE, "pred_xstart"}: x at t + 1.

    The last timestep leads to level 0, where the image is the predicted noise itself.
    """
    if eta:
        raise UserError(f"encoding follows the ODE and is deterministic: expected eta 0, got {eta}")
    out = diffusion.p_mean_variance(model, x, t, clip_denoised, denoised_fn, model_kwargs)
    x_start = out["pred_xstart"]
    eps = diffusion.eps_from_x_start(x, t, x_start)
    signal, direction, _ = _step_coefficients(diffusion, "alphas_cumprod_next", 0.0, t, x)
    return {"sample": signal * x_start + direction * eps, "pred_xstart": x_start}


def _step_coefficients(diffusion, destination, eta, t, x):
    """Return signal, direction and sigma of a DDIM step from timesteps t, [B, 1, 1, 1] each."""
    def table(part):
        return ddim_coefficients(diffusion.alphas_cumprod, getattr(diffusion, destination), eta)[part]

    return [diffusion.coefficient(("ddim", part, destination, eta), t, x, lambda part=part: table(part))
            for part in range(3)]


# Loops


def p_sample_loop(diffusion: "GaussianDiffusion", model: Model, shape: Sequence[int], noise: torch.Tensor | None = None,
                  clip_denoised: bool = True, denoised_fn: Denoised | None = None, cond_fn: Gradient | None = None,
                  model_kwargs: ModelKwargs | None = None, device: Device | None = None, progress: Progress = False,
                  generator: torch.Generator | None = None, start_depth: int | None = None,
                  on_step: OnStep | None = None) -> torch.Tensor:
    """Return images [B, C, H, W] drawn by ancestral sampling."""
    return _last_sample(p_sample_loop_progressive(
        diffusion, model, shape, noise, clip_denoised, denoised_fn, cond_fn, model_kwargs, device, progress,
        generator, start_depth, on_step))


def p_sample_loop_progressive(
        diffusion: "GaussianDiffusion", model: Model, shape: Sequence[int], noise: torch.Tensor | None = None,
        clip_denoised: bool = True, denoised_fn: Denoised | None = None, cond_fn: Gradient | None = None,
        model_kwargs: ModelKwargs | None = None, device: Device | None = None, progress: Progress = False,
        generator: torch.Generator | None = None, start_depth: int | None = None,
        on_step: OnStep | None = None) -> Iterator[Tensors]:
    """Yield what `p_sample` returns after each step of ancestral sampling."""
    def step(x, t):
        return p_sample(diffusion, model, x, t, clip_denoised, denoised_fn, cond_fn, model_kwargs,
                        generator=generator)

    x = _start_images(model, shape, noise, device, generator)
    yield from _walk(step, x, decoding_timesteps(diffusion, start_depth), progress, on_step)


def ddim_sample_loop(
        diffusion: "GaussianDiffusion", model: Model, shape: Sequence[int], noise: torch.Tensor | None = None,
        clip_denoised: bool = True, denoised_fn: Denoised | None = None, cond_fn: Gradient | None = None,
        model_kwargs: ModelKwargs | None = None, device: Device | None = None, progress: Progress = False,
        eta: float = 0.0, generator: torch.Generator | None = None, start_depth: int | None = None,
        on_step: OnStep | None = None) -> torch.Tensor:
    """Return images [B, C, H, W] decoded by DDIM, from noise or from a latent `noise` at start_depth."""
    return _last_sample(ddim_sample_loop_progressive(
        diffusion, model, shape, noise, clip_denoised, denoised_fn, cond_fn, model_kwargs, device, progress,
        eta, generator, start_depth, on_step))


def ddim_sample_loop_progressive(
        diffusion: "GaussianDiffusion", model: Model, shape: Sequence[int], noise: torch.Tensor | None = None,
        clip_denoised: bool = True, denoised_fn: Denoised | None = None, cond_fn: Gradient | None = None,
        model_kwargs: ModelKwargs | None = None, device: Device | None = None, progress: Progress = False,
        eta: float = 0.0, generator: torch.Generator | None = None, start_depth: int | None = None,
        on_step: OnStep | None = None) -> Iterator[Tensors]:
    """Yield what `ddim_sample` returns after each step."""
    def step(x, t):
        return ddim_sample(diffusion, model, x, t, clip_denoised, denoised_fn, cond_fn, model_kwargs, eta,
                           generator=generator)

    x = _start_images(model, shape, noise, device, generator)
    yield from _walk(step, x, decoding_timesteps(diffusion, start_depth), progress, on_step)


def ddim_reverse_sample_loop(
        diffusion: "GaussianDiffusion", model: Model, x: torch.Tensor, clip_denoised: bool = True,
        denoised_fn: Denoised | None = None, model_kwargs: ModelKwargs | None = None, device: Device | None = None,
        progress: Progress = False, eta: float = 0.0, depth: int | None = None, start_depth: int = 0,
        on_step: OnStep | None = None) -> torch.Tensor:
    """Return images x encoded along the DDIM ODE, from depth `start_depth` to `depth` (T by default).

    A depth is a number of encode steps: the result stands at alphas_cumprod[depth], and at level 0 for T. To
    go on from there, pass it with start_depth = depth.
    """
    return _last_sample(ddim_reverse_sample_loop_progressive(
        diffusion, model, x, clip_denoised, denoised_fn, model_kwargs, device, progress, eta, depth,
        start_depth, on_step), otherwise=x)


def ddim_reverse_sample_loop_progressive(
        diffusion: "GaussianDiffusion", model: Model, x: torch.Tensor, clip_denoised: bool = True,
        denoised_fn: Denoised | None = None, model_kwargs: ModelKwargs | None = None, device: Device | None = None,
        progress: Progress = False, eta: float = 0.0, depth: int | None = None, start_depth: int = 0,
        on_step: OnStep | None = None) -> Iterator[Tensors]:
    """Yield what `ddim_reverse_sample` returns after each step."""
    def step(x, t):
        return ddim_reverse_sample(diffusion, model, x, t, clip_denoised, denoised_fn, model_kwargs, eta)

    x = x if device is None else x.to(device)
    yield from _walk(step, x, encoding_timesteps(diffusion, depth, start_depth), progress, on_step)


def decoding_timesteps(diffusion: "GaussianDiffusion", start_depth: int | None = None) -> range:
    """Return the timesteps from start_depth - 1 (by default T - 1) down to 0."""
    depth = diffusion.num_timesteps if start_depth is None else start_depth
    if not 1 <= depth <= diffusion.num_timesteps:
        raise UserError(f"start_depth {depth} lies outside the schedule: expected 1 <= start_depth <= "
                        f"{diffusion.num_timesteps}")
    return range(depth - 1, -1, -1)


def encoding_timesteps(diffusion: "GaussianDiffusion", depth: int | None = None, start_depth: int = 0) -> range:
    """Return the timesteps from start_depth up to depth - 1 (by default T - 1)."""
    depth = diffusion.num_timesteps if depth is None else depth
    if not 0 <= start_depth <= depth <= diffusion.num_timesteps:
        raise UserError(f"cannot encode from depth {start_depth} to {depth}: expected "
                        f"0 <= start_depth <= depth <= {diffusion.num_timesteps}")
    return range(start_depth, depth)


def _walk(step, x, timesteps, progress, on_step):
    """Yield step(x, t) for each timestep, feeding each sample to the next step."""
    for i, t in enumerate(progress(timesteps) if callable(progress) else timesteps):
        with torch.no_grad():  # only around the step: the caller's own code between steps keeps its gradients
            out = step(x, torch.full((len(x),), t, dtype=torch.int64, device=x.device))
        x = out["sample"]
        if on_step is not None:
            on_step(i, t, x)
        yield out


def _last_sample(steps, otherwise=None):
    x = otherwise
    for out in steps:
        x = out["sample"]
    return x


def _start_images(model, shape, noise, device, generator):
    if noise is not None:
        if tuple(noise.shape) != tuple(shape):
            raise UserError(f"noise has shape {tuple(noise.shape)}, expected {tuple(shape)}")
        return noise if device is None else noise.to(device)
    device = _device_of(model) if device is None else torch.device(device)
    if generator is None:
        return torch.randn(*shape, device=device)
    return torch.randn(*shape, generator=generator, device=generator.device).to(device)


def _device_of(model):
    """Return the device of the model's parameters, or the CPU for a plain function."""
    parameters = model.parameters() if hasattr(model, "parameters") else ()
    return next((p.device for p in parameters), torch.device("cpu"))


def ddim_sigma(alpha_bar_from: np.ndarray, alpha_bar_to: np.ndarray, eta: float) -> np.ndarray:
    """Return the standard deviation of the noise a step adds: 0 for eta 0, DDPM's for eta 1 (Eq. 16)."""
    noise_ratio = (1 - alpha_bar_to) / (1 - alpha_bar_from)
    return eta * noise_ratio**0.5 * (1 - alpha_bar_from / alpha_bar_to) ** 0.5


def ddim_coefficients(alpha_bar_from: np.ndarray, alpha_bar_to: np.ndarray,
                      eta: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the three float64 factors of Eq. 12: x_to = signal x_start + direction eps + sigma noise.

    Args:
        alpha_bar_from, alpha_bar_to: float64 [T], the levels before and after each step.
        eta: in [0, 1]; above 0 only for steps that denoise.
    """
    if not 0 <= eta <= 1:
        raise UserError(f"eta {eta}: expected 0 (deterministic DDIM) to 1 (as random as DDPM)")
    sigma = ddim_sigma(alpha_bar_from, alpha_bar_to, eta) if eta else np.zeros_like(alpha_bar_to)
    # At eta = 1 rounding can leave a difference of about -1e-17.
    direction = np.sqrt(np.maximum(1 - alpha_bar_to - sigma**2, 0))
    return np.sqrt(alpha_bar_to), direction, sigma
