"""The held-out loss of a run, and the watch that tells when it turns upward."""
import dataclasses
import math

import torch

from add.training.draws import draw_noise

TIMESTEPS_PER_IMAGE = 4
MAX_IMAGES = 512  # of a larger held-out set, this many are measured
GOLDEN_RATIO = 0.6180339887  # its multiples, modulo 1, spread evenly however many are taken


@torch.no_grad()
def held_out_loss(model, diffusion, images, device, batch_size, labels=None):
    """Return the mean squared error of the model on held-out images, with the same timesteps and noise each time.

    Args:
        images: float32 [N, 3, H, W] in [-1, 1]; every one is seen at TIMESTEPS_PER_IMAGE timesteps.
        batch_size: images per forward pass.
        labels: int64 [N] for a class-conditional model.
    """
    count = len(images) * TIMESTEPS_PER_IMAGE
    total = 0.0
    for first in range(0, count, batch_size):
        places = torch.arange(first, min(first + batch_size, count))
        x_start = images[places // TIMESTEPS_PER_IMAGE]
        t = ((places * GOLDEN_RATIO + 0.5) % 1 * diffusion.num_timesteps).long()
        noise = draw_noise(x_start.shape, seed=0, step=0, first_index=first, device=torch.device("cpu"))
        kwargs = {} if labels is None else {"y": labels[places // TIMESTEPS_PER_IMAGE].to(device)}
        losses = diffusion.training_losses(
            model, x_start.to(device), t.to(device), model_kwargs=kwargs, noise=noise.to(device))
        total += losses.get("mse", losses["loss"]).sum().item()
    return total / count


@dataclasses.dataclass
class UpturnWatch:
    """Tells when a held-out loss has turned upward: `patience` measurements running, `factor` above its minimum."""

    factor: float = 1.02
    patience: int = 3
    best_loss: float = math.inf
    best_step: int = 0
    rises: int = 0

    def update(self, step, loss):
        """Take in the loss of a step; return a sentence for the user at the step that makes it an upturn, else None."""
        if loss < self.best_loss:
            self.best_loss, self.best_step = loss, step
        self.rises = self.rises + 1 if loss > self.best_loss * self.factor else 0
        if self.rises != self.patience:
            return None
        return (f"held-out loss turned upward: {self.best_loss:.4g} at step {self.best_step}, {loss:.4g} at step "
                f"{step}. The model begins to copy its training images: stop here, or train anew with "
                f"--augment dihedral, --dropout 0.1 or more images")
