"""Loss and accuracy on held-out data, and a watch that tells when that loss turns upward."""
import dataclasses
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from add.diffusion import GaussianDiffusion
from add.interfaces import Model
from add.training.step_randomness import draw_noise

TIMESTEPS_PER_IMAGE = 4
MAX_IMAGES = 512  # of a larger held-out set, this many are measured
GOLDEN_RATIO = 0.6180339887  # its multiples, modulo 1, spread evenly however many are taken


@torch.no_grad()
def held_out_loss(model: Model, diffusion: GaussianDiffusion, images: torch.Tensor, device: torch.device,
                  batch_size: int, conditions: dict[str, torch.Tensor] | None = None) -> float:
    """Return the mean squared error of the model on held-out images, with the same timesteps and noise each time.

    Args:
        images: float32 [N, 3, H, W] in [-1, 1] (or points [N, 2]); every one is seen at TIMESTEPS_PER_IMAGE timesteps.
        batch_size: images per forward pass.
        conditions: {name: [N, ...]}, what the model is told beside them.
    """
    count = len(images) * TIMESTEPS_PER_IMAGE
    total = 0.0
    for first in range(0, count, batch_size):
        places = torch.arange(first, min(first + batch_size, count))
        x_start = images[places // TIMESTEPS_PER_IMAGE]
        t = ((places * GOLDEN_RATIO + 0.5) % 1 * diffusion.num_timesteps).long()
        noise = draw_noise(x_start.shape, seed=0, step=0, first_index=first, device=torch.device("cpu"))
        told = {name: value[places // TIMESTEPS_PER_IMAGE].to(device) for name, value in (conditions or {}).items()}
        losses = diffusion.training_losses(
            model, x_start.to(device), t.to(device), model_kwargs=told, noise=noise.to(device))
        total += losses.get("mse", losses["loss"]).sum().item()
    return total / count


@torch.no_grad()
def accuracy_by_noise(logits_of: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
                      num_timesteps: int, levels: int, images: torch.Tensor, labels: torch.Tensor,
                      device: torch.device, batch_size: int) -> dict[str, float]:
    """Return {"val_loss", "val_accuracy", "val_accuracy_0", ...} of a classifier of noisy images.

    Every image is seen once in each of `levels` equal parts of the timesteps, from little noise to much: the middle one
    with the same noise each time. The loss is the mean cross-entropy, in nats.

    Args:
        logits_of: logits_of(x_start, t, noise) -> [B, K].
        images: float32 [N, 3, H, W] in [-1, 1]; labels: int64 [N].
        batch_size: images per forward pass.
    """
    loss, found = 0.0, []
    for level in range(levels):
        step = int((level + 0.5) / levels * num_timesteps)
        hits = 0
        for first in range(0, len(images), batch_size):
            x_start, y = (part[first:first + batch_size].to(device) for part in (images, labels))
            noise = draw_noise(x_start.shape, seed=0, step=level, first_index=first, device=torch.device("cpu"))
            logits = logits_of(x_start, torch.full((len(x_start),), step, device=device), noise.to(device))
            loss += F.cross_entropy(logits, y, reduction="sum").item()
            hits += int((logits.argmax(dim=1) == y).sum())
        found.append(hits / len(images))
    return {"val_loss": loss / (levels * len(images)), "val_accuracy": sum(found) / levels,
            **{f"val_accuracy_{level}": share for level, share in enumerate(found)}}


@dataclasses.dataclass
class UpturnWatch:
    """Watch for overfitting: `patience` measurements of the held-out loss in a row above `factor` times its minimum."""

    factor: float = 1.02
    patience: int = 3
    best_loss: float = math.inf
    best_step: int = 0
    rises: int = 0

    def update(self, step: int, loss: float) -> str | None:
        """Take in the loss of a step; return a sentence for the user at the step that makes it an upturn, else None."""
        if loss < self.best_loss:
            self.best_loss, self.best_step = loss, step
        self.rises = self.rises + 1 if loss > self.best_loss * self.factor else 0
        if self.rises != self.patience:
            return None
        return (f"held-out loss turned upward: {self.best_loss:.4g} at step {self.best_step}, {loss:.4g} at step "
                f"{step}. The model begins to learn its training images by heart: stop here, or train anew with "
                f"--augment dihedral, --dropout 0.1 or more images")
