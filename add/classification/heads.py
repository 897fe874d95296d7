"""Heads of a classifier: what its outputs mean, what each one learns, and by which loss.

- `class`: K logits, taught the class probabilities by cross-entropy.
- `class,severity`: the same K logits, and a severity, 0 for the first class and 1 for the last. Generated images
  between the classes teach the severity alone, so that classes and their calibration come from real labels; those
  within NEAR_END of an end count as images of that class, too.
- `severity`: the severity alone, by regression. Its logits are those of severities that are spread about each class's
  own with the variance SPREAD, the same for all, so that the likeliest class is the nearest one.
- `coral`, `corn`: K - 1 logits of the borders between ordered classes, see `add.classification.ordinal_losses`.

A severity is taught by its squared error, not by cross-entropy: labels 0 and 1 do not drive it beyond both ends.
"""
import torch
from torch.nn import functional as F

from add.classification.labelled_images import expected_positions
from add.classification.ordinal_losses import coral_log_probabilities, coral_loss, corn_log_probabilities, corn_loss

HEADS = ("class", "class,severity", "severity", "coral", "corn")
OFFERED = HEADS[:2]  # to users; the others are methods of their own, regression the third one
ORDINAL = {"coral": (coral_loss, coral_log_probabilities), "corn": (corn_loss, corn_log_probabilities)}
NEAR_END = 0.1  # of the label on other classes, at most
SPREAD = 0.25


def num_outputs(heads: str, num_classes: int) -> int:
    """Return the number of a network's outputs."""
    return {"class": num_classes, "class,severity": num_classes + 1, "severity": 1, "coral": num_classes - 1,
            "corn": num_classes - 1}[heads]


def targets_of(labels: torch.Tensor, heads: str, generated: bool = False) -> torch.Tensor:
    """Return what the heads are taught of images with class probabilities [n, K], float [n, K] or [n, K + 2].

    With a severity these are the class probabilities, 1 where the image teaches the class or else 0, and the severity.
    Images that are mixed mix all of it.

    Args:
        generated: whether the images are generated ones.
    """
    if heads == "class" or heads in ORDINAL:
        return labels
    teaches = torch.ones(len(labels), 1)
    severity = expected_positions(labels)[:, None]
    if generated:
        likeliest, number = labels.max(dim=1, keepdim=True)
        teaches = (likeliest >= 1 - NEAR_END).float()
        labels = torch.zeros_like(labels).scatter(1, number, 1.0)
    return torch.cat([labels, teaches, severity], dim=1)


def heads_loss(outputs: torch.Tensor, targets: torch.Tensor, heads: str) -> torch.Tensor:
    """Return the loss of outputs [B, ...] of a network, a scalar, by the `targets_of` its images.

    Cross-entropy, its mean over the images that teach the class, plus the mean squared error of the severity. A mixed
    image teaches the class where both of its parts do.
    """
    if heads == "class":
        return soft_cross_entropy(outputs, targets)
    if heads in ORDINAL:
        return ORDINAL[heads][0](outputs, targets)
    loss = F.mse_loss(outputs[:, -1], targets[:, -1])
    teaches = targets[:, -2] > 1 - 1e-4
    if heads == "severity" or not teaches.any():
        return loss
    return loss + soft_cross_entropy(outputs[teaches, :-1], targets[teaches, :-2])


def read_outputs(outputs: torch.Tensor, heads: str, num_classes: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return (logits [n, K], severity float64 [n], not cut off, or None) of a network's outputs [n, ...]."""
    if heads == "class":
        return outputs, None
    if heads in ORDINAL:
        return ORDINAL[heads][1](outputs), None
    severity = outputs[:, -1].double()
    if heads == "class,severity":
        return outputs[:, :-1], severity
    distances = severity[:, None] - torch.linspace(0, 1, num_classes, dtype=torch.float64)
    return -distances**2 / (2 * SPREAD), severity


def soft_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean over the batch of -sum_k p_k log q_k, from logits [B, K] and class probabilities [B, K]."""
    return -(labels * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
