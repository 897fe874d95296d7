"""Cross-fitted classifiers of two classes: the ensemble that labels generated images by how far they have come.

Each member learns from the real images but one part, and that part says where its log-odds stand for
either class. The members' places are averaged, and so are the eight orientations of an image.
"""
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from add.classification.classifier import ClassifierConfig, build_network, predict_logits, train_classifier
from add.classification.label_rules import line_between
from add.classification.labelled_images import Labelled, one_hot
from add.data.groups import divide_by_group
from add.data.transforms import ORIENTATIONS, orient
from add.errors import UserError
from add.interfaces import Count

Fit: TypeAlias = Callable[[Labelled, int], nn.Module]
LABEL_FOLDS = 5  # members


class CrossFitted(nn.Module):
    """Some classifiers of two classes as one.

    Args:
        members: networks, x [B, 3, H, W] -> logits [B, 2].
        lows, highs: float64 [members], the mean log-odds of held-out images of the first and of the second class.
        left_out: how many more were trained that could not tell their held-out images apart.
    """

    lows: torch.Tensor
    highs: torch.Tensor

    def __init__(self, members: Sequence[nn.Module], lows: torch.Tensor, highs: torch.Tensor, left_out: int = 0
                 ) -> None:
        super().__init__()
        self.left_out = left_out
        self.members = nn.ModuleList(members)
        self.register_buffer("lows", lows)
        self.register_buffer("highs", highs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits [B, 2] of x [B, 3, H, W]: 0, and the members' mean log-odds of the second class."""
        log_odds = torch.stack([mean_log_odds(member, x) for member in self.members]).mean(dim=0).float()
        return torch.stack([torch.zeros_like(log_odds), log_odds], dim=1)

    def positions(self, images: torch.Tensor) -> torch.Tensor:
        """Return positions float64 [n] of images [n, 3, H, W]: 0 at the first class's mean, 1 at the second's."""
        return torch.stack([line_between(mean_log_odds(member, images), low[None], high[None])
                            for member, low, high in zip(self.members, self.lows, self.highs, strict=True)]).mean(dim=0)


def cross_fit(source: torch.Tensor, target: torch.Tensor, config: ClassifierConfig, folds: int = LABEL_FOLDS,
              seed: int = 0, count: Count = lambda number: None,
              groups: tuple[Sequence[str], Sequence[str]] | None = None, fit: Fit | None = None) -> CrossFitted:
    """Return the `CrossFitted` classifiers of two sets of real images, [a, 3, H, W] and [b, 3, H, W].

    Args:
        folds: members, each trained without one part of the images. No more than images, or groups, in a class; and
            fewer, where groups that have images of both classes can't be divided into so many.
        seed: of the parts and the training.
        count: called with 1 after each training step, of which there are folds * config.steps.
        groups: of the source and of the target images, such as slides, which no part divides; or None.
        fit: fit(images, seed) -> a member; left out: one trained by `config`, with mixup.

    A member that can't tell the classes of its held-out part apart, which happens where that is one odd slide, has no
    line to place images on and is left out.

    Raises:
        UserError: fewer than 2 images in a class, or no member that can tell the classes apart.
    """
    fewest = min(len(source), len(target))
    if fewest < 2:
        raise UserError(f"the rule classifier was given {len(source)} source and {len(target)} target images: "
                        f"expected 2 or more of each, better 30; give more, or take the rule depth")
    folds = min(folds, fewest, *(len(set(own)) for own in groups or ()))
    generator = torch.Generator().manual_seed(seed)
    if groups is None:
        orders = [torch.randperm(len(domain), generator=generator) for domain in (source, target)]
        parts = [[order[fold::folds] for fold in range(folds)] for order in orders]
    else:
        order = torch.randperm(len({*groups[0], *groups[1]}), generator=generator)
        numbers = _divided(groups, folds, order)
        folds = int(max(own.max() for own in numbers)) + 1
        parts = [[torch.from_numpy(np.flatnonzero(own == fold)) for fold in range(folds)] for own in numbers]
    members: list[nn.Module] = []
    ends = []
    for fold in range(folds):
        held_out = [domain[own[fold]] for domain, own in zip((source, target), parts, strict=True)]
        rows = [torch.cat([own[other] for other in range(folds) if other != fold]) for own in parts]
        classes = torch.cat([torch.full((len(own),), k) for k, own in enumerate(rows)])
        known = None if groups is None else np.concatenate([
            np.asarray(own)[chosen.numpy()] for own, chosen in zip(groups, rows, strict=True)])
        images = Labelled(torch.cat([source[rows[0]], target[rows[1]]]), one_hot(classes, 2), known)
        member = fit(images, seed + fold) if fit is not None else train_classifier(
            images, config, seed + fold, mixing="mixup", on_step=lambda step, loss: count(1))
        scores = [mean_log_odds(member, part) for part in held_out]
        try:
            line_between(scores[0], *scores)
        except UserError:
            if fold == folds - 1 and not members:
                raise
            continue
        members.append(member)
        ends.append([own.mean() for own in scores])
    lows, highs = (torch.stack(own) for own in zip(*ends, strict=True))
    return CrossFitted(members, lows, highs, folds - len(members))


def _divided(groups, folds, order):
    """Return `divide_by_group` of as many folds as it can, `folds` at most and 2 at least."""
    while True:
        try:
            return divide_by_group(groups, folds, order)
        except UserError:
            if folds <= 2:
                raise
            folds -= 1


def like_state(network: str, state: Mapping[str, Any]) -> CrossFitted:
    """Return untrained `CrossFitted` classifiers of a name in NETWORKS that a state dict of some fits."""
    ends = torch.zeros(len(state["lows"]), dtype=torch.float64)
    return CrossFitted([build_network(network, 2).eval() for _ in ends], ends, ends.clone())


@torch.no_grad()
def mean_log_odds(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the log-odds of class 1, float64 [n], averaged over the orientations of images [n, 3, H, W]."""
    logits = [predict_logits(network, orient(images, [orientation] * len(images))).double()
              for orientation in ORIENTATIONS["dihedral"]]
    return torch.stack([part[:, 1] - part[:, 0] for part in logits]).mean(dim=0)
