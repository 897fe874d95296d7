"""Options that all translations of images have, and the sampler and checks that follow from them."""
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import torch

from add.config import device_option, expect_at_least, option, threads_option
from add.data import ImageSet
from add.data.files import require_local
from add.diffusion import GaussianDiffusion
from add.errors import UserError
from add.interfaces import Model, Row
from add.runtime.options import Parsed
from add.training import LoadedConfig
from add.transition import (
    FEATURES,
    RULES,
    SAMPLERS,
    check_depth_options,
    check_schedules,
    make_sampler,
    measure_feature,
)
from add.transition.two_way_samplers import Sampler

Walk = TypeVar("Walk", bound="WalkOptions")


@dataclass(frozen=True)
class WalkOptions:
    """Encoding of source images, depths, decoding, and where the results go."""

    amount: int = option(10, "progressive images per source image, N; in a chain per leg")
    num_images: int = option(0, "translate the first so many source images; 0: all")
    batch_size: int = option(8, "source images at a time, and images per network evaluation")
    depth_schedule: str = option("progress", "rule that chooses the depths", RULES)
    feature: str = option("reference", "measure that the rules follow", FEATURES)
    sampler: str = option("unipc", "solver of the ODE; ddim walks the steps of --timestep_respacing as published, and "
                                   "is used where only that is given", SAMPLERS)
    encode_steps: int = option(0, "steps of encoding, other samplers than ddim; 0: the sampler's own number")
    decode_steps: int = option(0, "evaluations of decoding from full depth, likewise")
    clip_denoised: bool = option(False, "clip the predicted clean image to [-1, 1] at every step")
    max_memory: float = option(2.0, "GiB for the states of an encode or a decode; above it, they are computed "
                                     "again, or in parts")
    out_dir: str = option("results", "folder to write to; finished images are kept and not made again")
    save_npy: bool = option(False, "write the published code's arrays as well")
    skip_bad: bool = option(False, "leave out images that can't be read instead of refusing the folder")
    seed: int = option(0, "recorded; translation itself draws nothing")
    backend: str = option("torch", "how networks run: torch, torch.compile, or ONNX Runtime (extra onnx)",
                          ("torch", "compile", "onnx"))
    precision: str = option("fp32", "networks' precision; bf16 and fp16 are for GPUs", ("fp32", "bf16", "fp16"))
    device: str = device_option()
    threads: int = threads_option()

    def __post_init__(self) -> None:
        expect_at_least(self, amount=1, batch_size=1, num_images=0, max_memory=0, encode_steps=0, decode_steps=0)


def resolve_config(parsed: Parsed, config_class: type[Walk]) -> Walk:
    """Return the WalkOptions of a command; --timestep_respacing without --sampler means DDIM on those steps.

    Raises:
        UserError: the output folder is a URL.
    """
    config = parsed.take(config_class)
    require_local(config.out_dir)
    if parsed.timestep_respacing and "sampler" not in parsed.given:
        return dataclasses.replace(config, sampler="ddim")
    return config


def sampler_of(config: WalkOptions, **guidance: Any) -> Sampler:
    """Return the sampler that WalkOptions ask for; `guidance` as `make_sampler` takes it."""
    return make_sampler(config.sampler, config.encode_steps, config.decode_steps, config.clip_denoised, **guidance)


def check_walk(models: Sequence[tuple[Model, GaussianDiffusion, LoadedConfig]], config: WalkOptions) -> None:
    """Raise UserError where models can't be walked together, or can't serve the options.

    Args:
        models: (network, diffusion, its configs) of each.
    """
    sizes = {loaded.path: loaded.model.image_size for _, _, loaded in models}
    for one, other in pairwise(sizes):
        if sizes[one] != sizes[other]:
            raise UserError(f"{one} makes {sizes[one]}-pixel images and {other} {sizes[other]}-pixel ones: expected "
                            f"one size; train all models with the same --image_size")
    for _, diffusion, _ in models:
        check_schedules(models[0][1], diffusion)
        sampler_of(config).check(diffusion)
    check_depth_options(models[0][1].num_timesteps, config.amount, config.depth_schedule)
    if config.depth_schedule != "uniform":
        size = models[0][2].model.image_size
        measure_feature(torch.zeros(1, 3, size, size), config.feature)  # refuses images that are too small


def first_images(images: ImageSet, config: WalkOptions) -> ImageSet:
    """Return the images of a set that --num_images asks for."""
    return images.subset(range(min(config.num_images, len(images)))) if config.num_images else images


def walk_settings(parsed: Parsed, config: WalkOptions) -> Row:
    """Return what decides how images look, beside the models; a folder continues only with it."""
    return {"amount": config.amount, "depth_schedule": config.depth_schedule, "feature": config.feature,
            "sampler": config.sampler, "encode_steps": config.encode_steps, "decode_steps": config.decode_steps,
            "timestep_respacing": parsed.timestep_respacing, "clip_denoised": config.clip_denoised}


def used_options(parsed: Parsed, config: WalkOptions) -> Row:
    """Return what run.json says of the options."""
    return dataclasses.asdict(config) | {"timestep_respacing": parsed.timestep_respacing}
