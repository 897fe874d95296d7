"""Soft labels of progressive images: class probabilities by the place in the series."""
from collections.abc import Sequence
from itertools import pairwise

import torch

from add.errors import UserError


def soft_labels(amount: int, source: int, target: int, num_domains: int = 2, gamma: float = 1.0) -> torch.Tensor:
    """Return float64 [amount, num_domains]: row m - 1 has (m / amount)^gamma on `target`, the rest on `source`.

    Rows sum to 1; the last one is a full translation. ADD (arXiv:2311.12316) has gamma = 1, Diff-Mix
    (arXiv:2403.19600) 0.8, since images look like the target before their label on the straight line says so.

    Args:
        amount: number of progressive images, N >= 1.
        source, target: different domain numbers, 0 to num_domains - 1.
        gamma: exponent, more than 0.
    """
    if amount < 1:
        raise UserError(f"amount {amount}: expected at least 1 image; raise --amount")
    if source == target or not (0 <= source < num_domains and 0 <= target < num_domains):
        raise UserError(f"source {source} and target {target} of {num_domains} domains: expected two different "
                        f"numbers from 0 to {num_domains - 1}; set --source and --target")
    if not gamma > 0:
        raise UserError(f"gamma {gamma}: expected more than 0; 1 labels by the place in the series")
    weight = (torch.arange(1, amount + 1, dtype=torch.float64) / amount) ** gamma
    labels = torch.zeros(amount, num_domains, dtype=torch.float64)
    labels[:, source] = 1 - weight
    labels[:, target] = weight
    return labels


def chain_labels(amount: int, domains: Sequence[int], num_domains: int) -> torch.Tensor:
    """Return the soft labels of a chain, float64 [(K - 1) N, num_domains]: on each leg from one domain to the next.

    Raises:
        UserError: fewer than two domains, one that comes twice, or numbers outside the label vectors.
    """
    if len(domains) != 2 and len(set(domains)) < max(2, len(domains)):
        raise UserError(f"the way leads through the domains {', '.join(map(str, domains))}: expected two different "
                        f"domain numbers or more, and none of them twice; correct --source, --target or --pairs")
    return torch.cat([soft_labels(amount, *leg, num_domains) for leg in pairwise(domains)])


def series_labels(amount: int, domains: Sequence[int], num_domains: int,
                  points: torch.Tensor | None = None) -> torch.Tensor:
    """Return the soft labels of a way through domains: those of its chain, or the given weights of its domains.

    Args:
        points: float64 [M, K], of the K domains on the way; the labels are then [M, num_domains].
    """
    labels = chain_labels(amount, domains, num_domains)
    if points is None:
        return labels
    labels = torch.zeros(len(points), num_domains, dtype=torch.float64)
    labels[:, list(domains)] = points.double()
    return labels
