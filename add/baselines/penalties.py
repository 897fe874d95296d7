"""Penalties on gradients of scores and of images."""
import math

import torch


def r1_penalty(scores, images):
    """Return the mean over images of the squared norm of their score's gradient; arXiv:1801.04406, Eq. 9.

    Args:
        scores: [B], row i made from images [B, C, H, W], which require gradients.
    """
    gradient, = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1).mean()


def path_lengths(images, latents, noise):
    """Return [B]: how much images change with their latents, |J^T y| of arXiv:1912.04958 Eq. 4, y of variance 1 / S^2.

    Latents of several layers count by the root of the mean of their squared lengths.

    Args:
        images: [B, 3, S, S] made from latents [B, L, D], which require gradients. noise: normal [B, 3, S, S].
    """
    height, width = images.shape[2:]
    projected = torch.linalg.vecdot(images.flatten(1), noise.flatten(1)).sum() / math.sqrt(height * width)
    gradient, = torch.autograd.grad(projected, latents, create_graph=True)
    return torch.linalg.vector_norm(gradient, dim=(1, 2)) / math.sqrt(latents.shape[1])
