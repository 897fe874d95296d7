"""What is translated: options that all translations share, their directions, and what is left to do of each."""
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch

from add.config import (
    MOST_BATCH,
    MOST_IMAGES,
    MOST_TIMESTEPS,
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
from add.data import ImageSet
from add.data.files import require_local
from add.data.groups import read_groups
from add.data.spread import choose_spread
from add.diffusion import GaussianDiffusion
from add.diffusion.solvers import predicted_quantity
from add.errors import UserError
from add.interfaces import Model, Processes, Row
from add.results.translation_folder import TranslationFolder, distinct_names
from add.runtime.options import Parsed
from add.training import LoadedConfig
from add.transition import (
    FEATURES,
    PATHS,
    RULES,
    SAMPLERS,
    WEIGHT_RULES,
    check_depth_options,
    check_schedules,
    make_sampler,
    measure_feature,
    way_evaluations,
)
from add.transition.simplex_weights import check_mosaic, parse_weights
from add.transition.two_way_samplers import Sampler

Config = TypeVar("Config", bound=Any)
TRANSLATION_GROUPS: HelpGroups = {
    "what is translated": (
        "model_path", "source_model_path", "target_model_path", "models_dir", "data_dir", "val_dir", "target_data_dir",
        "domains", "class_names", "pairs", "direction", "source", "target", "num_domains", "num_samples", "num_images",
        "group_pattern", "skip_bad", "max_pixels", "seed"),
    "steps and solver": ("amount", "path", "depth_schedule", "feature", "weight_schedule", "weights", "mosaic_scale",
                         "mosaic_edge", "sampler", "encode_steps", "decode_steps",
                         "clip_denoised", "guidance_scale", "eta"),
    "where it goes": ("out_dir", "save_npy", "estimate"),
    "speed and memory": ("batch_size", "max_memory", "device", "threads", "timeout", "precision", "backend"),
}


@dataclasses.dataclass(frozen=True)
class WalkOptions(Checked):
    """Encoding of source images, depths, decoding, and where the results go."""

    help_groups: ClassVar[HelpGroups] = TRANSLATION_GROUPS

    amount: int = option(10, "progressive images per source image, N; in a chain per leg", least=1, most=1000)
    num_images: int = option(0, "translate so many source images of each domain, as different as they come and evenly "
                                "from all groups; 0: all", least=0, most=MOST_IMAGES)
    group_pattern: str = group_option()
    batch_size: int = option(8, "source images at a time, and images per network evaluation", least=1, most=MOST_BATCH)
    path: str = option("blend", "how images come about: blend, decoded by a mean of both domains' models, whose weight "
                                "moves to the target; mosaic, the same with a weight for each pixel, so that domains "
                                "lie side by side; depth, as ADD published it, decoded by the target's model from "
                                "deeper and deeper latents (and with --depth_schedule or --feature)", PATHS)
    depth_schedule: str = option("progress", "rule that chooses the depths of the path depth", RULES)
    feature: str = option("reference", "measure that the rules for depths follow", FEATURES)
    weight_schedule: str = option("even", "weights of the paths blend and mosaic: m/N, or so spaced that images come "
                                          "as far each time", WEIGHT_RULES)
    weights: str = option("", "instead of N steps, the weights themselves of all domains on the way, such as 0.7,0.3 "
                              "or 0.2,0.3,0.5; several points with ;")
    mosaic_scale: float = option(0.5, "size of a mosaic's patches, as a share of the image's shorter side",
                                 above=0, most=1)
    mosaic_edge: float = option(0.1, "share of the image that lies in a mosaic's soft edges; 0: hard edges",
                                least=0, most=1)
    sampler: str = option("unipc", "solver of the ODE; ddim walks the steps of --timestep_respacing as published, and "
                                   "is used where only that is given", SAMPLERS)
    encode_steps: int = option(0, "steps of encoding, other samplers than ddim; 0: the sampler's own number",
                               least=0, most=MOST_TIMESTEPS)
    decode_steps: int = option(0, "evaluations of decoding from full depth, likewise", least=0, most=MOST_TIMESTEPS)
    clip_denoised: bool = option(False, "clip the predicted clean image to [-1, 1] at every step")
    max_memory: float = option(2.0, "GiB for the states of an encode or a decode; above it, they are computed "
                                     "again, or in parts", least=0, most=10**6)
    estimate: bool = estimate_option()
    out_dir: str = path_option("results", "folder to write to; finished images are kept and not made again", "out")
    save_npy: bool = option(False, "write the published code's arrays as well")
    skip_bad: bool = skip_bad_option()
    max_pixels: int = max_pixels_option()
    seed: int = seed_option("of the choice by --num_images and of a mosaic's patches; translation itself draws nothing")
    backend: str = option("torch", "how networks run: torch, torch.compile, or ONNX Runtime (extra onnx)",
                          ("torch", "compile", "onnx"))
    precision: str = option("fp32", "networks' precision; bf16 and fp16 are for GPUs", ("fp32", "bf16", "fp16"))
    device: str = device_option()
    threads: int = threads_option()
    timeout: int = timeout_option()

    @property
    def way_options(self) -> Row:
        """What decides the images of the chosen path, as JSON values."""
        own = {"depth": ("depth_schedule", "feature"), "blend": ("weight_schedule", "weights"),
               "mosaic": ("weight_schedule", "weights", "mosaic_scale", "mosaic_edge", "seed")}[self.path]
        return {"path": self.path} | {name: getattr(self, name) for name in own}

    def points(self, count: int) -> torch.Tensor | None:
        """Return --weights of a way through `count` domains, float64 [M, count], or None where there are none."""
        return parse_weights(self.weights, count) if self.weights else None

    def images_of(self, count: int) -> int:
        """Return how many images each source image gives on a way through `count` domains."""
        points = self.points(count)
        return self.amount * (count - 1) if points is None else len(points)

    def make_sampler(self, **guidance: Any) -> Sampler:
        """Return the sampler that the options ask for; `guidance` as `add.transition.make_sampler` takes it."""
        return make_sampler(self.sampler, self.encode_steps, self.decode_steps, self.clip_denoised, path=self.path,
                            **guidance)

    def chosen(self, images: ImageSet, data_dir: str) -> ImageSet:
        """Return the images of a set, read from data_dir, that --num_images asks for."""
        groups = read_groups(data_dir, images.files, self.group_pattern)
        return images.subset(choose_spread(images, self.num_images, self.seed, groups)) if self.num_images else images


@dataclasses.dataclass(frozen=True)
class Direction:
    """One folder of images to translate from one domain to another, or along a chain of them.

    parsed, config: the command's options.
    domains: numbers, from the source to the target, in label vectors of num_domains entries.
    models, diffusions: of each of them, the models called as model(x, t).
    told: what decides how images look beside the options of the walk; checkpoints: what run.json says of each network.
    guidance: of the sampler, as `make_sampler` takes it.
    names: of the domains in words.
    options, further: what run.json says beside the walk's options, and beside everything else.
    least_side: as `ImageSet.least_side`, of all images of data_dir; 0: of those that are translated.
    """

    parsed: Parsed
    config: WalkOptions
    domains: tuple[int, ...]
    num_domains: int
    models: tuple[Model, ...]
    diffusions: tuple[GaussianDiffusion, ...]
    images: ImageSet
    data_dir: str
    told: Row
    checkpoints: Mapping[str, Row]
    names: tuple[str, ...]
    guidance: Row = dataclasses.field(default_factory=dict)
    options: Row = dataclasses.field(default_factory=dict)
    further: Row = dataclasses.field(default_factory=dict)
    least_side: int = 0

    @functools.cached_property
    def folder(self) -> TranslationFolder:
        """The output folder: OUT/translation_0_1, OUT/chain_0_1_2, or with --weights OUT/mixture_0_1."""
        kind = "mixture" if self.config.weights else "translation" if len(self.domains) == 2 else "chain"
        return TranslationFolder(Path(self.config.out_dir) / "_".join([kind, *map(str, self.domains)]),
                                 distinct_names(self.images.names), self.config.images_of(len(self.domains)))

    @functools.cached_property
    def sampler(self) -> Sampler:
        """The sampler that the options ask for."""
        return self.config.make_sampler(**self.guidance)

    @property
    def settings(self) -> Row:
        """What decides how images look, JSON values; a folder continues only with the same."""
        walk = ("amount", "sampler", "encode_steps", "decode_steps", "clip_denoised")
        return self.told | {name: getattr(self.config, name) for name in walk} | self.config.way_options | {
            "timestep_respacing": self.parsed.timestep_respacing}

    @property
    def evaluations(self) -> list[tuple[int, int]]:
        """About how many evaluations an image takes of each domain's model, (encoding, decoding)."""
        config = self.config
        return way_evaluations(self.sampler, self.diffusions, config.amount, config.path, config.depth_schedule,
                               config.weight_schedule, config.points(len(self.domains)))

    @property
    def cost(self) -> int:
        """About how many evaluations an image takes in all."""
        return sum(map(sum, self.evaluations))


def resolve_config(parsed: Parsed, config_class: type[Config]) -> Config:
    """Return a command's options; --timestep_respacing without --sampler means DDIM on those steps.

    Raises:
        UserError: the output folder is a URL.
    """
    config = parsed.take(config_class)
    require_local(config.out_dir)
    if isinstance(config, WalkOptions):
        config = dataclasses.replace(config, path=_path_of(config, parsed.given))
    if parsed.timestep_respacing and "sampler" not in parsed.given:
        return dataclasses.replace(config, sampler="ddim")
    return config


def _path_of(config, given):
    """Return the path that the options ask for; options for depths alone mean `depth`, those for a mosaic `mosaic`."""
    for_depth = [name for name in ("depth_schedule", "feature") if name in given]
    for_mosaic = [name for name in ("mosaic_scale", "mosaic_edge") if name in given]
    for_weights = for_mosaic + [name for name in ("weight_schedule", "weights") if name in given]
    path = config.path if "path" in given else "depth" if for_depth else "mosaic" if for_mosaic else config.path
    unused = for_weights if path == "depth" else for_depth + (for_mosaic if path == "blend" else [])
    if unused:
        raise UserError(f"--{unused[0]} was given, which the path {path} does not use: leave it out, or give another "
                        f"--path ({', '.join(PATHS)})")
    return path


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
        config.make_sampler().check(diffusion)
    if config.path != "depth":
        check_mosaic(config.mosaic_scale, config.mosaic_edge)
        for _, diffusion, _ in models:
            predicted_quantity(diffusion)  # refuses models whose predictions can't be mixed
        return
    check_depth_options(models[0][1].num_timesteps, config.amount, config.depth_schedule)
    if config.depth_schedule != "uniform":
        size = models[0][2].model.image_size
        measure_feature(torch.zeros(1, 3, size, size), config.feature)  # refuses images that are too small


def check_folders(directions: Sequence[Direction]) -> None:
    """Raise UserError where a Direction's folder holds images made with other options."""
    for direction in directions:
        direction.folder.check(direction.settings)


def open_folders(directions: Sequence[Direction], world: Processes) -> None:
    """Make the folders of all Directions; before this nothing is written."""
    check_folders(directions)
    if world.is_main:
        for direction in directions:
            direction.folder.open(direction.settings)
    world.barrier()


@dataclasses.dataclass(frozen=True)
class Share:
    """What is left to do of a Direction: the SHA-256 of every source image's pixels, and indices of images.

    finished: how many are done; mine: those that this process is to translate.
    """

    hashes: Mapping[int, str]
    finished: int
    mine: Sequence[int]


def find_unfinished(direction: Direction, world: Processes) -> Share:
    """Return what a Direction's folder still lacks; all processes call it together.

    Each takes every world.size-th of the unfinished images.
    """
    folder, images = direction.folder, direction.images
    world.agree("source images", [folder.names, images.sha256(0)])
    looked_at = range(world.rank, len(images), world.size)  # each process looks at its share, and all hear of it
    hashes = {i: images.sha256(i) for i in looked_at}
    unfinished = [i for i in looked_at if not folder.is_finished(folder.names[i], hashes[i], direction.config.save_npy)]
    parts = world.gather((hashes, unfinished))
    todo = sorted(i for _, part in parts for i in part)
    return Share({i: value for part, _ in parts for i, value in part.items()}, len(images) - len(todo),
                 todo[world.rank::world.size])
