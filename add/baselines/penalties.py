"""Penalties on gradients that more than one method has."""
import torch


def r1_penalty(scores, images):
    """Return the mean over images of the squared norm of their score's gradient; arXiv:1801.04406, Eq. 9.

    Args:
        scores: [B], row i made from images [B, C, H, W], which require gradients.
    """
    gradient, = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1).mean()
