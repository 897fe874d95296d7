"""Class guidance of a model: by its own labels, by a classifier's gradient, or without a classifier.

A guided model is called as model(x, t), like one without classes, so that any sampler can walk it. `classes` is one int
for any number of images, or int64 [B] for batches of exactly B images.
"""
from typing import TypeAlias

import torch
import torch.nn.functional as F

from add.diffusion.gaussian import GaussianDiffusion
from add.diffusion.noise_levels import NoiseLevels
from add.diffusion.prediction_types import ModelMeanType
from add.diffusion.solvers import beside
from add.errors import UserError
from add.interfaces import Gradient, Model

Classes: TypeAlias = int | torch.Tensor  # one class for all rows, or int64 [B]

ROUNDING = 0.01  # timesteps; what a model is told is a float32


class ForClasses:
    """A class-conditional model with its labels set, as model(x, t): of one class, or of a class for each row.

    Args:
        model: model(x, t, y=labels int64 [B]).
        classes: int, or int64 [B] for x of as many rows.
    """

    def __init__(self, model: Model, classes: Classes) -> None:
        self.model, self.classes = model, classes

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return the model's output for x [B, ...] at t [B]."""
        return self.model(x, t, y=labels_for(self.classes, x))


class ClassifierFree:
    """Guidance without a classifier (Ho & Salimans 2022, arXiv:2207.12598), as model(x, t).

    The prediction is none + scale * (cond - none): scale 0 leaves the class out, 1 is the class-conditional model,
    more exaggerates what the class changes. (The paper's w, Eq. 6, is scale - 1.) Learned variances are those of the
    class. It holds for predictions of eps, x_start and v alike, as each depends linearly on the others.

    Args:
        model: model(x, t, y=labels int64 [B]), trained with some of its classes hidden; evaluated on 2 B rows at once.
        classes: int, or int64 [B] for x of as many rows.
        no_class: the label that stands for a hidden class.
        channels: of the prediction; what else the model gives is about variances.
    """

    nfe_per_call = 2  # network evaluations of an image

    def __init__(self, model: Model, classes: Classes, scale: float, no_class: int, channels: int = 3) -> None:
        self.model, self.classes, self.scale = model, classes, scale
        self.no_class, self.channels = no_class, channels

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return the guided output for x [B, ...] at t [B]."""
        classes = labels_for(self.classes, x)
        labels = torch.cat([classes, torch.full_like(classes, self.no_class)])
        cond, none = self.model(torch.cat([x, x]), torch.cat([t, t]), y=labels).chunk(2)
        prediction = torch.lerp(none[:, :self.channels], cond[:, :self.channels], self.scale)  # exact at 0 and 1
        return torch.cat([prediction, cond[:, self.channels:]], dim=1)


def class_gradient(classifier: Model, classes: Classes, scale: float = 1.0) -> Gradient:
    """Return gradient(x, t) = scale * grad_x log p(classes | x, t), like x (arXiv:2105.05233, Sec. 4.1).

    It works where gradients are switched off, and its result belongs to no graph. Fit for `cond_fn`.

    Args:
        classifier: classifier(x, t) -> logits [B, K], a network trained on noisy images.
        classes: int, or int64 [B] for x of as many rows.
    """
    def gradient(x, t):
        labels = labels_for(classes, x)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            log_probability = F.log_softmax(classifier(x, t), dim=1).gather(1, labels[:, None])
            return scale * torch.autograd.grad(log_probability.sum(), x)[0]

    return gradient


class ClassifierGuided:
    """A model guided by a gradient of log p(y | x_t), as model(x, t), for solvers without guidance of their own.

    eps - sqrt(1 - alpha_bar) * gradient (Dhariwal & Nichol 2021, arXiv:2105.05233, Algorithm 2), and the same in terms
    of x_start or v. At pure noise (alpha_bar = 0) x says nothing of the image and nothing can be guided: the prediction
    is kept as it is. Learned variances are kept everywhere.

    Args:
        model: model(x, t) -> eps, x_start or v, and learned variances where there are any.
        gradient: gradient(x, t) -> like x, as from `class_gradient`.
        diffusion: GaussianDiffusion that says what the model predicts, and the level of a (fractional) timestep.

    Raises:
        UserError: a model of the previous x, whose output belongs to whole steps.
    """

    def __init__(self, model: Model, gradient: Gradient, diffusion: GaussianDiffusion) -> None:
        if diffusion.model_mean_type is ModelMeanType.PREVIOUS_X:
            raise UserError("a model that predicts the previous x can't be guided so: expected one of eps, x_start or "
                            "v; guide it with cond_fn of p_sample")
        self.model, self.gradient, self.diffusion = model, gradient, diffusion
        self.levels = NoiseLevels(diffusion.alphas_cumprod, diffusion.timestep_map)
        self.told = diffusion.told_unit

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return the guided output for x [B, C, H, W] at t [B], the timesteps as a model is told them."""
        prediction, variance_output = self.diffusion.split_output(self.model(x, t), x)
        gradient = self.gradient(x, t).to(prediction.dtype)
        timesteps = t.cpu().double().numpy() / self.told
        signal, spread = self.levels.factors(timesteps)
        weight = {ModelMeanType.EPSILON: -spread, ModelMeanType.START_X: spread**2 / signal,
                  ModelMeanType.V: -spread / signal}[self.diffusion.model_mean_type]
        weight[timesteps > self.levels.last + ROUNDING] = 0.0  # beyond the last level that is not pure noise
        guided = prediction + beside(weight, x) * gradient
        return guided if variance_output is None else torch.cat([guided, variance_output], dim=1)


def labels_for(classes: Classes, x: torch.Tensor) -> torch.Tensor:
    """Return int64 labels [B] for x [B, ...]; raises UserError where `classes` are of another number of rows."""
    if isinstance(classes, int):
        return torch.full((len(x),), classes, dtype=torch.int64, device=x.device)
    if classes.shape != (len(x),):
        raise UserError(f"{len(x)} images for classes of shape {tuple(classes.shape)}: expected one class per image; "
                        f"pass as many, or one int for all of them")
    return classes.to(x.device)
