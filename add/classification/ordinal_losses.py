"""Losses for ordered classes: a classifier says for each border between two of them whether an image lies above it.

- CORAL (Cao, Mirjalili and Raschka 2020, arXiv:1901.07884): one score for all borders and a threshold for each, so that
  an image is never above a higher border and below a lower one; K - 1 binary cross-entropies.
- CORN (Shi, Cao and Raschka 2023, arXiv:2111.08851): border k is learnt of the images above border k - 1 alone, so that
  the products of the conditional probabilities fall from border to border by themselves.

Both take class probabilities as well as class numbers: an image counts for a border by what lies above it.
"""
import torch
from torch import nn
from torch.nn import functional as F

LEAST = 1e-12  # probability of a class, below which its logarithm is cut off


class Thresholds(nn.Module):
    """CORAL's last layer: a score becomes K - 1 logits, one for each border.

    Args:
        num_borders: K - 1.
    """

    def __init__(self, num_borders: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.linspace(1, -1, num_borders) if num_borders > 1 else torch.zeros(1))

    def forward(self, score: torch.Tensor) -> torch.Tensor:
        """Return logits [B, K - 1] of score [B, 1]."""
        return score + self.bias


def coral_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean of CORAL's loss, all borders alike, of border logits [B, K - 1] and labels [B, K]."""
    return F.binary_cross_entropy_with_logits(logits, shares_above(labels), reduction="none").sum(dim=1).mean()


def corn_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return CORN's loss of border logits [B, K - 1] and labels [B, K], a scalar.

    The sum over borders and images, each weighted by the image's share above the border before, over that of weights.
    """
    above = shares_above(labels)
    before = torch.cat([torch.ones_like(above[:, :1]), above[:, :-1]], dim=1)
    terms = above * F.logsigmoid(logits) + (before - above) * F.logsigmoid(-logits)
    return -terms.sum() / before.sum()


def shares_above(labels: torch.Tensor) -> torch.Tensor:
    """Return the share of class probabilities [B, K] above each border, [B, K - 1]."""
    return labels.flip(1).cumsum(dim=1).flip(1)[:, 1:].clamp(0, 1)


def coral_log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Return log class probabilities [B, K] of CORAL's border logits [B, K - 1]."""
    return _between(logits.sigmoid())


def corn_log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Return log class probabilities [B, K] of CORN's border logits [B, K - 1]."""
    return _between(logits.sigmoid().cumprod(dim=1))


def _between(above):
    """Return log class probabilities [B, K] of the probabilities [B, K - 1] to lie above each border."""
    ends = above.new_ones(len(above), 1)
    edges = torch.cat([ends, above, 0 * ends], dim=1)
    return (edges[:, :-1] - edges[:, 1:]).clamp(min=LEAST).log()
