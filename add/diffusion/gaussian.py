"""The diffusion process: a noise schedule's fixed arrays, and the distributions q and p that follow from them.

Ho et al. 2020 (arXiv:2006.11239), with learned variances after Nichol & Dhariwal 2021 (arXiv:2102.09672) and
classifier guidance after Dhariwal & Nichol 2021 (arXiv:2105.05233). Names and numbers agree with
guided-diffusion. Steps and loops are plain functions in ddpm_and_ddim.py, losses in losses.py.
"""
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from add.diffusion import ddpm_and_ddim, losses, parametrization
from add.diffusion.ddpm_and_ddim import Denoised, ModelKwargs, Tensors
from add.diffusion.prediction_types import LossType, ModelMeanType, ModelVarType
from add.diffusion.respacing import respace_betas
from add.errors import UserError
from add.interfaces import Gradient, Model


class GaussianDiffusion:
    """A noise schedule, what a model of it predicts, and the distributions q and p that follow.

    Timestep t is an index into the (respaced) schedule: 0 nearly clean, num_timesteps - 1 nearly noise.
    Models and guidance functions are called with the original index of t instead (see `model_timesteps`).

    Attributes (float64 numpy [num_timesteps] unless said otherwise):
        betas, alphas_cumprod: the schedule and its levels alpha_bar.
        alphas_cumprod_prev, alphas_cumprod_next: the levels one step towards the image (1 first) and one
            towards noise (0 last).
        posterior_variance, posterior_log_variance_clipped, posterior_mean_coef1, posterior_mean_coef2:
            of q(x_{t-1} | x_t, x_start).
        num_timesteps: int. original_num_steps: int, before respacing.
        timestep_map: list of ints, the original index of each timestep.

    Args:
        betas: [T] in (0, 1], the original schedule.
        use_timesteps: the timesteps of it to keep, as from `space_timesteps`; None keeps all.
        rescale_timesteps: tell the model floats in [0, 1000), whatever the length of the original schedule.
        min_snr_gamma: above 0, squared errors are weighted by min(SNR, gamma) (arXiv:2303.09556).
        even_share: share of these weights that is spread evenly over the timesteps.
    """

    def __init__(self, *, betas: np.ndarray | Sequence[float], model_mean_type: ModelMeanType,
                 model_var_type: ModelVarType, loss_type: LossType, rescale_timesteps: bool = False,
                 use_timesteps: Iterable[int] | None = None, min_snr_gamma: float = 0.0,
                 even_share: float = 0.0) -> None:
        betas = _check_betas(betas)
        self.model_mean_type = ModelMeanType(model_mean_type)
        self.model_var_type = ModelVarType(model_var_type)
        self.loss_type = LossType(loss_type)
        self.rescale_timesteps = rescale_timesteps
        self.min_snr_gamma, self.even_share = min_snr_gamma, even_share
        self.original_num_steps = len(betas)
        self.timestep_map = list(range(len(betas)))
        if use_timesteps is not None:
            betas, kept = respace_betas(betas, use_timesteps)
            self.timestep_map = kept.tolist()
        self._set_schedule(betas)
        if self.alphas_cumprod[-1] == 0 and self.model_mean_type is ModelMeanType.EPSILON:
            raise UserError("the last timestep is pure noise (zero terminal SNR), where a prediction of eps "
                            "says nothing about the image: use prediction 'v' or 'x_start'")
        self._loss_weights = losses.timestep_weights(self)
        # (table name, device, dtype) -> tensor; float64 tables are cast once
        self._on_device: dict[tuple[Any, torch.device, torch.dtype], torch.Tensor] = {}

    def _set_schedule(self, betas):
        self.betas = betas
        self.num_timesteps = len(betas)
        alpha_bar = self.alphas_cumprod = np.cumprod(1 - betas)
        alpha_bar_prev = self.alphas_cumprod_prev = np.append(1.0, alpha_bar[:-1])
        self.alphas_cumprod_next = np.append(alpha_bar[1:], 0.0)
        self.sqrt_alphas_cumprod = np.sqrt(alpha_bar)
        self.sqrt_one_minus_alphas_cumprod = np.sqrt(1 - alpha_bar)
        self.log_one_minus_alphas_cumprod = np.log(1 - alpha_bar)
        with np.errstate(divide="ignore"):  # inf at pure noise; only eps predictions need these
            self.sqrt_recip_alphas_cumprod = np.sqrt(1 / alpha_bar)
            self.sqrt_recipm1_alphas_cumprod = np.sqrt(1 / alpha_bar - 1)
        # Ho et al., Eqs. 6 and 7.
        self.posterior_variance = betas * (1 - alpha_bar_prev) / (1 - alpha_bar)
        self.posterior_mean_coef1 = betas * np.sqrt(alpha_bar_prev) / (1 - alpha_bar)
        self.posterior_mean_coef2 = (1 - alpha_bar_prev) * np.sqrt(1 - betas) / (1 - alpha_bar)
        # The first posterior variance is 0 and its logarithm infinite: the second stands in for it, or the
        # first beta in a schedule of one step.
        first_variance = self.posterior_variance[1] if self.num_timesteps > 1 else betas[0]
        self.posterior_log_variance_clipped = np.log(np.append(first_variance, self.posterior_variance[1:]))
        self._log_betas = np.log(betas)
        self._large_variance = np.append(first_variance, betas[1:])
        self._large_log_variance = np.log(self._large_variance)

    # Tables and tensors

    def coefficient(self, name: Any, t: torch.Tensor, x: torch.Tensor,
                    make_table: Callable[[], np.ndarray] | None = None) -> torch.Tensor:
        """Return entries t of a float64 table as [B, 1, 1, 1] beside x, in float32, or float64 if x is.

        `name` is that of an attribute; or any hashable key, for the table that make_table() builds when first wanted.
        """
        dtype = torch.promote_types(x.dtype, torch.float32)
        key = (name, t.device, dtype)
        if key not in self._on_device:
            table = make_table() if make_table is not None else getattr(self, name)
            self._on_device[key] = torch.from_numpy(table).to(dtype).to(t.device)
        return self._on_device[key][t].reshape(-1, *[1] * (x.dim() - 1))

    def level(self, t: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the factors of image and noise in x_t, sqrt(alpha_bar) and sqrt(1 - alpha_bar), beside x."""
        return (self.coefficient("sqrt_alphas_cumprod", t, x),
                self.coefficient("sqrt_one_minus_alphas_cumprod", t, x))

    @property
    def told_unit(self) -> float:
        """What a model is told for one original timestep: 1, or where timesteps are rescaled its share of 1000."""
        return 1000 / self.original_num_steps if self.rescale_timesteps else 1.0

    def model_timesteps(self, t: torch.Tensor) -> torch.Tensor:
        """Return what a model is told for timesteps t [B]: original indices, or floats in [0, 1000)."""
        key = ("timestep_map", t.device, t.dtype)
        if key not in self._on_device:
            self._on_device[key] = torch.tensor(self.timestep_map, dtype=t.dtype, device=t.device)
        original = self._on_device[key][t]
        if self.rescale_timesteps:
            return original.float() * self.told_unit
        return original

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without cached tensors: copies may move to another device or process."""
        return {**self.__dict__, "_on_device": {}}

    # q: from image to noise

    def q_mean_variance(self, x_start: torch.Tensor,
                        t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return mean, variance and log variance of q(x_t | x_start), each like x_start (Eq. 4)."""
        signal, spread = self.level(t, x_start)
        log_variance = self.coefficient("log_one_minus_alphas_cumprod", t, x_start).expand_as(x_start)
        return signal * x_start, spread.square().expand_as(x_start), log_variance

    def q_sample(self, x_start: torch.Tensor, t: torch.Tensor, noise: torch.Tensor | None = None,
                 generator: torch.Generator | None = None) -> torch.Tensor:
        """Return x_start [B, C, H, W] with noise at timesteps t [B]; noise is drawn unless given (Eq. 4)."""
        noise = ddpm_and_ddim.noise_like(x_start, generator) if noise is None else noise
        assert noise.shape == x_start.shape, f"noise {tuple(noise.shape)} for x_start {tuple(x_start.shape)}"
        return parametrization.x_t_from(x_start, noise, *self.level(t, x_start))

    def q_posterior_mean_variance(self, x_start: torch.Tensor, x_t: torch.Tensor,
                                  t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return mean, variance and clipped log variance of q(x_{t-1} | x_t, x_start) (Eq. 7)."""
        assert x_start.shape == x_t.shape, f"x_start {tuple(x_start.shape)} for x_t {tuple(x_t.shape)}"
        mean = (self.coefficient("posterior_mean_coef1", t, x_t) * x_start
                + self.coefficient("posterior_mean_coef2", t, x_t) * x_t)
        variance = self.coefficient("posterior_variance", t, x_t).expand_as(x_t)
        log_variance = self.coefficient("posterior_log_variance_clipped", t, x_t).expand_as(x_t)
        return mean, variance, log_variance

    # p: from noise to image

    def p_mean_variance(self, model: Model, x: torch.Tensor, t: torch.Tensor, clip_denoised: bool = True,
                        denoised_fn: Denoised | None = None, model_kwargs: ModelKwargs | None = None) -> Tensors:
        """Return the model's distribution of x_{t-1} given x_t, and the x_start that it predicts.

        Args:
            model: model(x, t_model, **model_kwargs) -> [B, C, H, W], or [B, 2C, H, W] with learned variances.
            x: [B, C, H, W] at timesteps t, int64 [B].
            clip_denoised: clip the predicted x_start to [-1, 1]; the mean follows the clipped value.
            denoised_fn: applied to the predicted x_start before clipping.

        Returns:
            A dict of tensors like x: "mean", "variance", "log_variance" of p(x_{t-1} | x_t), "pred_xstart".
        """
        output = model(x, self.model_timesteps(t), **(model_kwargs or {}))
        return self.p_from_output(output, x, t, clip_denoised, denoised_fn)

    def p_from_output(self, output: torch.Tensor, x: torch.Tensor, t: torch.Tensor, clip_denoised: bool = True,
                      denoised_fn: Denoised | None = None) -> Tensors:
        """Return the dict of `p_mean_variance` for a model output already at hand."""
        prediction, variance_output = self.split_output(output, x)
        x_start = self._x_start_from_output(prediction, x, t)
        if denoised_fn is not None:
            x_start = denoised_fn(x_start)
        if clip_denoised:
            x_start = x_start.clamp(-1, 1)
        if self.model_mean_type is ModelMeanType.PREVIOUS_X:
            mean = prediction
        else:
            mean, _, _ = self.q_posterior_mean_variance(x_start, x, t)
        variance, log_variance = self._p_variance(variance_output, x, t)
        return {"mean": mean, "variance": variance.expand_as(x), "log_variance": log_variance.expand_as(x),
                "pred_xstart": x_start}

    def split_output(self, output: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return (prediction, variance output) of a model output, like x; the latter is None with fixed variances."""
        channels = x.shape[1]
        parts = 2 if self.model_var_type.is_learned else 1
        expected = (len(x), parts * channels, *x.shape[2:])
        if tuple(output.shape) != expected:
            raise UserError(f"the model returned shape {tuple(output.shape)}, expected {expected} with "
                            f"{self.model_var_type.name} variance: model and diffusion must agree "
                            f"on learn_sigma")
        return output.split(channels, dim=1) if parts == 2 else (output, None)

    def _p_variance(self, variance_output, x, t):
        if self.model_var_type is ModelVarType.LEARNED:
            return variance_output.exp(), variance_output
        if self.model_var_type is ModelVarType.LEARNED_RANGE:  # arXiv:2102.09672, Eq. 15
            smallest = self.coefficient("posterior_log_variance_clipped", t, x)
            largest = self.coefficient("_log_betas", t, x)
            fraction = (variance_output + 1) / 2
            log_variance = fraction * largest + (1 - fraction) * smallest
            return log_variance.exp(), log_variance
        if self.model_var_type is ModelVarType.FIXED_LARGE:
            names = "_large_variance", "_large_log_variance"
        else:
            names = "posterior_variance", "posterior_log_variance_clipped"
        return tuple(self.coefficient(name, t, x) for name in names)

    def _x_start_from_output(self, prediction, x, t):
        if self.model_mean_type is ModelMeanType.START_X:
            return prediction
        if self.model_mean_type is ModelMeanType.EPSILON:
            return self.x_start_from_eps(x, t, prediction)
        if self.model_mean_type is ModelMeanType.V:
            return parametrization.x_start_from_v(x, prediction, *self.level(t, x))
        # PREVIOUS_X: Eq. 7 solved for x_start.
        return ((prediction - self.coefficient("posterior_mean_coef2", t, x) * x)
                / self.coefficient("posterior_mean_coef1", t, x))

    def x_start_from_eps(self, x: torch.Tensor, t: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """Return the clean images in x at timesteps t if their noise is eps."""
        return (self.coefficient("sqrt_recip_alphas_cumprod", t, x) * x
                - self.coefficient("sqrt_recipm1_alphas_cumprod", t, x) * eps)

    def eps_from_x_start(self, x: torch.Tensor, t: torch.Tensor, x_start: torch.Tensor) -> torch.Tensor:
        """Return the noise in x at timesteps t if its clean images are x_start; pure noise included."""
        return parametrization.eps_from_x_start(x, x_start, *self.level(t, x))

    # Guidance: cond_fn(x, t_model, **model_kwargs) -> gradient of log p(y | x), like x

    def condition_mean(self, cond_fn: Gradient, p_mean_var: Tensors, x: torch.Tensor, t: torch.Tensor,
                       model_kwargs: ModelKwargs | None = None) -> torch.Tensor:
        """Return the mean of p moved along the gradient, by its variance (arXiv:2105.05233, Algorithm 1)."""
        gradient = cond_fn(x, self.model_timesteps(t), **(model_kwargs or {}))
        return p_mean_var["mean"] + p_mean_var["variance"] * gradient.to(p_mean_var["mean"].dtype)

    def condition_score(self, cond_fn: Gradient, p_mean_var: Tensors, x: torch.Tensor, t: torch.Tensor,
                        model_kwargs: ModelKwargs | None = None) -> Tensors:
        """Return a copy of p_mean_var with "pred_xstart" and "mean" guided (arXiv:2105.05233, Algorithm 2).

        At pure noise (alpha_bar = 0) x says nothing of the image and nothing can be guided: kept as it is.
        """
        gradient = cond_fn(x, self.model_timesteps(t), **(model_kwargs or {}))
        eps = self.eps_from_x_start(x, t, p_mean_var["pred_xstart"])
        eps = eps - self.coefficient("sqrt_one_minus_alphas_cumprod", t, x) * gradient.to(eps.dtype)
        informed = self.coefficient("alphas_cumprod", t, x) > 0
        x_start = torch.where(informed, self.x_start_from_eps(x, t, eps), p_mean_var["pred_xstart"])
        mean, _, _ = self.q_posterior_mean_variance(x_start, x, t)
        return {**p_mean_var, "pred_xstart": x_start, "mean": torch.where(informed, mean, p_mean_var["mean"])}

    # Plain functions of ddpm_and_ddim.py and losses.py that take the diffusion first: here they are its methods.

    p_sample = ddpm_and_ddim.p_sample
    p_sample_loop = ddpm_and_ddim.p_sample_loop
    p_sample_loop_progressive = ddpm_and_ddim.p_sample_loop_progressive
    ddim_sample = ddpm_and_ddim.ddim_sample
    ddim_sample_loop = ddpm_and_ddim.ddim_sample_loop
    ddim_sample_loop_progressive = ddpm_and_ddim.ddim_sample_loop_progressive
    ddim_reverse_sample = ddpm_and_ddim.ddim_reverse_sample
    ddim_reverse_sample_loop = ddpm_and_ddim.ddim_reverse_sample_loop
    ddim_reverse_sample_loop_progressive = ddpm_and_ddim.ddim_reverse_sample_loop_progressive
    training_losses = losses.training_losses
    calc_bpd_loop = losses.calc_bpd_loop


def _check_betas(betas):
    betas = np.array(betas, dtype=np.float64)
    if betas.ndim != 1 or len(betas) == 0 or not ((betas > 0) & (betas <= 1)).all():
        raise UserError(f"betas must be a list of numbers in (0, 1], got shape {betas.shape}, "
                        f"range {betas.min(initial=np.inf):g} to {betas.max(initial=-np.inf):g}")
    return betas
