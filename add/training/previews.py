"""Sample pictures of a model in training, made from the same noise each time."""
import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from add.data.transforms import to_uint8
from add.diffusion import GaussianDiffusion
from add.interfaces import Model
from add.results.overview import PAPER, paste_enlarged, tile_factor
from add.training.step_randomness import draw_noise

GAP = 4  # pixels between the images of a picture, and around them


@torch.no_grad()
def sample(model: Model, diffusion: GaussianDiffusion, shape: Sequence[int], device: torch.device,
           conditions: dict[str, torch.Tensor], first: int = 0) -> torch.Tensor:
    """Return DDIM samples of `shape` [N, ...], on the CPU, from noise that is always the same.

    Args:
        conditions: {name: [N, ...]}, what the model is told beside them.
        first: number of the first sample; each number has its own noise.
    """
    noise = draw_noise(shape, seed=1, step=0, first_index=first, device=torch.device("cpu"))
    told = {name: value.to(device) for name, value in conditions.items()}
    return diffusion.ddim_sample_loop(
        model, shape, noise=noise.to(device), clip_denoised=len(shape) == 4, model_kwargs=told, device=device).cpu()


def tile(images: torch.Tensor, columns: int | None = None) -> np.ndarray:
    """Return images [N, 3, H, W] in [-1, 1] side by side as one uint8 picture, [height, width, 3].

    Small ones are enlarged by a whole factor, to be seen, and a white gap lies around each.
    """
    count, _, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    factor = tile_factor(height, width)
    down, across = height * factor + GAP, width * factor + GAP
    canvas = Image.new("RGB", (columns * across + GAP, math.ceil(count / columns) * down + GAP), PAPER)
    for place, pixels in enumerate(to_uint8(images).numpy()):
        row, column = divmod(place, columns)
        paste_enlarged(canvas, pixels, factor, GAP + column * across, GAP + row * down)
    return np.asarray(canvas)
