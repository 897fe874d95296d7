"""Logistic regression on features of EfficientNet-Lite0: what a small set gives with a network of ImageNet, untrained.

The features are those of the metrics. Every training image counts in all orientations of the augmentation; the strength
of the penalty is chosen by cross-validation of the real images, which divides neither the orientations of an image nor,
where they are known, a group. Generated images with soft labels may stand beside the real ones, each in one
orientation, as there are many: an image counts once for each class, by the class's probability, which makes the
regression's loss the soft cross-entropy.
"""
import functools
import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from add.classification.labelled_images import Labelled
from add.data.transforms import ORIENTATIONS, orient
from add.errors import UserError
from add.metrics import load_features

DIM = 1280
STRENGTHS = tuple(np.logspace(-5, 1, 7).tolist())  # C of scikit-learn
LEAST_SPREAD = 0.05  # of a feature, in medians: one that the real images lack would else count without end
MOST_KEPT = 50_000  # images whose features are kept, 256 MB: all classifiers of a comparison see the same ones
_KEPT: dict[bytes, torch.Tensor] = {}


class FeatureClassifier(nn.Module):
    """A linear layer on features of EfficientNet-Lite0, which is no part of its state.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(DIM, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits [B, K] of x [B, 3, H, W]."""
        return self.head(features_of(x))


def fit_features(real: Labelled, augment: str, seed: int, synthetic: Labelled | None = None, share: float = 0.0,
                 strengths: Sequence[float] = STRENGTHS) -> FeatureClassifier:
    """Return the `FeatureClassifier` of training images, in evaluation mode.

    Args:
        augment: one of ORIENTATIONS. seed: of the parts of the cross-validation.
        synthetic: generated images. share: of the loss that is theirs, in [0, 1); the penalty weighs as without them.
        strengths: of the penalty, C of scikit-learn, to choose from.

    Raises:
        UserError: fewer than 2 images in a class.
    """
    from sklearn.linear_model import LogisticRegression

    orientations = ORIENTATIONS[augment]
    classes = real.labels.argmax(dim=1).numpy()
    if (fewest := int(np.bincount(classes, minlength=real.labels.shape[1]).min())) < 2:
        raise UserError(f"a class has {fewest} training image{'s' * (fewest != 1)}: expected 2 or more of each for a "
                        f"regression on features, whose penalty is chosen with a part of them held out; give more")
    features = np.concatenate([features_of(orient(real.images, [orientation] * len(real))).numpy()
                               for orientation in orientations])
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = spread.clip(min=max(LEAST_SPREAD * float(np.median(spread)), 1e-6))
    features = (features - mean) / spread
    own, images = np.tile(classes, len(orientations)), np.tile(np.arange(len(real)), len(orientations))
    if len(strengths) > 1:
        parts = [] if real.groups is None else _parts(own, np.unique(real.groups, return_inverse=True)[1][images], seed)
        strengths = [_best_strength(features, own, parts or _parts(own, images, seed), strengths)]
    regression = LogisticRegression(max_iter=1000, C=strengths[0])
    if synthetic is None:
        fitted = regression.fit(features, own)
    else:
        turned = orient(synthetic.images, [orientations[i % len(orientations)] for i in range(len(synthetic))])
        more, soft = (features_of(turned).numpy() - mean) / spread, synthetic.labels.numpy()
        rows, places = np.nonzero(soft)
        weights = np.concatenate([np.full(len(own), 1 - share), share * len(own) / len(more) * soft[rows, places]])
        fitted = regression.fit(np.concatenate([features, more[rows]]), np.concatenate([own, places]),
                                sample_weight=weights)
    return as_network(fitted.coef_ / spread, fitted.intercept_ - fitted.coef_ @ (mean / spread), real.labels.shape[1])


def _best_strength(features, classes, parts, strengths):
    """Return the strength whose regressions lose least on the held-out rows of `_parts`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss, make_scorer
    from sklearn.model_selection import GridSearchCV

    loss = make_scorer(log_loss, response_method="predict_proba", greater_is_better=False, labels=np.unique(classes))
    search = GridSearchCV(LogisticRegression(max_iter=1000), {"C": strengths}, scoring=loss, cv=parts, refit=False)
    return search.fit(features, classes).best_params_["C"]


def _parts(classes, groups, seed):
    """Return the parts of a cross-validation, (rows to train on, rows held out), that divide no group.

    Of five at most those whose rows to train on have all classes: none, where a class comes from one group.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    folds = min(5, *(len(np.unique(groups[classes == k])) for k in np.unique(classes)))
    if folds < 2:
        return []
    cut = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return [(train, held_out) for train, held_out in cut.split(classes, classes, groups)
            if len(np.unique(classes[train])) == len(np.unique(classes))]


def as_network(weight: np.ndarray, bias: np.ndarray, num_classes: int) -> FeatureClassifier:
    """Return a `FeatureClassifier` of weights [K, DIM] and biases [K]; of two classes those of the second alone."""
    if num_classes == 2:
        weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    network = FeatureClassifier(num_classes).eval()
    network.load_state_dict({"head.weight": torch.from_numpy(weight).float(),
                             "head.bias": torch.from_numpy(bias).float()})
    return network


def features_of(images: torch.Tensor) -> torch.Tensor:
    """Return the features float32 [n, DIM] of images [n, 3, H, W]."""
    keys = [hashlib.sha256(image.numpy().tobytes()).digest() for image in images.contiguous()]
    new = list({key: place for place, key in enumerate(keys) if key not in _KEPT}.values())
    if len(_KEPT) + len(new) > MOST_KEPT:
        _KEPT.clear()
        new = list({key: place for place, key in enumerate(keys)}.values())
    if new:
        _KEPT.update(zip([keys[place] for place in new], _extractor()(images[new]), strict=True))
    return torch.stack([_KEPT[key] for key in keys]) if keys else torch.empty(0, DIM)


@functools.cache
def _extractor():
    return load_features()
