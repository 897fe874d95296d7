"""The images of a classification comparison: training, validation, test and generated ones, kept apart."""
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from add.classification.classifier_methods import MADE, Method, made_of
from add.classification.classifier_runs import TestSet
from add.classification.grading import DomainSeverities
from add.classification.labelled_images import Domains, Labelled, all_images, read_domains, read_translations
from add.classification.leakage import SourceWatch, copies_together, order_by_class, refuse_copies
from add.data.dataset import ImageSet
from add.data.files import is_url
from add.data.folders import list_domains
from add.data.groups import hint_at_groups, hold_out, read_groups, refuse_shared
from add.data.image_file import read_header
from add.data.severity_table import read_severity
from add.errors import UserError
from add.results.translation_series import DEPTH_RULE, domain_order, read_series
from add.training.training_images import say_trained_on


@dataclasses.dataclass(frozen=True)
class RealImages:
    """Real images: training and validation Domains, [TestSet], and the size in pixels at which all are compared.

    sentences: what the user should know of them. ordered: whether the domains have an order, as any two have.
    groups: of the images of --data_dir, in the order of its folders, or None.
    """

    train: Domains
    validation: Domains
    tests: list[TestSet]
    image_size: int
    sentences: list[str]
    ordered: bool
    groups: list[str] | None


def read_training(config: Any) -> RealImages:
    """Return the `RealImages` that the options of `add.commands.classify`, or `grade`, name, without test sets.

    Raises:
        UserError: folders that are missing or don't fit, or an image or a group that stands on both sides.
    """
    _require("--data_dir", config.data_dir)
    size = config.image_size or _comparison_size(config)
    order = domain_order(config.domains, config.translations, config.data_dir)
    real = read_domains(config.data_dir, size, order, config.skip_bad)
    groups = read_groups(config.data_dir, real.paths, config.group_pattern)
    if groups is not None:
        real = real._replace(data=dataclasses.replace(real.data, groups=np.asarray(groups)))
    if config.val_dir:
        train, validation = real, read_domains(config.val_dir, size, real.names, config.skip_bad)
        refuse_shared(groups, read_groups(config.val_dir, validation.paths, config.group_pattern),
                      "training and validation images")
    else:
        train, validation = _split(real, config, groups)
    refuse_copies(train.data, validation.data, validation.paths, ("training", "validation"))
    sentences = [*real.sentences, *(validation.sentences if config.val_dir else ())]
    if groups is None and (hint := hint_at_groups(config.data_dir, real.paths, depth=2)):
        sentences.append(hint)
    return RealImages(train, validation, [], size, sentences, order is not None or len(real.names) == 2, groups)


def read_real(config: Any) -> RealImages:
    """Return the `RealImages` that the options of `add.commands.classify` name.

    Raises:
        UserError: as `read_training`, and for an image or a group of training that is tested on.
    """
    _require("--data_dir", config.data_dir)
    _require("--test_dir", config.test_dir)
    found = read_training(config)
    sentences, tests = list(found.sentences), []
    seen = found.train.data
    if not config.val_dir:  # then validation images are a part of the training images
        held_out = found.validation.data
        seen = Labelled(torch.cat([seen.images, held_out.images]), torch.cat([seen.labels, held_out.labels]))
    for entry in config.test_dir.split(","):
        name, _, folder = entry.rpartition("=")
        own = read_domains(folder, found.image_size, found.train.names, config.skip_bad)
        refuse_copies(seen, own.data, own.paths, ("training", "test"))
        own_groups = read_groups(folder, own.paths, config.group_pattern)
        refuse_shared(found.groups, own_groups, "training and test images")
        tests.append(TestSet(name or "test", own.data, read_severity(folder, own.paths), own.paths, own_groups))
        sentences += own.sentences
    return dataclasses.replace(found, tests=tests, sentences=sentences)


def sample_folders(text: str) -> dict[str, str]:
    """Return {method: folder} of NAME=FOLDER,NAME=FOLDER; a folder without a name is of the method unconditional."""
    entries = [entry.rpartition("=") for entry in text.split(",") if entry]
    return {name or "unconditional": folder for name, _, folder in entries}


def _require(flag, value):
    if not value:
        raise UserError(f"no {flag} was given: expected a folder with one subfolder of images per domain")


def _comparison_size(config):
    """Return the side of the smallest images: the first training image, and the first ones that were generated."""
    paths = [next(iter(list_domains(config.data_dir).values()))[0]]
    for folder in filter(None, config.translations.split(",")):
        series = read_series(folder)
        paths.append(str(series.folder / series.images[0]))
    paths += [own[0] for folder in config.sample_folders().values() for own in list_domains(folder).values()]
    return min(min(read_header(path)) for path in paths)


def domain_severities(config: Any, real: Domains) -> DomainSeverities | None:
    """Return the `DomainSeverities` of the training images, or None where no severity is known."""
    severity = read_severity(config.data_dir, real.paths)
    if severity is None:
        return None
    own = [severity[real.classes == k] for k in range(len(real.names))]
    return DomainSeverities([float(values.mean()) for values in own],
                            [(float(values.min()), float(values.max())) for values in own])


def read_synthetic(config: Any, methods: Sequence[Method], real: RealImages
                   ) -> tuple[dict[str, Labelled], list[str]]:
    """Return ({source of a Method: Labelled}, sentences) of what the methods need and the options name.

    Series that were made from validation or test images are left out, and a sentence counts them.

    Raises:
        UserError: translations that number the domains otherwise, or all of them made from such images.
    """
    synthetic: dict[str, Labelled] = {}
    left_out: dict[str, int] = {}
    enlarged: list[str] = []
    sets, watches = {"validation": real.validation.paths}, {}
    watches["validation"] = SourceWatch(real.validation.paths, real.validation.classes)
    if real.tests:
        sets["test"] = [path for test in real.tests for path in test.paths]
        watches["test"] = SourceWatch(sets["test"], torch.cat([test.data.labels.argmax(dim=1) for test in real.tests]))
    size, num_domains = real.image_size, len(real.train.names)
    synthetic |= {source: made_of(real.train.data, source, config.seed)
                  for source in sorted({method.source for method in methods} & set(MADE))}
    for source in sorted({method.images for method in methods} - {""}):
        base, _, rule = source.partition("@")
        if source == "unlabelled" and config.unlabelled_dir:
            synthetic[source] = _read_unlabelled(config, real)
        elif source in config.sample_folders():
            synthetic[source] = read_domains(config.sample_folders()[source], size, real.train.names).data
        elif base in ("full", "progressive") and config.translations:
            rule = DEPTH_RULE if base == "full" else rule or config.label_rule
            series, counts = [], dict.fromkeys(watches, 0)
            for folder in config.translations.split(","):
                own = read_series(folder, rule)
                kept = np.ones(len(own), dtype=bool)
                for name, watch in watches.items():
                    found = watch.finds(own)
                    counts[name] += len(set(own.groups[found].tolist()))
                    kept &= ~found
                series.append(own.subset(kept))
            if not any(map(len, series)):
                raise UserError("all series in --translations were made from validation or test images, and none is "
                                "left to train on: expected series of other images; give --val_dir, or translate the "
                                "training images that are left")
            full, progressive = read_translations([own for own in series if len(own)], size, num_domains,
                                                  enlarged.append)
            synthetic[source] = full if base == "full" else progressive
            left_out |= {name: count for name, count in counts.items() if count}
    folders = [*filter(None, config.translations.split(",")), *_folders_below(config.sample_folders().values())]
    seen = [sentence for name, paths in sets.items() for sentence in say_trained_on(folders, paths, name)]
    made = [f"{count} series were made from {name} images and are left out: a classifier would train on what it is "
            f"then scored on" for name, count in left_out.items()]
    return synthetic, [*dict.fromkeys(enlarged), *seen, *made]


def _read_unlabelled(config, real):
    """Return the images of --unlabelled_dir as Labelled whose labels say nothing; none may be a test image."""
    images = ImageSet.from_folder(config.unlabelled_dir, real.image_size, skip_bad=config.skip_bad)
    num_classes = len(real.train.names)
    found = Labelled(all_images(images), torch.full((len(images), num_classes), 1 / num_classes))
    for test in real.tests:
        refuse_copies(found, test.data, test.paths, ("unlabelled", "test"))
    return found


def _folders_below(sample_folders):
    """Return the folders of samples, one per domain, in each of some local folders."""
    return [path for folder in sample_folders if not is_url(folder)
            for path in sorted(Path(folder).iterdir()) if path.is_dir()]


def _split(real, config, groups):
    """Return (training Domains, validation Domains): --val_fraction of each domain is held out, by the seed."""
    if not 0 < config.val_fraction < 1:
        raise UserError(f"--val_fraction is {config.val_fraction}: expected a share between 0 and 1, or --val_dir")
    order = order_by_class(real.classes, torch.Generator().manual_seed(config.seed))
    chosen = hold_out(real.classes.numpy(), config.val_fraction, order.numpy(), copies_together(real.data, groups))
    held_out = order[torch.isin(order, torch.from_numpy(chosen))]  # in that order: the digest of a comparison knows it
    kept = torch.ones(len(real.data), dtype=torch.bool).index_fill(0, held_out, False).nonzero()[:, 0]
    return tuple(real._replace(data=real.data.subset(part), paths=[real.paths[i] for i in part.tolist()])
                 for part in (kept, held_out))
