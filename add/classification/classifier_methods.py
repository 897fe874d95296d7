"""Methods of a classification comparison: what one classifier is trained on, with and without generated images.

Every method trains the same network with the same number of steps, batch size and learning rates; only the images in
a batch differ. A method is one of METHODS, and one with synthetic images may be followed by one of ADDED; mixup and
cutmix by those of them that change images, which are then mixed:

- `plain`: the real images as they are; `flips`: with flips and quarter turns, as in all that follow;
- `mixup`, `cutmix`: real images, mixed;
- `smoothing`: real images, whose labels have SMOOTHING spread over all classes (Szegedy et al. 2016, arXiv:1512.00567,
  section 7); `sord`: real images, whose labels fall off with the squared distance of ordered classes (SORD, Diaz and
  Marathe 2019, CVPR); `coral`, `corn`: real images, by a border between each two ordered classes
  (`add.classification.ordinal_losses`); `trivialaugment`, `color_jitter`, `stain_jitter`: real images, changed by
  `add.classification.image_changes`; `regression`: real images, by squared error of 0 for the first class to 1 for the
  last; `teacher`: the cross-fitted classifiers that label generated images;
- `features`: a logistic regression on features of EfficientNet-Lite0 of the real images; `features_unconditional`,
  `features_full`, `features_progressive` and `features_progressive@RULE`: of the real images and of generated ones;
  `features_mixup`, their control: of the real images and pairs of them mixed, labelled by the share of pixels;
  `features_trivialaugment`, `features_color_jitter`, `features_stain_jitter`: of the real images and copies of them,
  changed as above;
- `unconditional`: samples of each domain's diffusion model, with hard labels;
- `full`: full translations, the last image of each series, labelled as the target;
- `progressive`: all images of the series, with soft labels; `progressive@RULE` with those of another rule;
- `taught_real`, `taught_mixup`, `taught_unconditional`, `taught_full`, `taught_unlabelled`: controls, which tell what
  the labels bring from what the images bring. Other images with the soft labels that `teacher` gives them: the real
  ones, pairs of them mixed, samples, full translations, and images of unknown class (self-training).

A null of so many flipped copies of the real images is `flips` itself: a batch is drawn from a pool, whatever its size.
"""
import dataclasses
from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from add.classification.classifier import ClassifierConfig, build_for_heads, train_classifier
from add.classification.cross_fitted import CrossFitted, cross_fit, like_state
from add.classification.feature_classifier import FeatureClassifier, fit_features
from add.classification.image_changes import color_jitter, stain_jitter, trivial_augment
from add.classification.label_rules import READABLE_RULES
from add.classification.labelled_images import Labelled
from add.classification.mixing import MIXINGS
from add.errors import UserError
from add.interfaces import Count

SYNTHETIC = ("unconditional", "full", "progressive")
METHODS = ("plain", "flips", "mixup", "cutmix", "unconditional", "full", "progressive")
FURTHER = ("smoothing", "sord", "coral", "corn", "trivialaugment", "color_jitter", "stain_jitter", "regression",
           "features", "teacher")  # if asked for
BASELINES = ("flips", "mixup", "trivialaugment", "stain_jitter", "features")  # what generated images have to beat
MIXED = "mixup"  # the source of pairs of real images, mixed
FEATURES = "features_"  # begins the names of regressions on features of further images than the real ones
TAUGHT = "taught_"  # begins the names of methods whose images the teacher labels
PUPILS = tuple(TAUGHT + images for images in ("real", MIXED, "unconditional", "full", "unlabelled"))
CHANGES = {"trivialaugment": trivial_augment, "color_jitter": color_jitter, "stain_jitter": stain_jitter}
MADE = (MIXED, *CHANGES)  # the sources that are made of the real images
ON_FEATURES = tuple(FEATURES + images for images in (*MADE, *SYNTHETIC))
ADDED_TO_MIXED = tuple("+" + kind for kind in CHANGES)
ADDED = (*("+" + kind for kind in MIXINGS[1:]), *ADDED_TO_MIXED)  # what is done to real and synthetic images alike
SMOOTHING = 0.1
MADE_EACH = 10  # images of a source in MADE, for each real one


class Method(NamedTuple):
    """Method of a comparison.

    source: "" or the kind of further images, one of SYNTHETIC (then @RULE), of MADE or of PUPILS.
    further: "" or the one of FURTHER that it is, or, of CHANGES, that is done to its images as well.
    """

    name: str
    source: str
    mixing: str
    augment: bool
    further: str = ""

    @property
    def images(self) -> str:
        """The kind of synthetic images that it takes, as `source`, whoever labels them; "" where it needs none."""
        images = self.source.removeprefix(TAUGHT)
        return "" if images in ("real", *MADE) else images

    @property
    def on_features(self) -> bool:
        """Whether it is a regression on pretrained features, which takes no steps of a network."""
        return self.further == "features"

    @property
    def needs_teacher(self) -> bool:
        """Whether its images' labels are the teacher's."""
        return self.source.startswith(TAUGHT)


def parse_method(name: str, samples: Iterable[str] = ()) -> Method:
    """Return the `Method` of a name such as "flips" or "progressive+mixup"; raises UserError.

    Args:
        samples: names of further sets of samples with hard labels, methods like `unconditional`.
    """
    known, synthetic = (*METHODS, *FURTHER, *ON_FEATURES, *PUPILS, *samples), (*SYNTHETIC, *samples)
    source, plus, added = name.partition("+")
    base, at, rule = source.partition("@")
    allowed = ADDED if base in synthetic else ADDED_TO_MIXED if base in MIXINGS else ()
    if (base not in known or plus and plus + added not in allowed
            or at and (base.removeprefix(FEATURES) != "progressive" or rule not in READABLE_RULES)):
        raise UserError(f"method {name!r} is unknown: expected one of {', '.join(known)}; those with synthetic "
                        f"images ({', '.join(synthetic)}) may be followed by "
                        f"one of {', '.join(ADDED)}, {' and '.join(MIXINGS[1:])} by {' or '.join(ADDED_TO_MIXED)}, and "
                        f"progressive by @RULE, one of {', '.join(READABLE_RULES)}")
    if base in FURTHER:
        return Method(name, "", "none", True, base)
    if base in ON_FEATURES:
        return Method(name, source.removeprefix(FEATURES), "none", True, "features")
    if base in MIXINGS:
        return Method(name, "", base, True, added)
    source = source if base in (*synthetic, *PUPILS) else ""
    if added in CHANGES:
        return Method(name, source, "none", True, added)
    return Method(name, source, added or "none", base != "plain")


def check_synthetic(methods: Iterable[Method], synthetic: Container[str]) -> None:
    """Raise UserError unless every method's synthetic images are among the sources in `synthetic`."""
    for method in methods:
        if method.images and method.images not in synthetic:
            what = {"full": "--translations", "progressive": "--translations", "unlabelled": "--unlabelled_dir"}.get(
                method.images.split("@")[0], "--samples_dir")
            raise UserError(f"method {method.name} needs synthetic images: expected a folder of them; give {what}, or "
                            f"leave the method out of --methods")


def train_method(method: Method, real: Labelled, synthetic: Mapping[str, Labelled], config: ClassifierConfig,
                 share: float, seed: int, count: Count = lambda number: None, heads: str = "class") -> nn.Module:
    """Return the classifier that one method trains with one seed, in evaluation mode.

    Args:
        real: training images.
        synthetic: {source of a Method: its images}.
        share: of synthetic images in each batch, for a method that has any.
        seed: of weights and batches; methods share it, so that their scores can be compared in pairs.
        count: called with the number of steps since its last call.
        heads: what the classifier says, one of `add.classification.heads.HEADS`.


    Raises:
        UserError: the method's synthetic images are missing.
    """
    check_synthetic([method], synthetic)
    config = config if method.augment else dataclasses.replace(config, augment="none")
    if method.further == "features":
        return fit_features(real, config.augment, seed, synthetic.get(method.source), share)
    if method.further == "teacher":
        return fit_teacher(real, config, seed, count)
    if method.further == "smoothing":
        real = Labelled(real.images, (1 - SMOOTHING) * real.labels + SMOOTHING / real.labels.shape[1])
    elif method.further == "sord":
        real = Labelled(real.images, ordinal_labels(real.labels))
    return train_classifier(real, config, seed, synthetic.get(method.source), share if method.source else 0.0,
                            method.mixing, lambda step, loss: count(1), heads_of(method, heads),
                            CHANGES.get(method.further))


def heads_of(method: Method, heads: str) -> str:
    """Return the heads of a method's classifiers in a comparison of `heads`: some have one of them alone."""
    return {"regression": "severity", "features": "class", "teacher": "class", "coral": "coral", "corn": "corn"}.get(
        method.further, heads)


def network_of(method: Method, network: str, heads: str, num_classes: int, state: Mapping[str, Any]) -> nn.Module:
    """Return the network of a method that a state dict fits, untrained.

    Args:
        network: of the comparison. heads: of the comparison. num_classes: K.
    """
    if method.further == "features":
        return FeatureClassifier(num_classes)
    if method.further == "teacher":
        return like_state(network, state)
    return build_for_heads(network, heads_of(method, heads), num_classes)


def fit_teacher(real: Labelled, config: ClassifierConfig, seed: int, count: Count = lambda number: None) -> CrossFitted:
    """Return the `CrossFitted` classifiers of training images of two classes; no part divides a group.

    Raises:
        UserError: other than two classes.
    """
    if real.labels.shape[1] != 2:
        raise UserError(f"the teacher tells two classes apart, and the images have {real.labels.shape[1]}: leave "
                        f"teacher and {TAUGHT}... out of --methods")
    classes = real.labels.argmax(dim=1)
    low, high = (real.subset(classes == k) for k in (0, 1))
    groups = None if low.groups is None or high.groups is None else (low.groups.tolist(), high.groups.tolist())
    return cross_fit(low.images, high.images, config, seed=seed, count=count, groups=groups)


def taught(method: Method, teacher: CrossFitted, real: Labelled, synthetic: Mapping[str, Labelled], seed: int
           ) -> Labelled:
    """Return the images of a method with the labels that the teacher gives them: its place between the classes.

    Args:
        seed: of the pairs that `taught_mixup` mixes, MADE_EACH for each real image.
    """
    kind = method.source.removeprefix(TAUGHT)
    images = (mixed_pairs(real, seed) if kind == MIXED else real if kind == "real" else synthetic[kind]).images
    place = teacher.positions(images).clamp(0, 1).float()
    return Labelled(images, torch.stack([1 - place, place], dim=1))


def made_of(real: Labelled, source: str, seed: int) -> Labelled:
    """Return MADE_EACH images for each real one, of a source in MADE: mixed pairs, or copies changed at random."""
    if source == MIXED:
        return mixed_pairs(real, seed)
    copies = real.subset(torch.arange(len(real)).repeat(MADE_EACH))
    return Labelled(CHANGES[source](copies.images, torch.Generator().manual_seed(seed)), copies.labels)


def mixed_pairs(real: Labelled, seed: int) -> Labelled:
    """Return MADE_EACH images for each real one, means of two with random weights, and so their labels."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(len(real), size=(2, MADE_EACH * len(real)))
    share = torch.from_numpy(rng.uniform(size=(len(first), 1))).float()
    pixels = share[:, :, None, None]
    return Labelled(pixels * real.images[first] + (1 - pixels) * real.images[second],
                    share * real.labels[first] + (1 - share) * real.labels[second])


def ordinal_labels(labels: torch.Tensor) -> torch.Tensor:
    """Return soft labels [n, K] of ordered classes, softmax of minus the squared distance from the true one (SORD)."""
    grades = torch.arange(labels.shape[1], dtype=labels.dtype)
    return (-(grades - labels.argmax(dim=1, keepdim=True)) ** 2).softmax(dim=1)
