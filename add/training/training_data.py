"""Data of a training run, images of a folder or points: the stream of batches, held-out data and examples."""
import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch

from add.config import split_names
from add.data import BatchStream, ImageSet, holds_domains, to_model_input
from add.data.files import fingerprint, join, relative_name
from add.data.folders import say_few
from add.data.groups import hint_at_groups, read_groups, refuse_shared
from add.data.packed_texts import PackedTexts
from add.data.points import POINT_SETS, PointStream, draw_points
from add.data.prefetched_stream import prefetched
from add.errors import UserError
from add.interfaces import PathLike, Processes, Row
from add.networks import kind_of
from add.training.held_out import MAX_IMAGES
from add.training.run_config import FEWEST_FOR_KID, BaseTrainConfig
from add.training.training_images import HELD_OUT, TRAINED_ON, copies_of

HELD_OUT_POINTS = 2000
MOST_REFERENCES = 256  # images that samples are held against: more cost time at the start and tell little more

Labelled: TypeAlias = tuple[torch.Tensor, torch.Tensor | None]  # (x_start [N, ...], class labels int64 [N] or None)


class Stream(Protocol):
    """An endless iterator over batches (images or points, labels or None) that can be resumed."""

    def __next__(self) -> Labelled: ...

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, the same in all processes."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the last batch of the stream that gave `state`."""

    def close(self) -> None:
        """End what reads ahead."""


@dataclasses.dataclass(frozen=True)
class Source:
    """The data of a run.

    name: the folder, or what stands for it. stream: the training batches of this process.
    held_out, examples: (x_start, labels or None), to measure on and to show; None where there are none.
    facts: the entries of config.json on the data; with "fingerprint", "images" and "classes" (names by label, or None),
        and where images were held out by a share, "held_out_sha256" of their names.
    sentences: for the user. files: the paths that `write_training_images` takes; of points none.
    images: those that are trained on; None of points.
    references: [N, 3, H, W] that samples are held against, None where the config doesn't ask for it.
    """

    name: str
    stream: Stream
    held_out: Labelled | None
    examples: Labelled | None
    facts: Row
    sentences: list[str]
    files: dict[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    images: ImageSet | None = None
    references: torch.Tensor | None = None


def open_source(config: Any, model_config: Any, world: Processes) -> Source:
    """Return the Source of a run.

    Args:
        config: RunConfig of the run's kind. model_config: config of any kind of network.

    Raises:
        UserError: unreadable images, labels that are missing, more classes than the network has, or too few images for
            what --preview_kid measures.
    """
    if kind_of(model_config) == "points":
        return _open_points(config, model_config, world)
    if isinstance(config, BaseTrainConfig):
        return _open_base(config, model_config, world)
    images = read_images(config.data_dir, config, model_config)
    assert images.paths is not None, "the images were read from files"
    groups = read_groups(config.data_dir, images.files, config.group_pattern)
    split: Row = {}
    if getattr(config, "val_data_dir", ""):
        train, held_out = images, read_images(config.val_data_dir, config, model_config, images.class_names)
        refuse_shared(groups, read_groups(config.val_data_dir, held_out.files, config.group_pattern),
                      "training and held-out images")
    else:
        train, held_out = images.split(config.val_fraction, config.seed, groups)
        split["held_out_sha256"] = _digest_names(held_out.names)
    facts = {"images": len(images), "bad": len(images.bad), "classes": images.class_names,
             "fingerprint": fingerprint(config.data_dir, images.paths), "held_out": len(held_out)} | split
    references, told = _references(config, train, held_out)
    stream = _stream(train, config, world)
    return Source(config.data_dir, stream, _whole(held_out, MAX_IMAGES), _whole(train, config.num_preview), facts,
                  _describe(config, images, train, held_out) + told + _hint(config, images, groups, model_config),
                  {TRAINED_ON: train.files, HELD_OUT: held_out.files}, train, references)


def _stream(images, config, world):
    stream = BatchStream(images, config.batch_size, config.seed, world.rank, world.size, config.augment)
    return prefetched(stream, config.workers)


def _references(config, train, held_out):
    """Return ([N, 3, H, W] that --preview_kid measures against, sentences), or (None, []) where it is off.

    Of many images, some that are spread evenly over the set: neighbours in it may be neighbours on a slide.
    """
    count = getattr(config, "preview_kid", 0)
    if not count:
        return None, []
    images, which = (held_out, "held-out") if len(held_out) else (train, "training")
    if len(images) < FEWEST_FOR_KID:
        advice = "raise --val_fraction" if len(held_out) else "give more images"
        raise UserError(f"--preview_kid {count} was given and there are {len(images)} {which} images to measure "
                        f"against: expected {FEWEST_FOR_KID} or more; {advice}, or leave --preview_kid out")
    places = np.linspace(0, len(images) - 1, min(len(images), MOST_REFERENCES)).round().astype(int)
    told = [f"KID (x 1000) of {count} samples against {len(places)} {which} images is measured at each save"]
    if not len(held_out):
        told.append("no images are held out, and a model that repeats its training images gets a good KID: "
                    "--val_fraction 0.1 measures against others")
    return to_model_input(images.batch(places, crop="center")), told


def _open_base(config, model_config, world):
    """Return the Source of the network that several domains start from, without the images that any of them holds out.

    Their held-out images, of all domains, are what it is measured on.
    """
    train: list[str] = []
    held_out: list[str] = []
    bad: list[tuple[str, str]] = []
    groups: dict[str, set[str]] = {TRAINED_ON: set(), HELD_OUT: set()}
    for name in config.parts.split(","):
        folder = join(config.domains_dir, name)
        images = read_images(folder, config, model_config)
        own = read_groups(folder, images.files, config.group_pattern)
        group_of = {} if own is None else dict(zip(images.files, own, strict=True))
        for kept, part, use in zip((train, held_out), images.split(config.val_fraction, config.seed, own),
                                   (TRAINED_ON, HELD_OUT), strict=True):
            kept += part.files
            groups[use] |= {group_of[path] for path in part.files if path in group_of}
        bad += images.bad
    if config.base_data_dir:
        images, listed, sentences = _other_images(config, model_config, held_out, groups[HELD_OUT])
    else:
        images = ImageSet.from_paths(train, model_config.image_size, crop=config.crop, folder=config.domains_dir)
        images.bad, listed, sentences = bad, train + held_out, _say_shared(groups[TRAINED_ON] & groups[HELD_OUT])
    measured = held_out[::max(1, math.ceil(len(held_out) / MAX_IMAGES))]  # of all domains
    names = [relative_name(config.domains_dir, path) for path in held_out]
    facts = {"images": len(listed), "bad": len(images.bad), "classes": None,
             "fingerprint": fingerprint(config.data_dir, listed), "held_out": len(held_out),
             "held_out_sha256": _digest_names(names)}
    measured_set = ImageSet.from_paths(measured, model_config.image_size) if measured else images.subset([])
    references, told = _references(config, images, measured_set)
    stream = _stream(images, config, world)
    return Source(config.data_dir, stream, _whole(measured_set, MAX_IMAGES), _whole(images, config.num_preview), facts,
                  _describe(config, images, images, held_out) + told + sentences,
                  {TRAINED_ON: images.files, HELD_OUT: held_out}, images, references)


def _say_shared(groups):
    """Return a sentence on groups that one domain holds out and another is trained on, or []."""
    if not groups:
        return []
    return [f"{say_few(sorted(groups))}: groups such as patients, of which one domain holds out its images and another "
            f"is trained on its own; held-out losses are those of new images, not of new patients"]


def _other_images(config, model_config, held_out, groups_held_out):
    """Return (ImageSet to train on, all paths, sentences) of --base_data_dir, without what the domains hold out."""
    images = read_images(config.base_data_dir, config, model_config)
    groups = read_groups(config.base_data_dir, images.files, config.group_pattern)
    copies = copies_of(held_out, images.files)
    kept = [place for place in range(len(images))
            if not copies[place] and (groups is None or groups[place] not in groups_held_out)]
    if not kept:
        raise UserError(f"all {len(images)} images of --base_data_dir {config.base_data_dir} are held out by a domain, "
                        f"or of a group that is: expected others to train the base on; give another folder, or leave "
                        f"it out for the domains' own images")
    sentences = []
    if left_out := len(images) - len(kept):
        sentences.append(f"{left_out} of {len(images)} images of {config.base_data_dir} are left out: a domain holds "
                         f"them out, or others of their group")
    if groups is None and groups_held_out:
        sentences.append(f"the domains hold out groups such as patients, and nothing tells those of "
                         f"{config.base_data_dir}: only copies of held-out files are left out; give --group_pattern, "
                         f"or a groups.csv in the folder")
    return images.subset(kept), images.files, sentences


def _digest_names(names):
    digest = hashlib.sha256()
    for place, name in enumerate(PackedTexts.of(names).sorted()):
        digest.update(("\n" if place else "").encode() + name.encode())
    return digest.hexdigest()


def _hint(config, images, groups, model_config):
    """Return a sentence on images held out that look like those of a slide or patient trained on, or []."""
    if not config.val_fraction or groups is not None:
        return []
    hint = hint_at_groups(config.data_dir, images.files, 1 + needs_labels(model_config))
    return [hint] if hint else []


def read_images(folder: PathLike, config: Any, model_config: Any, class_names: Sequence[str] | None = None) -> ImageSet:
    """Return the ImageSet of a folder for a network of images; its subfolders may be the classes.

    Args:
        config: TrainConfig, whose crop, skip_bad and domain are used.
        class_names: the classes that the folder's must be among, in the order of their labels; left out: its own.
    """
    options = {"crop": config.crop, "skip_bad": config.skip_bad}
    size = getattr(model_config, "image_size", None) or model_config.large_size
    if not needs_labels(model_config):
        check_one_domain(folder, config.domain, "; one model of all domains takes --class_cond")
        return ImageSet.from_folder(folder, size, **options)
    if holds_domains(folder):
        order = split_names(config.domains) if config.domains and class_names is None else None
        images = ImageSet.from_domains(folder, size, order, **options)
    else:
        images = ImageSet.from_folder(folder, size, class_cond=True, **options)
    names, labels = images.class_names, images.labels
    assert names is not None and labels is not None, "the images were read with their classes"
    if class_names is not None:
        if unknown := [name for name in names if name not in class_names]:
            raise UserError(f"{folder} has classes that the training images lack ({', '.join(unknown[:5])}): expected "
                            f"some of {', '.join(class_names[:10])}; rename them, or leave them out")
        images.labels = np.array([class_names.index(name) for name in names])[labels]
        images.class_names = names = class_names
    if 0 < model_config.num_classes < len(names):
        raise UserError(f"{folder} has {len(names)} classes, expected at most --num_classes "
                        f"{model_config.num_classes}: raise it")
    return images


def check_one_domain(folder: PathLike, domain: str, more: str = "") -> None:
    """Raise UserError where a folder's subfolders may be domains or parts of one, and --domain doesn't say which.

    Args:
        domain: the option --domain; with one, `folder` is that domain's. more: other advice, for the message.
    """
    if not domain and holds_domains(folder):
        raise UserError(f"{folder} holds subfolders and no images beside them: expected --domain NAME for one of them "
                        f"or --domain all for a model of each, where they are domains, or --domain . where they are "
                        f"the slides or patients of one domain; add one of these{more}")


def needs_labels(model_config: Any) -> bool:
    """Return whether a network is trained with class labels."""
    return kind_of(model_config) == "classifier" or getattr(model_config, "class_cond", False)


def _open_points(config, model_config, world):
    name = POINT_SETS[model_config.task]
    stream = PointStream(model_config.task, config.batch_size, config.seed, world.rank, world.size)
    held_out = torch.from_numpy(draw_points(model_config.task, HELD_OUT_POINTS, np.random.default_rng(0)))
    facts = {"images": None, "bad": 0, "classes": None, "fingerprint": f"points {name}", "held_out": len(held_out)}
    return Source(name, stream, (held_out, None), None, facts,
                  [f"points of the set {name}, drawn anew for every step"])


def _whole(images, most):
    """Return (x_start float32 [N, 3, H, W], labels int64 [N] or None) of the first images, or None of none."""
    if len(images) == 0 or most == 0:
        return None
    chosen = range(min(len(images), most))
    labels = None if images.labels is None else torch.from_numpy(images.labels[:len(chosen)])
    return to_model_input(images.batch(chosen, crop="center")), labels


def _describe(config, images, train, held_out):
    sentences = images.sentences()
    sentences.append(f"{len(train)} training images, {len(held_out)} held out, from {config.data_dir}")
    if images.class_names:
        shown = [f"{number} {name}" for number, name in enumerate(images.class_names[:10])]
        more = ", ..." if len(images.class_names) > 10 else ""
        sentences.append(f"{len(images.class_names)} classes: {', '.join(shown)}{more}")
    if config.batch_size > len(train):
        sentences.append(f"a batch of {config.batch_size} is larger than the set of {len(train)}: images repeat within "
                         f"it")
    return sentences
