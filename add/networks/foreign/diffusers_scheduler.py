"""Conversion of a DiffusionConfig to the config of a diffusers scheduler, and back."""
from collections.abc import Mapping
from typing import Any

import numpy as np

from add.config import MOST_TIMESTEPS
from add.diffusion import DiffusionConfig
from add.diffusion.schedules import SCHEDULES, named_beta_schedule
from add.errors import UserError
from add.interfaces import PathLike

PREDICTIONS = {"epsilon": "epsilon", "x_start": "sample", "v": "v_prediction"}  # ours -> theirs
VARIANCES = {"fixed_small": True, "fixed_small_log": True, "fixed_large": False, "fixed_large_log": False}  # small?
SCHEDULER_DEFAULTS: dict[str, Any] = {
    "num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
    "trained_betas": None, "prediction_type": "epsilon", "rescale_betas_zero_snr": False}
# What their scheduler_config.json may hold, as add.data.read_back writes it.
SCHEDULER_SHAPE: dict[str, Any] = {
    "num_train_timesteps?": (None, range(1, MOST_TIMESTEPS + 1)), "beta_start?": (None, float),
    "beta_end?": (None, float), "beta_schedule?": (None, str), "trained_betas?": (None, [float]),
    "prediction_type?": (None, str), "rescale_betas_zero_snr?": (None, bool), "variance_type?": (None, str)}
SAME_BETAS = 1e-4  # relative; theirs may be float32


def scheduler_of(config: DiffusionConfig) -> tuple[dict[str, Any], list[str]]:
    """Return (config of diffusers' scheduler, sentences on what it can't do) of a DiffusionConfig.

    A DDIMScheduler, or a DDPMScheduler where variances are learned. Sampling begins at timestep T - T/n and ends at 0,
    as with our timestep_respacing ddimN; with zero terminal SNR at T - 1.

    Raises:
        UserError: the model is told timesteps that aren't whole numbers, or has a head start.
    """
    if config.head_start != "none":
        raise UserError(f"the model has a head start ({config.head_start}), to which its network only adds what is "
                        f"left: expected --head_start none, for a UNet2DModel and diffusers' schedulers have no place "
                        f"for it; only such a model can be converted")
    steps, betas = config.diffusion_steps, named_beta_schedule(config.noise_schedule, config.diffusion_steps)
    if config.rescale_timesteps and steps != 1000:
        raise UserError(f"the model was trained with --rescale_timesteps on {steps} steps: expected whole timesteps, "
                        f"which are all that diffusers tells a model; only such a model, or one of 1000 steps, can be "
                        f"converted")
    scheduler: dict[str, Any] = {
        "_class_name": "DDPMScheduler" if config.learn_sigma else "DDIMScheduler", "num_train_timesteps": steps,
        "prediction_type": PREDICTIONS[config.predicted], "clip_sample": True, "clip_sample_range": 1.0,
        "steps_offset": 0, "rescale_betas_zero_snr": config.zero_terminal_snr,
        "timestep_spacing": "trailing" if config.zero_terminal_snr else "leading",
    }
    linear = np.linspace(betas[0], betas[-1], steps)
    if config.noise_schedule == "cosine":
        scheduler |= {"beta_schedule": "squaredcos_cap_v2", "trained_betas": None}
    elif np.allclose(betas, linear, rtol=1e-12, atol=0):
        scheduler |= {"beta_schedule": "linear", "beta_start": float(betas[0]), "beta_end": float(betas[-1]),
                      "trained_betas": None}
    else:
        scheduler |= {"beta_schedule": "linear", "trained_betas": betas.tolist()}
    notes = []
    if config.learn_sigma:
        scheduler["variance_type"] = "learned_range"
        notes.append("the network predicts variances in channels 3 to 5, which of diffusers' schedulers DDPMScheduler "
                     "alone can use: convert with --drop_variances for the others")
    else:
        scheduler["set_alpha_to_one"] = True
    return scheduler, notes


def diffusion_of(scheduler: Mapping[str, Any], path: PathLike, learn_sigma: bool) -> DiffusionConfig:
    """Return the DiffusionConfig of a scheduler's config; what decides only how it samples says nothing here.

    Args:
        scheduler: as in scheduler_config.json. path: its file, for messages.
        learn_sigma: whether the network predicts variances.

    Raises:
        UserError: a noise schedule, prediction or variance that we don't have.
    """
    values = SCHEDULER_DEFAULTS | {key: value for key, value in scheduler.items() if value is not None}
    ours = {theirs: name for name, theirs in PREDICTIONS.items()}
    if values["prediction_type"] not in ours:
        raise _cannot(path, "prediction_type", values["prediction_type"], "one of " + ", ".join(ours))
    steps = values["num_train_timesteps"]
    betas = _their_betas(values, path)
    names = [name for name in SCHEDULES if len(betas) == steps
             and np.allclose(betas, named_beta_schedule(name, steps), rtol=SAME_BETAS, atol=0)]
    if not names:
        raise UserError(f"{path} has {len(betas)} betas from {betas[0]:.3g} to {betas[-1]:.3g}, expected {steps} of a "
                        f"schedule of ours ({', '.join(SCHEDULES)}): a model of another schedule can't be converted")
    variance = values.get("variance_type", "learned_range" if learn_sigma else "fixed_large")
    if variance == "learned" or (variance == "learned_range" and not learn_sigma):
        raise _cannot(path, "variance_type", variance, "learned_range of a network with 6 output channels, or fixed")
    return DiffusionConfig(
        diffusion_steps=steps, noise_schedule=names[0], prediction=ours[values["prediction_type"]],
        learn_sigma=learn_sigma, sigma_small=VARIANCES.get(variance, False),
        zero_terminal_snr=values["rescale_betas_zero_snr"])


def _their_betas(values, path):
    """Return the betas [T] that diffusers makes of a scheduler's config, before any rescaling."""
    if not values["beta_start"] >= 0 <= values["beta_end"]:
        raise _cannot(path, "beta_start and beta_end", (values["beta_start"], values["beta_end"]), "0 or more")
    if values["trained_betas"] == []:
        raise _cannot(path, "trained_betas", [], "one for each timestep")
    if values["trained_betas"] is not None:
        return np.array(values["trained_betas"], dtype=np.float64)
    start, end, steps = values["beta_start"], values["beta_end"], values["num_train_timesteps"]
    if values["beta_schedule"] == "linear":
        return np.linspace(start, end, steps)
    if values["beta_schedule"] == "scaled_linear":
        return np.linspace(start**0.5, end**0.5, steps) ** 2
    if values["beta_schedule"] == "squaredcos_cap_v2":
        return named_beta_schedule("cosine", steps)
    raise _cannot(path, "beta_schedule", values["beta_schedule"], "linear, scaled_linear or squaredcos_cap_v2")


def _cannot(path, key, given, expected):
    return UserError(f"{path} has {key} {given!r}, expected {expected}: such a model can't be converted")
