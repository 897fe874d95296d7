"""Sample pictures of a model in training, made from the same noise each time."""
import math
from collections.abc import Sequence

import numpy as np
import torch

from add.data.transforms import to_uint8
from add.diffusion import GaussianDiffusion
from add.interfaces import Model
from add.training.step_randomness import draw_noise


@torch.no_grad()
def sample(model: Model, diffusion: GaussianDiffusion, shape: Sequence[int], device: torch.device,
           conditions: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return DDIM samples of `shape` [N, ...], on the CPU, from noise that is always the same.

    Args:
        conditions: {name: [N, ...]}, what the model is told beside them.
    """
    noise = draw_noise(shape, seed=1, step=0, first_index=0, device=torch.device("cpu"))
    told = {name: value.to(device) for name, value in conditions.items()}
    return diffusion.ddim_sample_loop(
        model, shape, noise=noise.to(device), clip_denoised=len(shape) == 4, model_kwargs=told, device=device).cpu()


def tile(images: torch.Tensor, columns: int | None = None) -> np.ndarray:
    """Return images [N, 3, H, W] in [-1, 1] side by side as one uint8 picture [rows * H, columns * W, 3]."""
    count, channels, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    canvas = torch.ones(rows * columns, channels, height, width)
    canvas[:count] = images
    canvas = canvas.reshape(rows, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    return to_uint8(canvas.reshape(1, channels, rows * height, columns * width))[0].numpy()
