"""Make samples of a baseline that `add baseline_train` has trained.

The same command again continues.
"""
import dataclasses
import time
from pathlib import Path
from typing import Any, ClassVar

import torch

from add.baselines.baseline_models import load_rival
from add.baselines.baseline_setup import references_of
from add.commands.shared.after_sampling import describe_samples
from add.commands.shared.sample_job import SAMPLING_GROUPS, samples_bytes
from add.config import (
    MOST_BATCH,
    MOST_IMAGES,
    Checked,
    HelpGroups,
    device_option,
    estimate_option,
    max_pixels_option,
    option,
    path_option,
    seed_option,
    threads_option,
    timeout_option,
)
from add.data import ImageSet, holds_domains
from add.data.files import fingerprint, save_json
from add.data.transforms import to_uint8
from add.errors import UserError
from add.results.sample_folder import SamplesFolder
from add.runtime.cost_lines import work_lines
from add.runtime.given_models import run_facts, sha256
from add.runtime.options import Options
from add.runtime.progress import EvaluationBar, processes_and_bar
from add.runtime.shares import take_share
from add.runtime.world import World
from add.training.step_costs import mean_seconds


@dataclasses.dataclass(frozen=True)
class BaselineSampleConfig(Checked):
    """Sampling a baseline."""

    help_groups: ClassVar[HelpGroups] = SAMPLING_GROUPS

    model_path: str = path_option("", "checkpoint or run folder of `add baseline_train`", "model")
    num_samples: int = option(100, "images to make", least=1, most=MOST_IMAGES)
    batch_size: int = option(16, "images at a time", least=1, most=MOST_BATCH)
    data_dir: str = path_option("", "lofgan only: folder of images of one class, or of one subfolder per class, to "
                                    "fuse; several classes take turns", "images")
    max_pixels: int = max_pixels_option()
    save_npz: bool = option(False, "write guided-diffusion's samples_NxHxWx3.npz as well")
    estimate: bool = estimate_option()
    seed: int = seed_option("image i is made from the noise of (seed, i), whatever the batch size and processes")
    out_dir: str = path_option("results/samples", "folder to write to; finished images are kept and not made again",
                                                  "out")
    device: str = device_option()
    threads: int = threads_option()
    timeout: int = timeout_option()


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, BaselineSampleConfig)


def main(argv: list[str] | None = None) -> None:
    """Make the samples that the command line asks for."""
    parsed = build_options().parse(argv)
    with processes_and_bar(parsed, "sampling", unit="image") as (world, bar):
        sample_baseline(parsed.take(BaselineSampleConfig), world, bar)


@torch.no_grad()
def sample_baseline(config: BaselineSampleConfig, world: World, bar: EvaluationBar) -> None:
    """Make the samples that the output folder still lacks; each process makes every world.size-th of them.

    With --estimate, what that would take is said, and nothing is written.

    Raises:
        UserError: no usable model, images to fuse that are missing, or a folder of samples that were made otherwise.
    """
    if not config.model_path:
        raise UserError("no --model_path was given: expected a run folder of add baseline_train")
    made = f"{config.num_samples} samples with {config.model_path} on {world.place}"
    bar.note(f"measuring what it takes to make {made}" if config.estimate else
             f"making {made}; writing to {Path(config.out_dir).resolve()}")
    loaded = load_rival(config.model_path, world.device)
    rival: Any = loaded.rival  # one that needs classes has a `group` beside what Rival tells
    folder = SamplesFolder(config.out_dir, config.num_samples)
    images = _read_references(config, loaded)
    model = {"sha256": sha256(loaded.path), "kind": loaded.facts["kind"], "model": loaded.facts["model"]}
    settings = {"model": model, "seed": config.seed}
    if images is not None:
        settings["references"] = fingerprint(config.data_dir, images.files)
        for sentence in images.sentences():
            bar.note(sentence)
    folder.check(settings)
    world.barrier()

    def make(numbers):
        references = None if images is None else references_of(
            images, rival.group, 0, config.seed, numbers).to(world.device)
        return rival.sample(loaded.generator, numbers, config.seed, references)

    if config.estimate:
        bar.note(_estimate(make, loaded, folder, config, world))
        return
    if world.is_main:
        folder.open(settings)
    mine = take_share(folder.missing(), folder.count, lambda number: 1, "samples", world, bar)
    for first in range(0, len(mine), config.batch_size):
        numbers = mine[first:first + config.batch_size]
        start = time.monotonic()
        pixels = to_uint8(make(numbers).cpu()).numpy()
        cost = {"seconds": time.monotonic() - start, "nfe": len(numbers)}
        folder.write_images(numbers, pixels, cost)
        bar.add(len(numbers))
    world.barrier()
    if world.is_main:
        folder.write_summary(config.save_npz)
        save_json(folder.path / "run.json",
                  run_facts(dataclasses.asdict(config), {"model": {"path": str(loaded.path)} | model}, world.device)
                  | {"sampler": loaded.facts["kind"], "num_images": folder.count}
                  | {f"{name}_per_image": round(mean, 4) for name, mean in folder.costs().items()})
        bar.close()
        bar.note(describe_samples(folder, loaded.path))


def _estimate(make, loaded, folder, config, world):
    """Return the lines that say what the images that the folder still lacks will take."""
    numbers = list(range(config.batch_size))
    return work_lines(
        world, parameters=sum(parameter.numel() for parameter in loaded.generator.parameters()),
        batch_seconds=mean_seconds(lambda: make(numbers), world.device), batch_size=config.batch_size,
        wanted=folder.count, left=len(folder.missing()),
        image_bytes=samples_bytes(3 * loaded.facts["image_size"]**2, config.save_npz))


def _read_references(config, loaded):
    """Return the labelled ImageSet that a method fuses, or None."""
    if not loaded.rival.needs_classes:
        if config.data_dir:
            raise UserError(f"--data_dir {config.data_dir} was given and {loaded.facts['kind']} makes images from "
                            f"noise: leave it out")
        return None
    if not config.data_dir:
        raise UserError(f"no --data_dir was given, and {loaded.facts['kind']} fuses {loaded.rival.group} images into "
                        f"one: expected a folder of images, such as the training images of one class")
    size = loaded.facts["image_size"]
    if holds_domains(config.data_dir):
        return ImageSet.from_domains(config.data_dir, size)
    images = ImageSet.from_folder(config.data_dir, size)
    images.labels = torch.zeros(len(images), dtype=torch.int64).numpy()
    return images
