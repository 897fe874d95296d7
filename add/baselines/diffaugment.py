"""DiffAugment, differentiable augmentations of real and generated images; Zhao et al. 2020 (arXiv:2006.10738)."""
from collections.abc import Iterable

import torch
from torch.nn import functional as F

from add.baselines.step_draws import Draw
from add.errors import UserError

SHIFT = 1 / 8  # of the side: the largest translation
CUT = 1 / 2  # of the side: the square that is cut out


def parse(policy: str) -> tuple[str, ...]:
    """Return the names in a comma-separated policy, () of an empty one; raises UserError for an unknown name."""
    names = tuple(name.strip() for name in policy.split(",")) if policy.strip() else ()
    unknown = [name for name in names if name not in AUGMENTATIONS]
    if unknown:
        raise UserError(f"diffaugment is {policy!r}: expected some of {', '.join(AUGMENTATIONS)}, with commas between "
                        f"them, or nothing, not {unknown[0]!r}; change --diffaugment")
    return names


def augment(images: torch.Tensor, names: Iterable[str], draw: Draw) -> torch.Tensor:
    """Return images [B, C, S, S] with every augmentation of `names` in turn; each image has its own draws.

    The colours can leave the images' range, as in the paper: clipping them would stop gradients.
    """
    for name in names:
        images = AUGMENTATIONS[name](images, draw)
    return images


def colour(images: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Return images with brightness changed by -0.5 to 0.5, saturation times 0 to 2 and contrast times 0.5 to 1.5."""
    brightness, saturation, contrast = draw.uniform(3, len(images), 1, 1, 1).unbind()
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = grey + 2 * saturation * (images - grey)
    level = images.mean((1, 2, 3), keepdim=True)
    return level + (contrast + 0.5) * (images - level)


def translation(images: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Return images moved by up to an eighth of their side along both axes; zeros come in."""
    size = images.shape[-1]
    reach = round(size * SHIFT)
    windows = F.pad(images, (reach, reach, reach, reach)).unfold(2, size, 1).unfold(3, size, 1)
    rows, columns = draw.integers(2 * reach + 1, 2, len(images)).unbind()
    return windows[torch.arange(len(images), device=images.device), :, rows, columns]


def cutout(images: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Return images with a square of zeros of half their side; its centre lies anywhere in the image."""
    size = images.shape[-1]
    side = round(size * CUT)
    starts = draw.integers(size + 1 - side % 2, 2, len(images), 1) - side // 2
    places = torch.arange(size, device=images.device)
    rows, columns = ((places >= starts) & (places < starts + side)).unbind()  # [B, S] each
    return images * ~(rows[:, None, :, None] & columns[:, None, None, :])


AUGMENTATIONS = {"color": colour, "translation": translation, "cutout": cutout}
