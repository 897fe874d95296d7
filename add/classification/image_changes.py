"""Random changes of small images that need no generator: TrivialAugment, colour jitter and stain jitter.

TrivialAugment (Müller and Hutter 2021, arXiv:2103.10158, Algorithm 1) changes every image by one operation, drawn
uniformly, of a strength that is drawn uniformly. Here are the operations and ranges of its space "RA", but that lengths
are shares of the side, and shears are about the centre.

Colour jitter changes brightness, contrast and saturation, as most training code does; it knows nothing of stains, and
is the control of what does:

Stain jitter unmixes an image's optical density into haematoxylin, eosin and DAB (Ruifrok and Johnston 2001, Anal.
Quant. Cytol. Histol. 23, 291-299, whose stain vectors STAINS are), and changes each stain's amount by a factor and a
shift of its own (Tellez et al. 2018, arXiv:1808.05896).
"""
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps

from add.data.transforms import to_model_input

STRENGTHS = 31  # of an operation, from none to the most
MOST_TURN, MOST_SHEAR, MOST_SHIFT = 30, 0.3, 0.3  # degrees, and shares of the side
MOST_ENHANCED, MOST_BITS_LOST = 0.9, 4  # of a factor from 1, and of 8
STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))  # optical densities of red, green and blue
MOST_JITTER = 0.05  # of a stain's factor from 1 and of its shift from 0
MOST_COLOR = 0.2  # of the factors of brightness, contrast and saturation, from 1
LUMA = (0.299, 0.587, 0.114)  # red, green and blue's parts of grey (ITU-R BT.601)
_DARKEST = 1 / 255  # light of which a logarithm is taken
_GREY = (128, 128, 128)  # where an image was shifted from


def trivial_augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return images [B, 3, H, W] in [-1, 1], each changed by a random one of OPERATIONS.

    Args:
        generator: on the CPU.
    """
    operations = torch.randint(len(OPERATIONS), (len(images),), generator=generator).tolist()
    strengths = torch.randint(STRENGTHS, (len(images),), generator=generator) / (STRENGTHS - 1)
    signs = 2 * torch.randint(2, (len(images),), generator=generator) - 1
    pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    names = list(OPERATIONS)
    changed = [np.asarray(OPERATIONS[names[i]](Image.fromarray(image), strength))
               for image, i, strength in zip(pixels, operations, (strengths * signs).tolist(), strict=True)]
    return to_model_input(np.stack(changed))


def color_jitter(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return images [B, 3, H, W] in [-1, 1], the brightness, contrast and saturation of each changed by random factors.

    Args:
        generator: on the CPU.
    """
    return change_colors(images, 1 + MOST_COLOR * (2 * torch.rand(len(images), 3, generator=generator) - 1))


def change_colors(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Return images [B, 3, H, W] in [-1, 1], brightened, spread from their mean grey, and then from each pixel's grey.

    Args:
        factors: [B, 3], of brightness, contrast and saturation; 1 changes nothing.
    """
    brightness, contrast, saturation = factors.to(images.dtype).T[..., None, None, None]
    pixels = (images + 1) / 2 * brightness
    grey = (pixels * pixels.new_tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    pixels, grey = mean + contrast * (pixels - mean), mean + contrast * (grey - mean)
    return 2 * (grey + saturation * (pixels - grey)).clamp(0, 1) - 1


def stain_jitter(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return images [B, 3, H, W] in [-1, 1], the stains of each changed by random factors and shifts.

    Args:
        generator: on the CPU.
    """
    factors, shifts = MOST_JITTER * (2 * torch.rand(2, len(images), 3, generator=generator) - 1)
    return change_stains(images, 1 + factors, shifts)


def change_stains(images: torch.Tensor, factors: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Return images [B, 3, H, W] in [-1, 1] whose amounts of stain were multiplied and then shifted.

    By Beer and Lambert's law the optical density -log10(light) is the sum of the stains' vectors of length 1, each
    times its amount.

    Args:
        factors, shifts: [B, 3], of haematoxylin, eosin and DAB.
    """
    stains = torch.tensor(STAINS, dtype=torch.float64)
    stains = stains / stains.norm(dim=1, keepdim=True)
    density = -((images.double() + 1) / 2).clamp(_DARKEST, 1).log10().permute(0, 2, 3, 1)  # [B, H, W, 3]
    amounts = density @ stains.inverse()
    amounts = amounts * factors[:, None, None].double() + shifts[:, None, None].double()
    light = (10 ** -(amounts @ stains)).clamp(0, 1)
    return (2 * light - 1).permute(0, 3, 1, 2).to(images.dtype)


def _affine(image, matrix):
    """Return the image whose point p, from the centre, is that at (a p_x + b p_y + c, d p_x + e p_y + f) before."""
    a, b, c, d, e, f = matrix
    x, y = image.width / 2, image.height / 2
    moved = (a, b, x - a * x - b * y + c * image.width, d, e, y - d * x - e * y + f * image.height)
    return image.transform(image.size, Image.Transform.AFFINE, moved, Image.Resampling.BILINEAR, fillcolor=_GREY)


def _enhanced(kind):
    return lambda image, strength: kind(image).enhance(1 + MOST_ENHANCED * strength)


# Of an image and a strength in [-1, 1], whose sign is a direction where there are two.
OPERATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda image, strength: image,
    "autocontrast": lambda image, strength: ImageOps.autocontrast(image),
    "equalize": lambda image, strength: ImageOps.equalize(image),
    "rotate": lambda image, strength: image.rotate(MOST_TURN * strength, Image.Resampling.BILINEAR, fillcolor=_GREY),
    "shear_x": lambda image, strength: _affine(image, (1, MOST_SHEAR * strength, 0, 0, 1, 0)),
    "shear_y": lambda image, strength: _affine(image, (1, 0, 0, MOST_SHEAR * strength, 1, 0)),
    "translate_x": lambda image, strength: _affine(image, (1, 0, MOST_SHIFT * strength, 0, 1, 0)),
    "translate_y": lambda image, strength: _affine(image, (1, 0, 0, 0, 1, MOST_SHIFT * strength)),
    "solarize": lambda image, strength: ImageOps.solarize(image, round(256 * (1 - abs(strength)))),
    "posterize": lambda image, strength: ImageOps.posterize(image, 8 - round(MOST_BITS_LOST * abs(strength))),
    "color": _enhanced(ImageEnhance.Color),
    "contrast": _enhanced(ImageEnhance.Contrast),
    "brightness": _enhanced(ImageEnhance.Brightness),
    "sharpness": _enhanced(ImageEnhance.Sharpness),
}
