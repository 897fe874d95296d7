"""The grid of samples that a run shows of its model."""
import math

import torch

from add.data.transforms import to_uint8
from add.training.draws import draw_noise


@torch.no_grad()
def sample_grid(model, diffusion, count, image_size, device, num_classes=None):
    """Return a uint8 picture [H, W, 3] of `count` DDIM samples from noise that is always the same."""
    noise = draw_noise((count, 3, image_size, image_size), seed=1, step=0, first_index=0, device=torch.device("cpu"))
    kwargs = {} if num_classes is None else {"y": torch.arange(count, device=device) % num_classes}
    samples = diffusion.ddim_sample_loop(
        model, noise.shape, noise=noise.to(device), clip_denoised=True, model_kwargs=kwargs, device=device)
    return tile(samples.cpu())


def tile(images, columns=None):
    """Return images [N, 3, H, W] in [-1, 1] side by side as one uint8 picture [rows * H, columns * W, 3]."""
    count, channels, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    canvas = torch.ones(rows * columns, channels, height, width)
    canvas[:count] = images
    canvas = canvas.reshape(rows, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    return to_uint8(canvas.reshape(1, channels, rows * height, columns * width))[0].numpy()
