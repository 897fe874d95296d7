"""Methods of a classification comparison: what one classifier is trained on, with and without generated images.

Every method trains the same network with the same number of steps, batch size and learning rates; only the images in
a batch differ. A method is one of METHODS, and one with synthetic images may be followed by +mixup or +cutmix:

- `plain`: the real images as they are; `flips`: with flips and quarter turns, as in all that follow;
- `mixup`, `cutmix`: real images, mixed;
- `smoothing`: real images, whose labels have SMOOTHING spread over all classes (Szegedy et al. 2016, arXiv:1512.00567,
  section 7); `trivialaugment`, `stain_jitter`: real images, changed by `add.classification.image_changes`;
  `regression`: real images, by squared error of 0 for the first class to 1 for the last;
- `unconditional`: samples of each domain's diffusion model, with hard labels;
- `full`: full translations, the last image of each series, labelled as the target;
- `progressive`: all images of the series, with soft labels; `progressive@RULE` with those of another rule.
"""
import dataclasses
from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from torch import nn

from add.classification.classifier import ClassifierConfig, train_classifier
from add.classification.image_changes import stain_jitter, trivial_augment
from add.classification.label_rules import LABEL_RULES
from add.classification.labelled_images import Labelled
from add.classification.mixing import MIXINGS
from add.errors import UserError
from add.interfaces import Count

METHODS = ("plain", "flips", "mixup", "cutmix", "unconditional", "full", "progressive")
FURTHER = ("smoothing", "trivialaugment", "stain_jitter", "regression")  # without generated images, if asked for
CHANGES = {"trivialaugment": trivial_augment, "stain_jitter": stain_jitter}
SMOOTHING = 0.1
SYNTHETIC = ("unconditional", "full", "progressive")


class Method(NamedTuple):
    """Method of a comparison; `source` is "" or the kind of synthetic images, one of SYNTHETIC, then @RULE if any.

    further: "" or the one of FURTHER that it is.
    """

    name: str
    source: str
    mixing: str
    augment: bool
    further: str = ""


def parse_method(name: str, samples: Iterable[str] = ()) -> Method:
    """Return the `Method` of a name such as "flips" or "progressive+mixup"; raises UserError.

    Args:
        samples: names of further sets of samples with hard labels, methods like `unconditional`.
    """
    known, synthetic = (*METHODS, *FURTHER, *samples), (*SYNTHETIC, *samples)
    source, plus, mixing = name.partition("+")
    base, at, rule = source.partition("@")
    if (base not in known or plus and (base not in synthetic or mixing not in MIXINGS[1:])
            or at and (base != "progressive" or rule not in LABEL_RULES)):
        raise UserError(f"method {name!r} is unknown: expected one of {', '.join(known)}; those with synthetic "
                        f"images ({', '.join(synthetic)}) may be followed by "
                        f"{' or '.join('+' + kind for kind in MIXINGS[1:])}, and progressive by @RULE, one of "
                        f"{', '.join(LABEL_RULES)}")
    if base in FURTHER:
        return Method(name, "", "none", True, base)
    if base in MIXINGS:
        return Method(name, "", base, True)
    return Method(name, source if base in synthetic else "", mixing or "none", base != "plain")


def check_synthetic(methods: Iterable[Method], synthetic: Container[str]) -> None:
    """Raise UserError unless every method's synthetic images are among the sources in `synthetic`."""
    for method in methods:
        if method.source and method.source not in synthetic:
            what = "--translations" if method.source.split("@")[0] in ("full", "progressive") else "--samples_dir"
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
    if method.further == "smoothing":
        real = Labelled(real.images, (1 - SMOOTHING) * real.labels + SMOOTHING / real.labels.shape[1])
    return train_classifier(real, config, seed, synthetic.get(method.source), share if method.source else 0.0,
                            method.mixing, lambda step, loss: count(1), heads_of(method, heads),
                            CHANGES.get(method.further))


def heads_of(method: Method, heads: str) -> str:
    """Return the heads of a method's classifiers in a comparison of `heads`: regression has a severity alone."""
    return "severity" if method.further == "regression" else heads
