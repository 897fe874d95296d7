"""Enumerations of what a model predicts, where its variance comes from, and which loss trains it."""
import enum


class ModelMeanType(enum.Enum):
    """What the model's output (its first half, if it also gives variances) stands for."""

    PREVIOUS_X = enum.auto()  # the mean of x_{t-1}
    START_X = enum.auto()  # x_start
    EPSILON = enum.auto()  # the noise in x_t
    V = enum.auto()  # Salimans & Ho 2022 (arXiv:2202.00512)


class ModelVarType(enum.Enum):
    """Where the variance of p(x_{t-1} | x_t) comes from."""

    LEARNED = enum.auto()  # the output's second half is the log variance
    FIXED_SMALL = enum.auto()  # the posterior variance
    FIXED_LARGE = enum.auto()  # beta_t
    LEARNED_RANGE = enum.auto()  # second half in [-1, 1]: from posterior variance to beta_t, in logs

    @property
    def is_learned(self) -> bool:
        """Whether the model's output holds the variance."""
        return self in (ModelVarType.LEARNED, ModelVarType.LEARNED_RANGE)


class LossType(enum.Enum):
    """The training objective."""

    MSE = enum.auto()  # squared error, plus the bound where variances are learned
    RESCALED_MSE = enum.auto()  # the same with the bound times T / 1000 (L_hybrid of arXiv:2102.09672)
    KL = enum.auto()  # the variational bound at one timestep, bits per dimension
    RESCALED_KL = enum.auto()  # the same times T: an estimate of the whole bound

    def is_vb(self) -> bool:
        """Return whether the variational bound alone is minimised."""
        return self in (LossType.KL, LossType.RESCALED_KL)
