"""The options of a diffusion with their defaults, and the functions that build it from them."""
from dataclasses import dataclass

from add.config import MOST_TIMESTEPS, MOST_WEIGHT, Checked, option
from add.diffusion.gaussian import GaussianDiffusion
from add.diffusion.parametrization import PREDICTIONS
from add.diffusion.prediction_types import LossType, ModelMeanType, ModelVarType
from add.diffusion.respacing import space_timesteps
from add.diffusion.schedules import SCHEDULES, named_beta_schedule, rescale_zero_terminal_snr
from add.errors import UserError

HEAD_STARTS = ("none", "gaussian")
MEAN_TYPES = {"epsilon": ModelMeanType.EPSILON, "x_start": ModelMeanType.START_X, "v": ModelMeanType.V}


@dataclass(frozen=True)
class DiffusionConfig(Checked):
    """Diffusion: noise schedule, what the network predicts, and the loss."""

    diffusion_steps: int = option(1000, "length T of the noise schedule, in timesteps", least=1, most=MOST_TIMESTEPS)
    learn_sigma: bool = option(False, "the model also predicts the variance of each step")
    sigma_small: bool = option(False, "fixed variances are the posterior's instead of beta")
    noise_schedule: str = option("linear", "how noise grows with the timestep", tuple(SCHEDULES))
    timestep_respacing: str = option(
        "", "walk fewer timesteps: '50', counts per section such as '10,15,20', or 'ddim50'; empty for all")
    use_kl: bool = option(False, "train on the variational bound instead of the squared error")
    prediction: str = option("epsilon", "what the model predicts", PREDICTIONS)
    predict_xstart: bool = option(False, "guided-diffusion's spelling of prediction 'x_start'")
    rescale_timesteps: bool = option(False, "tell the model timesteps scaled to the range 0 to 1000")
    rescale_learned_sigmas: bool = option(False, "weigh the bound that trains learned variances by T / 1000")
    zero_terminal_snr: bool = option(
        False, "the last timestep is pure noise (arXiv:2305.08891); needs prediction 'v' or 'x_start'")
    min_snr_gamma: float = option(
        0.0, "weigh squared errors by min(SNR, gamma) (arXiv:2303.09556; 5 is usual); 0 for no weights",
        least=0, most=MOST_WEIGHT)
    even_share: float = option(
        0.0, "share of the loss, from 0 to below 1, in which all timesteps count alike, beside min_snr_gamma's weights",
        least=0, below=1)
    head_start: str = option(
        "none", "gaussian: the network learns only what the best linear denoiser of its training images leaves, which "
                "is fitted when training begins and kept with the weights", HEAD_STARTS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.predict_xstart and self.prediction == "v":
            raise UserError("predict_xstart contradicts prediction 'v': leave one of them out")
        if self.zero_terminal_snr and self.predicted == "epsilon":
            raise UserError("zero_terminal_snr needs a model that predicts v or x_start, got 'epsilon': "
                            "set prediction to 'v', or zero_terminal_snr to False")
        if self.even_share and not self.min_snr_gamma:
            raise UserError(f"even_share is {self.even_share}, and min_snr_gamma 0: expected both above 0, for without "
                            f"the latter all timesteps count alike; leave it out")

    @property
    def predicted(self) -> str:
        """What the model predicts, one of PREDICTIONS, with predict_xstart taken into account."""
        return "x_start" if self.predict_xstart else self.prediction


_DEFAULTS = DiffusionConfig()


def diffusion_from_config(config: DiffusionConfig) -> GaussianDiffusion:
    """Return the GaussianDiffusion of a DiffusionConfig.

    Zero terminal SNR is a property of the schedule the model was trained on and comes before respacing: a
    respacing that leaves out the last timestep (ddimN) does not reach pure noise.
    """
    betas = named_beta_schedule(config.noise_schedule, config.diffusion_steps)
    if config.zero_terminal_snr:
        betas = rescale_zero_terminal_snr(betas)
    section_counts = config.timestep_respacing or [config.diffusion_steps]
    return GaussianDiffusion(
        betas=betas,
        use_timesteps=space_timesteps(config.diffusion_steps, section_counts),
        model_mean_type=MEAN_TYPES[config.predicted],
        model_var_type=_var_type(config),
        loss_type=_loss_type(config),
        rescale_timesteps=config.rescale_timesteps,
        min_snr_gamma=config.min_snr_gamma,
        even_share=config.even_share,
    )


def create_gaussian_diffusion(
    *,
    steps: int = _DEFAULTS.diffusion_steps,
    learn_sigma: bool = _DEFAULTS.learn_sigma,
    sigma_small: bool = _DEFAULTS.sigma_small,
    noise_schedule: str = _DEFAULTS.noise_schedule,
    use_kl: bool = _DEFAULTS.use_kl,
    predict_xstart: bool = _DEFAULTS.predict_xstart,
    rescale_timesteps: bool = _DEFAULTS.rescale_timesteps,
    rescale_learned_sigmas: bool = _DEFAULTS.rescale_learned_sigmas,
    timestep_respacing: str = _DEFAULTS.timestep_respacing,
    prediction: str = _DEFAULTS.prediction,
    zero_terminal_snr: bool = _DEFAULTS.zero_terminal_snr,
    min_snr_gamma: float = _DEFAULTS.min_snr_gamma,
) -> GaussianDiffusion:
    """Return a GaussianDiffusion from guided-diffusion's keywords; `DiffusionConfig` says what each means."""
    return diffusion_from_config(DiffusionConfig(
        diffusion_steps=steps,
        learn_sigma=learn_sigma,
        sigma_small=sigma_small,
        noise_schedule=noise_schedule,
        timestep_respacing=timestep_respacing,
        use_kl=use_kl,
        prediction=prediction,
        predict_xstart=predict_xstart,
        rescale_timesteps=rescale_timesteps,
        rescale_learned_sigmas=rescale_learned_sigmas,
        zero_terminal_snr=zero_terminal_snr,
        min_snr_gamma=min_snr_gamma,
    ))


def _var_type(config):
    if config.learn_sigma:
        return ModelVarType.LEARNED_RANGE
    return ModelVarType.FIXED_SMALL if config.sigma_small else ModelVarType.FIXED_LARGE


def _loss_type(config):
    if config.use_kl:
        return LossType.RESCALED_KL
    return LossType.RESCALED_MSE if config.rescale_learned_sigmas else LossType.MSE
