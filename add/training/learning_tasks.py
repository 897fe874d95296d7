"""Learning tasks of training runs: the loss, the conditions, the held-out measure and the sample picture of each.

`Trainer` knows nothing of these: it draws batches, timesteps and noise, takes steps and keeps files.
"""
import dataclasses
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F

from add.diffusion import DiffusionConfig, diffusion_from_config
from add.interfaces import Model
from add.networks import kind_of
from add.results.point_plots import scatter
from add.training import step_randomness
from add.training.held_out import accuracy_by_noise, held_out_loss
from add.training.previews import sample, tile
from add.training.run_config import RunConfig
from add.training.running_means import QUARTERS
from add.training.training_data import Labelled

NOISE_LEVELS = 10  # at which a classifier's accuracy is measured
SHOWN_POINTS = 5000


class Denoising:
    """Training a diffusion model of images to predict eps, x_start or v (Ho et al. 2020, arXiv:2006.11239).

    Args:
        model_config: config of the network.
        diffusion_config: of the diffusion; training walks all of its timesteps, whatever the respacing.

    Attributes:
        columns: names of what `losses` gives beside "loss"; measured: of what is measured beside "val_loss".
    """

    columns: tuple[str, ...] = ("mse", "vb", *QUARTERS)
    measured: tuple[str, ...] = ("kid_x1000",)
    draw_noise = staticmethod(step_randomness.draw_noise)

    def __init__(self, model_config: Any, diffusion_config: DiffusionConfig) -> None:
        self.model_config, self.diffusion_config = model_config, diffusion_config
        self.diffusion = diffusion_from_config(dataclasses.replace(diffusion_config, timestep_respacing=""))

    def conditions(self, x_start: torch.Tensor, labels: torch.Tensor | None, uniforms: torch.Tensor
                   ) -> dict[str, torch.Tensor]:
        """Return what the network is told beside noisy images and timesteps, {name: [B, ...]}.

        Args:
            labels: int64 [B] or None; uniforms: float64 [B] in [0, 1), by which classes are hidden: below
                class_dropout, an image's class is the label of no class (arXiv:2207.12598, Algorithm 1).
        """
        if not self.model_config.class_cond:
            return {}
        assert labels is not None, "a class-conditional network is trained with labels"
        share = getattr(self.model_config, "class_dropout", 0.0)
        return {"y": torch.where(uniforms < share, self.model_config.num_classes, labels)}

    def losses(self, network: Model, x_start: torch.Tensor, t: torch.Tensor, noise: torch.Tensor,
               conditions: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return {"loss": [B], ...} of images x_start [B, 3, H, W] with `noise` at timesteps t [B]."""
        return self.diffusion.training_losses(network, x_start, t, model_kwargs=conditions, noise=noise)

    def measure(self, network: Model, held_out: Labelled, device: torch.device, batch_size: int) -> dict[str, float]:
        """Return {"val_loss": ...} of held-out (x_start, labels or None), the same timesteps and noise each time."""
        x_start, labels = held_out
        told = self.conditions(x_start, labels, torch.ones(len(x_start)))
        return {"val_loss": held_out_loss(network, self.diffusion, x_start, device, batch_size, told)}

    def picture(self, model: Model, config: RunConfig, device: torch.device, examples: Labelled | None) -> np.ndarray:
        """Return a uint8 picture of samples from the same noise each time, [height, width, 3].

        Args:
            config: says how many samples (num_preview), in how many DDIM steps (preview_steps).
            examples: (x_start [N, 3, H, W], labels [N] or None), images to show beside samples that are made from such.
        """
        return tile(self.samples(model, config, device, range(config.num_preview)))

    def samples(self, model: Model, config: RunConfig, device: torch.device, numbers: range) -> torch.Tensor:
        """Return the samples [N, 3, S, S] in [-1, 1], on the CPU, that have these numbers.

        A number has the same noise each time, and of a class-conditional model the classes come in turn.

        Args:
            config: says in how many DDIM steps (preview_steps).
        """
        size, count = self.model_config.image_size, len(numbers)
        labels = torch.tensor(numbers) % self.model_config.num_classes if self.model_config.class_cond else None
        told = self.conditions(torch.empty(count), labels, torch.ones(count))
        return self._sample(model, config, device, (count, 3, size, size), told, numbers.start)

    def _sample(self, model: Model, config: RunConfig, device: torch.device, shape: Sequence[int],
                conditions: dict[str, torch.Tensor], first: int = 0) -> torch.Tensor:
        steps = min(config.preview_steps, self.diffusion_config.diffusion_steps)
        diffusion = diffusion_from_config(dataclasses.replace(self.diffusion_config, timestep_respacing=str(steps)))
        return sample(model, diffusion, shape, device, conditions, first)


class SuperResolution(Denoising):
    """Training a diffusion model of images given the same small (ADM, arXiv:2105.05233).

    The small images are made from the large ones.
    """

    measured: tuple[str, ...] = ()

    def conditions(self, x_start: torch.Tensor, labels: torch.Tensor | None, uniforms: torch.Tensor
                   ) -> dict[str, torch.Tensor]:
        """Return the low-resolution images [B, 3, h, h], box averages of x_start, and classes where there are any."""
        small = F.interpolate(x_start, self.model_config.small_size, mode="area")
        return super().conditions(x_start, labels, uniforms) | {"low_res": small}

    def picture(self, model: Model, config: RunConfig, device: torch.device, examples: Labelled | None) -> np.ndarray:
        """Return a uint8 picture with three rows: small images enlarged, samples made from them, the true images."""
        assert examples is not None, "samples are made from examples"
        x_start, labels = examples[0][:config.num_preview], examples[1]
        labels = None if labels is None else labels[:config.num_preview]
        told = self.conditions(x_start, labels, torch.ones(len(x_start)))
        made = self._sample(model, config, device, tuple(x_start.shape), told)
        enlarged = F.interpolate(told["low_res"], x_start.shape[2:], mode="nearest")
        return tile(torch.cat([enlarged, made, x_start]), columns=len(x_start))


class PointDenoising(Denoising):
    """Training a diffusion model of points in the plane (DDIB, arXiv:2203.08382)."""

    measured: tuple[str, ...] = ()
    draw_noise = staticmethod(step_randomness.draw_joint_noise)

    def conditions(self, x_start: torch.Tensor, labels: torch.Tensor | None, uniforms: torch.Tensor
                   ) -> dict[str, torch.Tensor]:
        """Return {}: points have no classes."""
        return {}

    def picture(self, model: Model, config: RunConfig, device: torch.device, examples: Labelled | None) -> np.ndarray:
        """Return a uint8 scatter plot of SHOWN_POINTS samples."""
        return scatter(self._sample(model, config, device, (SHOWN_POINTS, 2), {}).numpy())


class Classification:
    """Training a classifier of noisy images; ADM (arXiv:2105.05233), section 4.

    Args:
        model_config: config of the network. diffusion_config: of the diffusion that the noise comes from.
        noised: whether images get noise; without it all are seen at timestep 0.
    """

    columns: tuple[str, ...] = ("accuracy", *QUARTERS)
    measured: tuple[str, ...] = ("val_accuracy", *(f"val_accuracy_{level}" for level in range(NOISE_LEVELS)))
    draw_noise = staticmethod(step_randomness.draw_noise)

    def __init__(self, model_config: Any, diffusion_config: DiffusionConfig, noised: bool = True) -> None:
        self.model_config, self.diffusion_config, self.noised = model_config, diffusion_config, noised
        self.diffusion = diffusion_from_config(dataclasses.replace(diffusion_config, timestep_respacing=""))

    def conditions(self, x_start: torch.Tensor, labels: torch.Tensor | None, uniforms: torch.Tensor
                   ) -> dict[str, torch.Tensor]:
        """Return {"y": labels int64 [B]}."""
        assert labels is not None, "a classifier is trained with labels"
        return {"y": labels}

    def losses(self, network: Model, x_start: torch.Tensor, t: torch.Tensor, noise: torch.Tensor,
               conditions: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return {"loss": cross-entropy in nats, "accuracy": 1 where the class is found, else 0}, each [B]."""
        logits = self._logits(network, x_start, t, noise)
        labels = conditions["y"]
        return {"loss": F.cross_entropy(logits, labels, reduction="none"),
                "accuracy": (logits.argmax(dim=1) == labels).float()}

    def measure(self, network: Model, held_out: Labelled, device: torch.device, batch_size: int) -> dict[str, float]:
        """Return {"val_loss", "val_accuracy"}, and "val_accuracy_0" (least noise) to "val_accuracy_9": held_out.py."""
        images, labels = held_out
        assert labels is not None, "a classifier is measured on labelled images"
        levels = NOISE_LEVELS if self.noised else 1
        return accuracy_by_noise(lambda x_start, t, noise: self._logits(network, x_start, t, noise),
                                 self.diffusion.num_timesteps, levels, images, labels, device, batch_size)

    def picture(self, model: Model, config: RunConfig, device: torch.device, examples: Labelled | None) -> None:
        """Return None: a classifier has nothing to show."""

    def _logits(self, network: Model, x_start: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        if not self.noised:
            return network(x_start, torch.zeros_like(t))
        return network(self.diffusion.q_sample(x_start, t, noise), self.diffusion.model_timesteps(t))


Task: TypeAlias = Denoising | Classification


def make_task(model_config: Any, diffusion_config: DiffusionConfig, config: Any) -> Task:
    """Return the task of a network's kind; config: the run's RunConfig, with `noised` for a classifier."""
    kind = kind_of(model_config)
    if kind == "classifier":
        return Classification(model_config, diffusion_config, config.noised)
    return {"image": Denoising, "super_res": SuperResolution, "points": PointDenoising}[kind](
        model_config, diffusion_config)
