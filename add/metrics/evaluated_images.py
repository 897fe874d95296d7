"""The images of an evaluation: found, brought to one size, and their features."""
from typing import Any, NamedTuple

import numpy as np
import torch

from add.data.dataset import ImageSet
from add.data.files import relative_name
from add.data.folders import list_images, say_others, say_subfolders
from add.data.groups import read_groups
from add.data.image_file import read_header
from add.data.read_images import read_all
from add.data.transforms import to_model_input
from add.errors import UserError
from add.interfaces import Count, Note, PathLike
from add.metrics.image_features import load_features
from add.metrics.set_comparison import Measured
from add.metrics.translation_comparison import TranslationFiles, find_sources, pair_up, read_translation
from add.results.translation_series import DEPTH_RULE, label_path

READ_AT_ONCE = 64  # images
SKIPPED = ("real", "generated", "training", "held-out", "source")  # sets of which --skip_bad may leave some out


class EvaluatedFiles(NamedTuple):
    """The files that are measured: every folder is listed once, and unusable ones are refused before any work.

    sets: {"real", "generated", "training", "held-out", "source": paths}, those that there are.
    translation: of generated images that are a translation; sources: the paths of its source images, [n], or None.
    cycle: paths of source images and of what came back of them, or None.
    """

    sets: dict[str, np.ndarray]
    translation: TranslationFiles | None
    sources: np.ndarray | None
    cycle: tuple[np.ndarray, np.ndarray] | None


def find_files(config: Any, say: Note) -> EvaluatedFiles:
    """Return the `EvaluatedFiles` of an `add.commands.evaluate.EvaluationConfig`.

    Args:
        say: called with a sentence on each folder that is read with its subfolders, or holds other files.

    Raises:
        UserError: a folder that is missing or empty, or images without their counterpart.
    """
    is_translation = label_path(config.fake_dir, DEPTH_RULE).is_file()
    folders = {"real": config.real_dir, "training": config.train_dir or config.real_dir,
               "held-out": config.held_out_dir, "source": config.source_dir,
               "generated": "" if is_translation else config.fake_dir}
    listed = {folder: np.array(list_images(folder)) for folder in dict.fromkeys(folders.values()) if folder}
    for folder, paths in listed.items():
        for sentence in (say_subfolders([relative_name(folder, path) for path in paths]), say_others(folder)):
            if sentence:
                say(f"{folder}: {sentence}")
    sources = cycle = None
    if config.there_and_back:
        there, back = pair_up(config.source_dir, config.there_and_back)
        cycle = np.array(there), np.array(back)
    translation = read_translation(config.fake_dir) if is_translation else None
    if translation is not None and config.source_dir:
        sources = find_sources(translation, config.source_dir)
    return EvaluatedFiles({name: listed[folder] for name, folder in folders.items() if folder}, translation, sources,
                          cycle)


class EvaluatedImages(NamedTuple):
    """All images of an evaluation, of one size, with features but for `cycle`; None where there are none.

    real, fake, train, held_out, domain: sets; the last of the source domain.
    progressive: those of some source images, by source image, then m; sources: these source images.
    cycle: images [n, 3, S, S] and what came back of them.
    counts: {set: {"used": images, "found": images}}. notes: sentences for the report. image_size: S, in pixels.
    """

    real: Measured
    fake: Measured
    train: Measured
    held_out: Measured | None
    progressive: Measured | None
    sources: Measured | None
    domain: Measured | None
    cycle: tuple[torch.Tensor, torch.Tensor] | None
    counts: dict[str, dict[str, int]]
    notes: list[str]
    image_size: int


class ImageReader:
    """Reads the images of an evaluation and their features, each file's once.

    Args:
        config: EvaluationConfig, with a device that is known. files: its files.
        count: called with the number of images whose features were taken.
    """

    def __init__(self, config: Any, files: EvaluatedFiles, count: Count = lambda number: None) -> None:
        self.config, self.files, self.count = config, files, count
        self.notes: list[str] = []
        self.known: dict[str, torch.Tensor] = {}
        self.counts: dict[str, dict[str, int]] = {}
        self.image_size = config.image_size or self._generated_size()
        self.extract = load_features(config.features, torch.device(config.device), config.inception_path)

    @property
    def total(self) -> int:
        """How many images' features are taken, at most."""
        return len({str(path) for paths in self._chosen().values() for path in paths})

    def read_all(self) -> EvaluatedImages:
        """Return the `EvaluatedImages`; raises UserError where some can't be read, or would have to be enlarged."""
        chosen, translation = self._chosen(), self.files.translation
        found = {name: len(paths) for name, paths in self.files.sets.items()}
        if translation is not None:
            found |= {"translated": len(translation.paths), "progressive": translation.paths.size}
        for name, paths in chosen.items():
            self._compare_sizes(list(map(str, paths)), name.removesuffix(" series"))
        read = {}
        for name, paths in chosen.items():
            read[name] = self._read(paths, name.removesuffix(" series"))
            if name in found:
                self.counts[name] = {"used": len(read[name]), "found": found[name]}
        cycle = None
        if self.files.cycle is not None:
            kept = self._choose(len(self.files.cycle[0]))
            there, back = (self._pixels(paths[kept]) for paths in self.files.cycle)
            cycle = there, back
        fake = read["generated"] if translation is None else read["translated"]
        return EvaluatedImages(read["real"], fake, read["training"], read.get("held-out"), read.get("progressive"),
                               read.get("source series"), read.get("source"), cycle, self.counts, self.notes,
                               self.image_size)

    def groups(self, folder: PathLike, measured: Measured) -> list[str] | None:
        """Return the groups of Measured images of a folder, or None."""
        return read_groups(folder, measured.paths, self.config.group_pattern)

    def _chosen(self) -> dict[str, np.ndarray]:
        """Return {name: paths} of all images that are looked at, in the order of reading."""
        sets = {name: paths[self._choose(len(paths))] for name, paths in self.files.sets.items()}
        chosen: dict[str, np.ndarray] = {name: sets[name] for name in ("real", "generated", "training", "held-out")
                                         if name in sets}
        translation = self.files.translation
        if translation is not None:
            series = self._choose(len(translation.paths))
            few = series[:max(1, self.config.max_images // translation.paths.shape[1])]
            chosen |= {"translated": translation.paths[series, -1], "progressive": translation.paths[few].ravel()}
            if self.files.sources is not None:
                chosen |= {"source": sets["source"], "source series": self.files.sources[few]}
        return chosen

    def _generated_size(self):
        """Return the side of the smallest generated image."""
        translation = self.files.translation
        paths = self.files.sets["generated"] if translation is None else translation.paths[:, -1]
        return min(min(sides) for sides in _sides(paths, self.config.skip_bad).values())

    def _choose(self, count):
        """Return the sorted indices of `max_images` of `count` images, or of all."""
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self.config.seed))
        return order[:self.config.max_images].sort().values.numpy()

    def _read(self, paths, which):
        """Return the Measured images of some paths; `which` says in notes what they are."""
        images = ImageSet.from_paths(list(map(str, paths)), self.image_size,
                                     skip_bad=self.config.skip_bad and which in SKIPPED)
        self.notes += [f"{which} images: {sentence}" for sentence in images.sentences()]
        paths = images.files
        pixels = _to_tensor(images)
        new = [i for i, path in enumerate(paths) if path not in self.known]
        for first in range(0, len(new), READ_AT_ONCE):
            part = new[first:first + READ_AT_ONCE]
            self.known |= {paths[i]: row for i, row in zip(part, self.extract(pixels[part]), strict=True)}
            self.count(len(part))
        return Measured(pixels, torch.stack([self.known[path] for path in paths]), paths)

    def _compare_sizes(self, paths, which):
        """Note images that are reduced, and refuse those that would be enlarged, unless that was allowed."""
        sides = {path: min(found) for path, found in _sides(paths, self.config.skip_bad).items()}
        small = [path for path, side in sides.items() if side < self.image_size]
        smallest, largest = min(sides.values()), max(sides.values())
        span = f"{smallest}" if smallest == largest else f"{smallest} to {largest}"
        if small and not self.config.allow_enlarge:
            raise UserError(f"{len(small)} of {len(paths)} {which} images are smaller than {self.image_size} pixels, "
                            f"such as {small[0]} with {sides[small[0]]}: expected no smaller ones, as enlarging them "
                            f"takes away detail and moves every score; take them out, give --allow_enlarge, or compare "
                            f"all at --image_size {smallest}")
        if smallest != self.image_size or largest != self.image_size:
            self.notes.append(f"the {which} images of {span} pixels were brought to {self.image_size}: resizing alone "
                              f"changes features")

    def _pixels(self, paths):
        """Return images [n, 3, S, S] of some paths, without features."""
        self._compare_sizes(list(map(str, paths)), "cycled")
        return _to_tensor(ImageSet.from_paths(list(map(str, paths)), self.image_size))


def _sides(paths, skip_bad):
    """Return {path: (height, width)} of those images that can be read."""
    sides, kept, _ = read_all(list(map(str, paths)), read_header, skip_bad)
    return dict(zip(kept, sides, strict=True))


def _to_tensor(images):
    """Return all images of an ImageSet, float32 [n, 3, S, S] in [-1, 1]."""
    return torch.cat([to_model_input(images.batch(range(first, min(first + READ_AT_ONCE, len(images)))))
                      for first in range(0, len(images), READ_AT_ONCE)])


