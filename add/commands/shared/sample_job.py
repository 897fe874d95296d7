"""Options of the sampling commands, and the loop that fills a folder with images made from noise."""
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch

from add.commands.shared.after_sampling import describe_samples
from add.config import (
    MOST_BATCH,
    MOST_IMAGES,
    MOST_TIMESTEPS,
    Checked,
    HelpGroups,
    device_option,
    estimate_option,
    option,
    path_option,
    seed_option,
    threads_option,
    timeout_option,
)
from add.data.files import save_json
from add.data.transforms import to_uint8
from add.diffusion import GaussianDiffusion
from add.errors import UserError
from add.interfaces import Gradient, Model, Row
from add.results.sample_folder import SamplesFolder
from add.runtime.cost_lines import count_parameters, evaluation_seconds, work_lines
from add.runtime.given_models import describe, run_facts
from add.runtime.options import Parsed
from add.runtime.progress import EvaluationBar
from add.runtime.shares import take_share
from add.runtime.world import World
from add.training import LoadedConfig
from add.transition.fixed_batches import InBatches
from add.transition.from_noise import FROM_NOISE, FromNoise, OwnNoise

Draw = TypeVar("Draw", bound="DrawConfig")
SAMPLING_GROUPS: HelpGroups = {
    "what is made": ("model_path", "models_dir", "base_samples", "data_dir", "max_pixels", "num_samples", "classes",
                     "seed"),
    "the way from noise": ("sampler", "decode_steps", "use_ddim", "eta", "clip_denoised", "guidance_scale"),
    "where it goes": ("out_dir", "save_npz", "estimate"),
    "speed and memory": ("batch_size", "device", "threads", "timeout", "precision", "backend"),
}


@dataclasses.dataclass(frozen=True)
class DrawConfig(Checked):
    """Drawing images from noise."""

    help_groups: ClassVar[HelpGroups] = SAMPLING_GROUPS

    model_path: str = path_option("", "checkpoint or run folder of the model", "model")
    num_samples: int = option(100, "images to make", least=1, most=MOST_IMAGES)
    batch_size: int = option(16, "images per network evaluation", least=1, most=MOST_BATCH)
    sampler: str = option("unipc", "how noise becomes an image: ddpm and ddim walk the steps of --timestep_respacing, "
                                   "the others solve the ODE in few evaluations", FROM_NOISE)
    use_ddim: bool = option(False, "guided-diffusion's spelling of --sampler ddim; without it, --timestep_respacing "
                                   "alone means ddpm")
    eta: float = option(0.0, "randomness of ddim: 0 deterministic, 1 as random as ddpm", least=0, most=1)
    decode_steps: int = option(0, "evaluations per image, other samplers than ddim and ddpm; 0: the sampler's own "
                                  "number", least=0, most=MOST_TIMESTEPS)
    clip_denoised: bool = option(True, "clip the predicted clean image to [-1, 1] at every step")
    classes: str = option("", "classes to show, numbers or names separated by commas, which the images take in turn; "
                              "left out: all of them")
    save_npz: bool = option(False, "write guided-diffusion's samples_NxHxWx3.npz as well")
    estimate: bool = estimate_option()
    seed: int = seed_option("image i is made from the noise of (seed, i), whatever the batch size and processes")
    out_dir: str = path_option("results/samples", "folder to write to; finished images are kept and not made again",
                                                  "out")
    precision: str = option("fp32", "the network's precision; bf16 and fp16 are for GPUs", ("fp32", "bf16", "fp16"))
    device: str = device_option()
    threads: int = threads_option()
    timeout: int = timeout_option()


@dataclasses.dataclass(frozen=True)
class Job:
    """Images to be drawn from noise: sampler, model and what run.json says of them.

    way: the sampler. diffusion: what the model predicts. shape: of an image, (C, H, W).
    model_for: model_for(numbers) -> model(x, t) for the images of these numbers, one a row.
    settings: what decides how the images look, JSON values; of a network under its role, as `describe` gives it.
    checkpoints: {role: path}, "model" among them. networks: configs of all networks.
    gradient_for: like model_for, gradient(x, t) of guidance; or None.
    nfe_per_call: network evaluations of an image in one call of the model.
    """

    way: FromNoise
    diffusion: GaussianDiffusion
    shape: tuple[int, int, int]
    model_for: Callable[[list[int]], Model]
    settings: Row
    checkpoints: dict[str, Path]
    networks: tuple[Any, ...] = ()
    gradient_for: Callable[[list[int]], Gradient] | None = None
    nfe_per_call: int = 1


def begin(parsed: Parsed, config_class: type[Draw], world: World, bar: EvaluationBar
          ) -> tuple[Draw, FromNoise, SamplesFolder]:
    """Return the config, the sampler and the output folder of a sampling command, and say what it is about to do.

    Raises:
        UserError: --model_path was left out, options that contradict each other, or an output folder that is a URL.
    """
    config, way = parsed.take(config_class), choose_way(parsed)
    folder = SamplesFolder(config.out_dir, config.num_samples)
    if not config.model_path:
        raise UserError("no --model_path was given: expected a checkpoint or run folder, such as runs/mild")
    what = f"{config.num_samples} samples" if config.num_samples else "a large image of each small one"
    made = f"{what} with {config.model_path} on {world.place}"
    bar.note(f"measuring what it takes to make {made}" if config.estimate else
             f"making {made}; writing to {folder.path.resolve()}")
    return config, way, folder


def choose_way(parsed: Parsed) -> FromNoise:
    """Return the `FromNoise` that the options of a DrawConfig and a DiffusionConfig ask for.

    guided-diffusion's habits hold: --use_ddim is ddim, and --timestep_respacing (or --use_ddim False) without it ddpm.

    Raises:
        UserError: --sampler and --use_ddim contradict each other, or what `FromNoise` refuses.
    """
    name = parsed.sampler
    if "sampler" in parsed.given:
        if "use_ddim" in parsed.given and parsed.use_ddim != (name == "ddim"):
            raise UserError(f"--sampler {name} contradicts --use_ddim {parsed.use_ddim}: leave one of them out")
    elif parsed.use_ddim:
        name = "ddim"
    elif parsed.timestep_respacing or "use_ddim" in parsed.given:
        name = "ddpm"
    return FromNoise(name, parsed.decode_steps, parsed.clip_denoised, parsed.eta)


def base_settings(parsed: Parsed, way: FromNoise, loaded: LoadedConfig) -> Row:
    """Return what decides how images of any model look, JSON values."""
    settings = {"model": describe(loaded), "sampler": way.name, "decode_steps": way.decode_steps,
                "timestep_respacing": parsed.timestep_respacing, "clip_denoised": way.clip_denoised,
                "seed": parsed.seed}
    return settings | ({"eta": way.eta} if way.name == "ddim" else {})


def draw(job: Job, folder: SamplesFolder, config: DrawConfig, world: World, bar: EvaluationBar,
         shown: Callable[[int, np.ndarray], np.ndarray] | None = None) -> None:
    """Make the images of a job that its folder still lacks, every world.size-th in each process, and write a summary.

    With --estimate, what that would take is said, and nothing is written.

    Args:
        shown: see `SamplesFolder.write_summary`.
        bar: shows evaluations and sentences.

    Raises:
        UserError: a folder of samples that were made otherwise, a sampler that can't walk the diffusion, or images that
            are not finite.
    """
    job.way.check(job.diffusion)
    folder.check(job.settings)
    world.barrier()
    if config.estimate:
        bar.note(_estimate(job, folder, config, world))
        return
    if world.is_main:
        folder.open(job.settings)
    calls = job.way.evaluations(job.diffusion)
    mine = take_share(folder.missing(), folder.count, lambda number: calls, "samples", world, bar)
    for first in range(0, len(mine), config.batch_size):
        numbers = mine[first:first + config.batch_size]
        folder.write_images(numbers, *_draw_batch(job, numbers, config, world.device, bar.add))
    world.barrier()
    if world.is_main:
        folder.write_summary(config.save_npz, shown)
        used = {name: value for name, value in job.settings.items() if name not in job.checkpoints}
        checkpoints = {role: {"path": str(path)} | job.settings[role] for role, path in job.checkpoints.items()}
        save_json(folder.path / "run.json",
                  run_facts(dataclasses.asdict(config) | used, checkpoints, world.device)
                  | {"sampler": job.way.name, "num_images": folder.count}
                  | {f"{name}_per_image": round(mean, 4) for name, mean in folder.costs().items()})
        bar.close()
        bar.note(describe_samples(folder, job.checkpoints["model"]))


def _estimate(job, folder, config, world):
    """Return the lines that say what the images that the folder still lacks will take."""
    rows = [number % folder.count for number in range(config.batch_size)]
    gradient = None if job.gradient_for is None else job.gradient_for(rows)
    seconds = evaluation_seconds(job.model_for(rows), job.shape, world.device, config.batch_size, gradient)
    calls, pixels = job.way.evaluations(job.diffusion), math.prod(job.shape)
    return work_lines(
        world, parameters=sum(map(count_parameters, job.networks)), batch_seconds=calls * seconds,
        batch_size=config.batch_size, wanted=folder.count, left=len(folder.missing()),
        image_bytes=samples_bytes(pixels, config.save_npz), evaluations=calls * job.nfe_per_call)


def samples_bytes(values: int, save_npz: bool) -> int:
    """Return the bytes that an image of so many values takes in a folder of samples at most.

    That is itself, its place on the contact sheet, and in the npz.
    """
    return (3 if save_npz else 2) * values + 1000  # of records and of PNG's own


def _draw_batch(job, numbers, config, device, on_step):
    """Return (images uint8 [b, H, W, C], cost) of the numbers [b], in evaluations of config.batch_size rows."""
    start = time.monotonic()
    rows = numbers + numbers[:1] * (config.batch_size - len(numbers))  # as InBatches pads the images
    model = InBatches(job.model_for(rows), config.batch_size, on_step)
    gradient = None if job.gradient_for is None else InBatches(job.gradient_for(rows), config.batch_size)
    noise = OwnNoise(config.seed, numbers, job.shape, device)
    images = job.way.images(model, job.diffusion, noise, gradient).cpu()
    if not torch.isfinite(images).all():
        raise UserError("the model gave values that are not finite: expected images; lower the scale of guidance, use "
                        "--precision fp32, or another checkpoint")
    cost = {"seconds": time.monotonic() - start, "nfe": model.evaluations * job.nfe_per_call}
    if gradient is not None:
        cost["classifier_nfe"] = gradient.evaluations
    return to_uint8(images).numpy(), cost


def in_turn(classes: Sequence[int], count: int) -> np.ndarray:
    """Return int64 [count], the classes over and over."""
    return np.resize(np.array(classes, dtype=np.int64), count)


def as_text(classes: Sequence[int]) -> str:
    """Return classes as --classes takes them."""
    return ",".join(map(str, classes))


def no_classes(loaded: LoadedConfig) -> UserError:
    """Return the UserError for --classes with a model that knows none."""
    return UserError(f"--classes was given and {loaded.path} knows no classes: leave it out, or use a model trained "
                     f"with --class_cond")
