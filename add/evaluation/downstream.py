"""Do the generated images help? Methods that train one classifier with and without them.

Every method trains the same network with the same number of steps, batch size and learning rates; only the images in
a batch differ. A method is one of METHODS, and one with synthetic images may be followed by +mixup or +cutmix:

- `plain`: the real images as they are; `flips`: with flips and quarter turns, as in all that follow;
- `mixup`, `cutmix`: real images, mixed;
- `unconditional`: samples of each domain's diffusion model, with hard labels;
- `full`: full translations, the last image of each series, labelled as the target;
- `progressive`: all images of the series, with soft labels; `progressive@RULE` with those of another rule.
"""
import dataclasses
from typing import NamedTuple

import torch

from add.data.dataset import ImageSet
from add.data.folders import list_domains
from add.data.series import read_series
from add.data.transforms import to_model_input
from add.errors import UserError
from add.evaluation.classifier import Labelled, one_hot, train_classifier
from add.evaluation.label_rules import LABEL_RULES
from add.evaluation.mixing import MIXINGS

METHODS = ("plain", "flips", "mixup", "cutmix", "unconditional", "full", "progressive")
SYNTHETIC = ("unconditional", "full", "progressive")


class Method(NamedTuple):
    """How a method trains. `source` is "" or the kind of synthetic images, one of SYNTHETIC, then @RULE if any."""

    name: str
    source: str
    mixing: str
    augment: bool


class Domains(NamedTuple):
    """Real images by domain: their names, in the order of the label vectors, and the images with hard labels."""

    names: tuple
    data: Labelled
    paths: list

    @property
    def classes(self):
        """The class number of every image, int64 [n]."""
        return self.data.labels.argmax(dim=1)

    def of(self, number):
        """Return the images [n_k, 3, H, W] of one domain."""
        return self.data.images[self.classes == number]


def parse_method(name, samples=()):
    """Return the `Method` of a name such as "flips" or "progressive+mixup"; raises UserError.

    Args:
        samples: names of further sets of samples with hard labels, methods like `unconditional`.
    """
    known, synthetic = (*METHODS, *samples), (*SYNTHETIC, *samples)
    source, plus, mixing = name.partition("+")
    base, at, rule = source.partition("@")
    if (base not in known or plus and (base not in synthetic or mixing not in MIXINGS[1:])
            or at and (base != "progressive" or rule not in LABEL_RULES)):
        raise UserError(f"method {name!r} is unknown: expected one of {', '.join(known)}; those with synthetic "
                        f"images ({', '.join(synthetic)}) may be followed by "
                        f"{' or '.join('+' + kind for kind in MIXINGS[1:])}, and progressive by @RULE, one of "
                        f"{', '.join(LABEL_RULES)}")
    if base in MIXINGS:
        return Method(name, "", base, True)
    return Method(name, source if base in synthetic else "", mixing or "none", base != "plain")


def read_domains(root, image_size, names=None):
    """Return the `Domains` in a folder with one subfolder each; `names` gives another order than the sorted one."""
    found = list_domains(root)
    names = tuple(names or found)
    if set(names) != set(found):
        raise UserError(f"{root} holds the domains {', '.join(found)}: expected {', '.join(names)}; give all of them, "
                        f"in the order of the label vectors, with --domains")
    paths = [path for name in names for path in found[name]]
    classes = torch.cat([torch.full((len(found[name]),), k) for k, name in enumerate(names)])
    images = ImageSet.from_paths(paths, image_size)
    return Domains(names, Labelled(all_images(images), one_hot(classes, len(names))), paths)


def all_images(image_set):
    """Return all images of an ImageSet, float32 [n, 3, H, W] in [-1, 1]."""
    return to_model_input(image_set.batch(range(len(image_set))))


def read_translations(folders, image_size, rule, num_classes):
    """Return (full, progressive), both Labelled, of finished translation folders.

    Args:
        rule: whose soft labels the progressive images carry.
    """
    images, soft, last, targets = [], [], [], []
    for folder in folders:
        series = read_series(folder, rule)
        if series.labels.shape[1] != num_classes:
            raise UserError(f"{folder} has soft labels of {series.labels.shape[1]} domains: expected {num_classes}, as "
                            f"many as the training images have; translate with --num_domains {num_classes}")
        images.append(all_images(series.image_set(image_size)))
        soft.append(torch.from_numpy(series.labels).float())
        last.append(torch.from_numpy(series.m == series.amount))
        targets.append(torch.full((len(series),), series.target))
    images, soft, last, targets = (torch.cat(parts) for parts in (images, soft, last, targets))
    return Labelled(images[last], one_hot(targets[last], num_classes)), Labelled(images, soft)


def check_synthetic(methods, synthetic):
    """Raise UserError unless every method's synthetic images are there."""
    for method in methods:
        if method.source and method.source not in synthetic:
            what = "--translations" if method.source.split("@")[0] in ("full", "progressive") else "--samples_dir"
            raise UserError(f"method {method.name} needs synthetic images: expected a folder of them; give {what}, or "
                            f"leave the method out of --methods")


def train_method(method, real, synthetic, config, share, seed):
    """Return the classifier of one method and seed.

    Args:
        method: Method.
        real: Labelled training images.
        synthetic: {source of a Method: Labelled}.
        config: ClassifierConfig.
        share: of synthetic images in each batch, for a method that has any.
        seed: of weights and batches; methods share it, so that their scores can be compared in pairs.

    Raises:
        UserError: the method's synthetic images are missing.
    """
    check_synthetic([method], synthetic)
    config = config if method.augment else dataclasses.replace(config, augment="none")
    return train_classifier(real, config, seed, synthetic.get(method.source), share if method.source else 0.0,
                            method.mixing)
