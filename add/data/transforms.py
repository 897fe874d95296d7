"""Transforms between an image file's pixels and a model's input: crops, value ranges, orientations.

Cropping follows ADM (Dhariwal and Nichol 2021, arXiv:2105.05233): an image at least twice too large is halved
by box averages until it is not, which keeps every pixel's share; bicubic resizing does the rest.
"""
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image

Images = TypeVar("Images", np.ndarray, torch.Tensor)

# An orientation is 4 * mirrored + quarter turns: mirror left-right first, then turn counter-clockwise.
ORIENTATIONS = {
    "none": (0,),
    "mirror": (0, 4),  # left-right only, guided-diffusion's random_flip
    "flips": (0, 2, 4, 6),  # left-right, up-down and both
    "dihedral": (0, 1, 2, 3, 4, 5, 6, 7),  # all flips and quarter turns of a square
}


def center_crop(image: np.ndarray, image_size: int) -> np.ndarray:
    """Return the largest central square, resized: uint8 [image_size, image_size, 3].

    Args:
        image: uint8 [H, W, 3], of any size; a smaller one is enlarged.
        image_size: side of the result, in pixels.
    """
    pixels = _resize_shorter_side(image, image_size)
    return _cut(pixels, (pixels.shape[0] - image_size) // 2, (pixels.shape[1] - image_size) // 2, image_size)


def place_random_crop(image: np.ndarray, image_size: int, uniforms: Sequence[float] | np.ndarray,
                      share_range: tuple[float, float] = (0.8, 1.0)) -> np.ndarray:
    """Return the square that three random numbers choose, resized: uint8 [image_size, image_size, 3].

    Args:
        image: uint8 [H, W, 3], of any size; a smaller one is enlarged.
        image_size: side of the result, in pixels.
        uniforms: three numbers in [0, 1): size, then row, then column.
        share_range: least and most of the shorter side that the square spans, in (0, 1]; ADM's values.
    """
    least, most = share_range
    if not 0 < least <= most <= 1:
        raise ValueError(f"share_range {share_range} cannot be cropped to: expected 0 < least <= most <= 1")
    share = least + uniforms[0] * (most - least)
    pixels = _resize_shorter_side(image, math.ceil(image_size / share))
    row = int(uniforms[1] * (pixels.shape[0] - image_size + 1))
    column = int(uniforms[2] * (pixels.shape[1] - image_size + 1))
    return _cut(pixels, row, column, image_size)


def to_model_input(images: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Return float32 [B, 3, H, W] in [-1, 1], x / 127.5 - 1, from uint8 [B, H, W, 3].

    Arrays stay in numpy, on one thread: where other processes keep the cores
    busy, waiting for torch's threads took 150 ms a batch instead of 1.
    """
    if str(images.dtype) not in ("uint8", "torch.uint8") or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images are {images.dtype} {list(images.shape)}: expected uint8 [B, H, W, 3]")
    if isinstance(images, torch.Tensor):
        return images.permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)
    return torch.from_numpy(channels_first / np.float32(127.5) - np.float32(1))


def to_uint8(x: torch.Tensor) -> torch.Tensor:
    """Return uint8 [B, H, W, 3] from float x [B, 3, H, W] in [-1, 1]; values outside are clamped.

    guided-diffusion's convention, which cuts the fraction off instead of rounding it: pixels agree with what
    its scripts save, and an image that goes through `to_model_input` and back may come out darker by 1.
    """
    return ((x + 1) * 127.5).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def augment(batch: torch.Tensor, generator: torch.Generator, kinds: str = "flips") -> torch.Tensor:
    """Return batch [B, 3, H, W] with every image in an orientation of its own, drawn uniformly.

    Args:
        batch: of any dtype; left unchanged.
        generator: on the CPU; the same state gives the same orientations.
        kinds: "none", "mirror", "flips" or "dihedral"; see ORIENTATIONS.
    """
    choices = torch.tensor(orientations_of(kinds))
    drawn = torch.randint(len(choices), (len(batch),), generator=generator)
    return orient(batch, choices[drawn])


def orientations_of(kinds: str) -> tuple[int, ...]:
    """Return the orientations that an augmentation chooses from."""
    if kinds not in ORIENTATIONS:
        raise ValueError(f"augmentation {kinds!r} is unknown: expected one of {', '.join(ORIENTATIONS)}")
    return ORIENTATIONS[kinds]


def orient(batch: Images, orientations: ArrayLike) -> Images:
    """Return batch [B, C, H, W] with image i mirrored and turned as orientations[i] says.

    Args:
        batch: of any dtype; left unchanged.
        orientations: ints [B] in [0, 8): 4 * mirrored + counter-clockwise quarter turns; odd ones need H = W.
    """
    orientations = np.asarray(orientations)
    if (orientations % 2).any() and batch.shape[-1] != batch.shape[-2]:
        raise ValueError(f"images of {batch.shape[-2]} x {batch.shape[-1]} cannot make quarter turns: "
                         f"expected squares; use the augmentation flips")
    library: Any = torch if torch.is_tensor(batch) else np  # flip and rot90 mean the same in both
    result = library.empty_like(batch)
    for orientation in np.unique(orientations).tolist():
        here = np.flatnonzero(orientations == orientation)
        images = library.flip(batch[here], (-1,)) if orientation >= 4 else batch[here]
        result[here] = library.rot90(images, orientation % 4, (-2, -1))
    return result


def _resize_shorter_side(image, length):
    """Return uint8 [H, W, 3] with the sides' proportion kept and the shorter one of `length` pixels."""
    image = Image.fromarray(np.ascontiguousarray(image))
    while min(image.size) >= 2 * length:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = length / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def _cut(pixels, row, column, side):
    return pixels[row:row + side, column:column + side]
