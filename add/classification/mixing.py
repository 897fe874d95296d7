"""Mixup and CutMix, the baselines that need no generator: images of a batch mixed in pairs, their labels likewise."""
import math

import numpy as np
import torch

MIXINGS = ("none", "mixup", "cutmix")
MIXUP_ALPHA, CUTMIX_ALPHA = 0.4, 1.0  # of the Beta distribution; values within the papers' recommendations


def mix(images: torch.Tensor, labels: torch.Tensor, kind: str, generator: torch.Generator
        ) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (images [B, C, H, W], labels [B, K]), each image mixed with another of the batch.

    One share of mixing is drawn per batch, as in both papers' own code.

    Args:
        kind: "none"; "mixup", a weighted mean (Zhang et al. 2018, arXiv:1710.09412, Eq. 1); "cutmix", a rectangle
            pasted over (Yun et al. 2019, arXiv:1905.04899, section 3.1). The labels are mixed by the share of pixels.
        generator: on the CPU.
    """
    if kind == "none":
        return images, labels
    if kind == "mixup":
        return mixup(images, labels, draw_beta(MIXUP_ALPHA, generator), draw_order(len(images), generator))
    if kind == "cutmix":
        height, width = images.shape[-2:]
        box = draw_box(height, width, draw_beta(CUTMIX_ALPHA, generator), generator)
        return cutmix(images, labels, box, draw_order(len(images), generator))
    raise ValueError(f"mixing {kind!r} is unknown: expected one of {', '.join(MIXINGS)}")


def mixup(images: torch.Tensor, labels: torch.Tensor, share: float, order: torch.Tensor
          ) -> tuple[torch.Tensor, torch.Tensor]:
    """Return share * (images, labels) + (1 - share) * (images, labels)[order]."""
    return share * images + (1 - share) * images[order], share * labels + (1 - share) * labels[order]


def cutmix(images: torch.Tensor, labels: torch.Tensor, box: tuple[int, int, int, int], order: torch.Tensor
           ) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images with box (top, bottom, left, right) taken from images[order]; labels by what is left."""
    top, bottom, left, right = box
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[order][..., top:bottom, left:right]
    share = 1 - (bottom - top) * (right - left) / (images.shape[-2] * images.shape[-1])
    return mixed, share * labels + (1 - share) * labels[order]


def draw_beta(alpha: float, generator: torch.Generator) -> float:
    """Return a random number from Beta(alpha, alpha), in [0, 1]."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def draw_order(count: int, generator: torch.Generator) -> torch.Tensor:
    """Return a random permutation of the batch, int64 [count]."""
    return torch.randperm(count, generator=generator)


def draw_box(height: int, width: int, share: float, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right) of a rectangle of 1 - share of the image, cut off at the image's border.

    Its centre is uniform over the image; Yun et al. 2019, Eq. 2.
    """
    cut = math.sqrt(1 - share)
    row, column = (torch.rand(2, generator=generator) * torch.tensor([height, width])).tolist()
    top, bottom = (min(max(round(row + sign * cut * height / 2), 0), height) for sign in (-1, 1))
    left, right = (min(max(round(column + sign * cut * width / 2), 0), width) for sign in (-1, 1))
    return top, bottom, left, right
