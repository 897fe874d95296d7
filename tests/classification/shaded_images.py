"""Toy images of two domains, whose truth is their brightness."""
import torch

BRIGHTNESS = 0.5  # of the target domain; the source has minus that


def shaded(levels, noise=0.3, seed=0, size=8):
    """Return noisy images [n, 3, size, size] of these mean levels."""
    generator = torch.Generator().manual_seed(seed)
    patterns = noise * torch.randn(len(levels), 3, size, size, generator=generator)
    return patterns + torch.as_tensor(levels, dtype=torch.float32)[:, None, None, None]


def domain(sign, count=10, seed=0):
    return shaded(torch.full((count,), sign * BRIGHTNESS), seed=seed)


def ranks(values):
    return torch.as_tensor(values).argsort().argsort().double()


def rank_correlation(first, second):
    return torch.corrcoef(torch.stack([ranks(first), ranks(second)]))[0, 1].item()
