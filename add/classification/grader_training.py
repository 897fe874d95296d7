"""Train a grader: the ensemble of one method, calibrated by validation images."""
from collections.abc import Sequence

import torch

from add.classification.classifier_methods import Method
from add.classification.classifier_runs import ClassifierRuns, as_one
from add.classification.comparison_data import RealImages
from add.classification.familiarity import fit_familiarity
from add.classification.feature_classifier import features_of
from add.classification.grader import Grader, fit_calibration, load_members, read_member
from add.classification.labelled_images import Labelled
from add.classification.scores import classification_scores
from add.interfaces import Count, Row

_CHUNK = 256  # images whose features are computed at a time


def train_grader(images: RealImages, method: Method, share: float, runs: ClassifierRuns, seeds: Sequence[int],
                 facts: Row, count: Count = lambda number: None) -> Grader:
    """Return the `Grader` of the classifiers of one method, trained now where they are not there.

    Args:
        images: real ones. share: of generated images in each batch, 0 for a method without any.
        runs: where the classifiers are kept, with the generated images of the method.
        facts: of the training, for the grader's card; scores and numbers of images are added.
        count: called with the number of steps since its last call.
    """
    for seed in seeds:
        runs.train(method, share, seed, count)
    states = tuple(runs.weights(method, share, seed) for seed in seeds)
    num_classes, validation = len(images.train.names), images.validation.data
    members = load_members(states, method.name, runs.config.network, runs.heads, num_classes)
    readings = [read_member(member, validation.images, method.name, runs.heads, num_classes) for member in members]
    classes = images.validation.classes
    generated = runs.synthetic.get(method.source) if method.images else None
    known = [images.train.data.images, *([] if generated is None else [generated.images])]
    familiarity = fit_familiarity(torch.cat([_features(part) for part in known]), _features(validation.images),
                                  torch.Generator().manual_seed(seeds[0]))
    facts = facts | {"num_train": _counts(images.train.names, images.train.data), "num_validation": len(validation),
                     "num_generated": 0 if generated is None else len(generated), "share": share,
                     "validation": classification_scores(as_one(readings).logits, classes)}
    return Grader(images.train.names, images.image_size, method.name, runs.config.network, runs.heads, states,
                  fit_calibration(readings, classes), familiarity, facts)


def _features(images):
    return torch.cat([features_of(part) for part in images.split(_CHUNK)])


def _counts(names: Sequence[str], data: Labelled) -> dict[str, int]:
    return {name: int((data.labels.argmax(dim=1) == k).sum()) for k, name in enumerate(names)}
