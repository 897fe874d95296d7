"""Exponential moving average of weights."""
from collections.abc import Iterable

import torch


class EMA:
    """Exponential moving average of a list of parameters; `rate_at` gives its rate at each update.

    Args:
        parameters: tensors to follow; they are copied.
        rate: in [0, 1), the share of the average that each update keeps.
        warmup: let the rate rise to `rate`, so that a short run's average covers about its last tenth instead
            of its random start.
    """

    def __init__(self, parameters: Iterable[torch.Tensor], rate: float, warmup: bool = True) -> None:
        self.rate, self.warmup = rate, warmup
        self.parameters = [p.detach().clone() for p in parameters]
        self.updates = 0

    @torch.no_grad()
    def update(self, parameters: Iterable[torch.Tensor]) -> None:
        """Move the average towards `parameters`."""
        rate = rate_at(self.updates, self.rate, self.warmup)
        torch._foreach_lerp_(self.parameters, [p.detach() for p in parameters], 1 - rate)
        self.updates += 1

    @torch.no_grad()
    def copy_from(self, parameters: Iterable[torch.Tensor], updates: int) -> None:
        """Set the average and its number of updates, as read from a checkpoint."""
        for mine, theirs in zip(self.parameters, parameters, strict=True):
            mine.copy_(theirs)
        self.updates = updates


def rate_at(update: int, rate: float, warmup: bool) -> float:
    """Return the rate in force at update n (0-based): min(rate, (1 + n) / (10 + n)) with warm-up, else `rate`."""
    return min(rate, (1 + update) / (10 + update)) if warmup else rate


def share_of_start(rate: float, steps: int, warmup: bool) -> float:
    """Return the share, from 0 to 1, that the first weights still have in the average after `steps` updates."""
    if not warmup:
        return rate ** steps
    share = 1.0
    for update in range(steps):
        share *= rate_at(update, rate, warmup)
        if share < 1e-6:  # by the 17th update at the latest
            return 0.0
    return share
