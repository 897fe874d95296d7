"""A translation of images, from the options that all of them share to the files of its folder."""
import contextlib
import dataclasses
import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import torch

from add.config import (
    device_option,
    estimate_option,
    expect_at_least,
    group_option,
    option,
    path_option,
    threads_option,
)
from add.data import ImageSet, embedded
from add.data.files import require_local, save_json
from add.data.groups import read_groups
from add.data.spread import choose_spread
from add.data.transforms import to_model_input, to_uint8
from add.diffusion import GaussianDiffusion
from add.errors import UserError
from add.interfaces import Model, Note, Processes, Row
from add.networks import ModelConfig
from add.results.overview import label_text
from add.results.translation_folder import TranslationFolder, distinct_names
from add.runtime.cost_lines import count_parameters, evaluation_seconds, work_lines
from add.runtime.given_models import run_facts
from add.runtime.next_steps import command_line, next_steps
from add.runtime.options import Parsed
from add.runtime.processes import process_group
from add.runtime.progress import EvaluationBar
from add.runtime.world import World
from add.training import LoadedConfig
from add.transition import (
    FEATURES,
    RULES,
    SAMPLERS,
    Translation,
    chain_labels,
    check_depth_options,
    check_schedules,
    expected_evaluations,
    make_sampler,
    measure_feature,
    training_depths,
    translate_chain,
)
from add.transition.two_way_samplers import Sampler

Config = TypeVar("Config", bound=Any)
OVERVIEW_ROWS = 12  # source images, as different as they come


@dataclasses.dataclass(frozen=True)
class WalkOptions:
    """Encoding of source images, depths, decoding, and where the results go."""

    amount: int = option(10, "progressive images per source image, N; in a chain per leg")
    num_images: int = option(0, "translate so many source images of each domain, as different as they come and evenly "
                                "from all groups; 0: all")
    group_pattern: str = group_option()
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
    estimate: bool = estimate_option()
    out_dir: str = path_option("results", "folder to write to; finished images are kept and not made again", "out")
    save_npy: bool = option(False, "write the published code's arrays as well")
    skip_bad: bool = option(False, "leave out images that can't be read instead of refusing the folder")
    seed: int = option(0, "of the choice by --num_images; translation itself draws nothing")
    backend: str = option("torch", "how networks run: torch, torch.compile, or ONNX Runtime (extra onnx)",
                          ("torch", "compile", "onnx"))
    precision: str = option("fp32", "networks' precision; bf16 and fp16 are for GPUs", ("fp32", "bf16", "fp16"))
    device: str = device_option()
    threads: int = threads_option()

    def __post_init__(self) -> None:
        expect_at_least(self, amount=1, batch_size=1, num_images=0, max_memory=0, encode_steps=0, decode_steps=0)

    def make_sampler(self, **guidance: Any) -> Sampler:
        """Return the sampler that the options ask for; `guidance` as `add.transition.make_sampler` takes it."""
        return make_sampler(self.sampler, self.encode_steps, self.decode_steps, self.clip_denoised, **guidance)

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

    @functools.cached_property
    def folder(self) -> TranslationFolder:
        """The output folder: OUT/translation_0_1, or OUT/chain_0_1_2."""
        kind = "translation" if len(self.domains) == 2 else "chain"
        return TranslationFolder(Path(self.config.out_dir) / "_".join([kind, *map(str, self.domains)]),
                                 distinct_names(self.images.files), self.config.amount * (len(self.domains) - 1))

    @functools.cached_property
    def sampler(self) -> Sampler:
        """The sampler that the options ask for."""
        return self.config.make_sampler(**self.guidance)

    @property
    def settings(self) -> Row:
        """What decides how images look, JSON values; a folder continues only with the same."""
        walk = ("amount", "depth_schedule", "feature", "sampler", "encode_steps", "decode_steps", "clip_denoised")
        return self.told | {name: getattr(self.config, name) for name in walk} | {
            "timestep_respacing": self.parsed.timestep_respacing}


def run_directions(parsed: Parsed, prepare: Callable[[Parsed, World], list[Direction]]) -> None:
    """Translate and write every Direction that prepare(parsed, world) gives, with a bar of network evaluations."""
    with process_group(parsed.device, parsed.threads) as world:
        with contextlib.closing(EvaluationBar("translating", unit="evaluation", silent=not world.is_main)) as bar:
            directions = prepare(parsed, world)
            if directions[0].config.estimate:
                bar.note(_costs(directions, world))
                return
            open_folders(directions, world)
            shares = [find_unfinished(direction, world) for direction in directions]
            for place, direction in enumerate(directions):
                later = zip(directions[place + 1:], shares[place + 1:], strict=True)
                run_direction(direction, shares[place], world, bar,
                              sum(_expected(other) * len(share.mine) for other, share in later))
        if world.is_main:
            print(next_steps(*_commands_after(directions)), flush=True)


@dataclasses.dataclass(frozen=True)
class Share:
    """What is left to do of a Direction: the SHA-256 of every source image's pixels, and indices of images.

    finished: how many are done; mine: those that this process is to translate.
    """

    hashes: Mapping[int, str]
    finished: int
    mine: Sequence[int]


def run_direction(direction: Direction, share: Share, world: World, bar: EvaluationBar, later: float = 0.0) -> None:
    """Translate the images of one Direction and write its folder.

    Args:
        bar: counts this process's evaluations, and says how far the work is.
        later: evaluations that other Directions will take.
    """
    config, images, folder = direction.config, direction.images, direction.folder
    for sentence in images.sentences():
        bar.note(sentence)
    named = [name if str(k) in name else f"{name} ({k})"
             for k, name in zip(direction.domains, direction.names, strict=True)]
    bar.note(f"translating {len(images)} images of {direction.data_dir} from {' to '.join(named)} in "
             f"{folder.amount} steps, on {world.place}; writing to {folder.path.resolve()}")
    if share.finished:
        bar.note(f"{share.finished} of {len(images)} source images were finished before")

    def translate_batch(x):
        return translate_chain(direction.models, x.to(world.device), config.amount, direction.diffusions,
                               direction.domains, direction.num_domains, direction.sampler, config.depth_schedule,
                               feature=config.feature, max_memory=config.max_memory * 1024**3,
                               batch_size=config.batch_size, on_step=bar.add), direction.diffusions[0]

    done_before, per_image = bar.done, _expected(direction)
    bar.total = round(done_before + per_image * len(share.mine) + later)
    for finished in translate_share(folder, images, share, translate_batch, config):
        per_image = (bar.done - done_before) / finished
        bar.total = round(bar.done + per_image * (len(share.mine) - finished) + later)
    world.barrier()
    if world.is_main:
        options = dataclasses.asdict(config) | {"timestep_respacing": direction.parsed.timestep_respacing}
        facts = run_facts(options | direction.options, direction.checkpoints, world.device)
        labels = chain_labels(config.amount, direction.domains, direction.num_domains)
        write_tables(direction, labels, facts | {"sampler": config.sampler} | direction.further, bar.note)
        if others := folder.count_others():
            bar.note(f"{folder.path} holds series of {others} more source images, translated before, which labels.csv "
                     f"no longer lists: give every choice of images an --out_dir of its own to keep both lists")
        bar.note(f"done: {len(images) * folder.amount} images, labels.csv, overview.png, run.json in "
                 f"{folder.path.resolve()}")


def _costs(directions, world):
    """Return the lines that say what the Directions will take; nothing is written."""
    config, shares = directions[0].config, [find_unfinished(direction, world) for direction in directions]
    models = {id(model): model for direction in directions for model in direction.models}
    size = directions[0].images.image_size
    seconds = [evaluation_seconds(model, (3, size, size), world.device, config.batch_size)
               for model in models.values()]
    parameters = {facts["path"]: count_parameters(ModelConfig(**facts["model"])) for direction in directions
                  for role, facts in direction.checkpoints.items() if role != "classifier"}
    wanted = sum(len(direction.images) for direction in directions)
    evaluations = sum(_expected(direction) * len(direction.images) for direction in directions) / wanted
    return work_lines(world, parameters=sum(parameters.values()), batch_size=config.batch_size, wanted=wanted,
                      batch_seconds=evaluations * sum(seconds) / len(seconds), evaluations=round(evaluations),
                      left=wanted - sum(share.finished for share in shares),
                      image_bytes=3 * size**2 * max(direction.folder.amount for direction in directions))


def _expected(direction):
    """Return about how many evaluations a source image of a Direction takes."""
    config = direction.config
    return sum(expected_evaluations(direction.sampler, *pair, config.amount, config.depth_schedule)
               for pair in pairwise(direction.diffusions))


def _many_images(data_dir):
    """Return the folder; for the few embedded source images, that of all held-out patches where a checkout has it."""
    known = {str(embedded.source_dir(domain)): embedded.test_dir(domain) for domain in embedded.DOMAINS}
    return str(known[data_dir]) if data_dir in known and known[data_dir].is_dir() else data_dir


def _commands_after(directions):
    """Return the commands that measure and label translations, with their paths; words in capitals are to fill in."""
    folders = {direction.domains[0]: _many_images(direction.data_dir) for direction in directions}
    commands = []
    for direction in directions[:2]:
        real = folders.get(direction.domains[-1], "REAL_TARGET_IMAGES")
        out = Path(direction.config.out_dir) / f"evaluation_{direction.folder.path.name}"
        commands.append(command_line("evaluate", real, direction.folder.path, source_dir=direction.data_dir,
                                     out_dir=out))
    pairs = [str(direction.folder.path) for direction in directions if len(direction.domains) == 2]
    parents = {Path(folder).parent for folder in folders.values()}
    if pairs:
        root = parents.pop() if len(parents) == 1 and len(folders) > 1 else "FOLDER_OF_BOTH_DOMAINS"
        commands.append(command_line("soft_labels", translations=",".join(pairs), data_dir=root))
    return commands


def resolve_config(parsed: Parsed, config_class: type[Config]) -> Config:
    """Return a command's options; --timestep_respacing without --sampler means DDIM on those steps.

    Raises:
        UserError: the output folder is a URL.
    """
    config = parsed.take(config_class)
    require_local(config.out_dir)
    if parsed.timestep_respacing and "sampler" not in parsed.given:
        return dataclasses.replace(config, sampler="ddim")
    return config


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
    check_depth_options(models[0][1].num_timesteps, config.amount, config.depth_schedule)
    if config.depth_schedule != "uniform":
        size = models[0][2].model.image_size
        measure_feature(torch.zeros(1, 3, size, size), config.feature)  # refuses images that are too small


def open_folders(directions: Sequence[Direction], world: Processes) -> None:
    """Make the folders of all Directions; before this nothing is written."""
    for direction in directions:
        direction.folder.check(direction.settings)
    if world.is_main:
        for direction in directions:
            direction.folder.open(direction.settings)
    world.barrier()


def find_unfinished(direction: Direction, world: Processes) -> Share:
    """Return what a Direction's folder, which is open, still lacks; all processes call it together.

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


def translate_share(folder: TranslationFolder, images: ImageSet, share: Share,
                    translate_batch: Callable[[torch.Tensor], tuple[Translation, GaussianDiffusion]],
                    config: WalkOptions) -> Iterator[int]:
    """Make this process's progressive images; yield after each batch how many source images are done.

    Args:
        folder: opened, with a name for each image.
        images: with paths.
        translate_batch: called with x [B, 3, H, W] on the CPU; returns (Translation, diffusion of its depths).
    """
    for first in range(0, len(share.mine), config.batch_size):
        indices = share.mine[first:first + config.batch_size]
        start = time.monotonic()
        result, diffusion = translate_batch(to_model_input(images.batch(indices)))
        seconds = (time.monotonic() - start) / len(indices)
        depths = training_depths(diffusion, result.depths).tolist()
        for place, index in enumerate(indices):
            plan = result.plans[place]
            record = {"source_image": images.names[index], "source_sha256": share.hashes[index],
                      "depths": depths[place], "depth_rule": plan.rule, "reason": plan.reason, "nfe": result.nfe,
                      "seconds": seconds}
            latents = _pixels(result.latents[place]).transpose(0, 3, 1, 2) if config.save_npy else None
            folder.write_images(folder.names[index], _pixels(result.targets[place]), record, latents)
        yield first + len(indices)


def write_tables(direction: Direction, labels: torch.Tensor, facts: Row, note: Note = lambda text: None) -> None:
    """Write labels.csv, overview.png, run.json and, if asked for, the arrays of a Direction whose images are all made.

    Args:
        labels: float64 [N, K].
        facts: what run.json says beside the number of images, network evaluations per source image and seconds.
    """
    folder, images, config, way = direction.folder, direction.images, direction.config, direction.domains
    records = folder.records()
    folder.write_labels(records, labels.tolist(), way[0], way[-1])
    groups = read_groups(direction.data_dir, images.files, config.group_pattern)
    rows = choose_spread(images, OVERVIEW_ROWS, config.seed, groups)
    headings = [label_text(label, way, direction.names) for label in labels.tolist()]
    folder.write_overview(records, rows, images.batch(rows), headings, " to ".join(direction.names))
    if config.save_npy:
        folder.write_arrays(records, (to_model_input(images.batch([i]))[0].numpy() for i in range(len(images))))
    rules = sorted({record["depth_rule"] for record in records})
    save_json(folder.path / "run.json", facts | {
        "depth_rule": rules[0] if len(rules) == 1 else rules,
        "num_images": len(records) * folder.amount,
        "nfe_per_image": sum(record["nfe"] for record in records) / len(records),
        "seconds": round(sum(record["seconds"] for record in records), 2),
        "unreadable_images": len(images.bad)})
    reasons = Counter(record["reason"] for record in records if record["reason"])
    for reason, count in sorted(reasons.items()):
        note(f"depth rule '{config.depth_schedule}' could not be followed for {count} of {len(records)} source "
             f"images: {reason}")


def _pixels(x):
    """Return x [N, 3, H, W] in [-1, 1], on any device, as uint8 array [N, H, W, 3]."""
    return to_uint8(x.cpu()).numpy()
