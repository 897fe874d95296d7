"""One direction of a translation, from loaded models and images to the files of its folder."""
import contextlib
import dataclasses
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from add.commands.shared.walk_options import WalkOptions
from add.data import ImageSet
from add.data.files import file_name, save_json
from add.data.transforms import to_model_input, to_uint8
from add.diffusion import GaussianDiffusion
from add.interfaces import Model, Note, Processes, Row
from add.results.translation_folder import OVERVIEW_ROWS, TranslationFolder
from add.runtime.given_models import run_facts
from add.runtime.options import Parsed
from add.runtime.processes import process_group
from add.runtime.progress import EvaluationBar
from add.runtime.world import World
from add.transition import Translation, chain_labels, training_depths, translate_chain
from add.transition.two_way_samplers import Sampler

SHOWN_SHARES = 8  # entries of a label vector that fit above an image


@dataclasses.dataclass(frozen=True)
class Direction:
    """One folder of images to translate from one domain to another, or along a chain: models, options, output folder.

    domains: their numbers, from the source to the target, in label vectors of num_domains entries.
    models, diffusions: of each of them, the models called as model(x, t).
    names: of each in words, or () where they have none.
    settings: what decides how images look; checkpoints: what run.json says of each network; further: and beside that.
    options: as given, for run.json.
    """

    domains: tuple[int, ...]
    num_domains: int
    models: tuple[Model, ...]
    diffusions: tuple[GaussianDiffusion, ...]
    sampler: Sampler
    config: WalkOptions
    images: ImageSet
    data_dir: str
    folder: TranslationFolder
    settings: Row
    checkpoints: Mapping[str, Row]
    options: Row
    names: tuple[str, ...] = ()
    further: Row = dataclasses.field(default_factory=dict)


def run_directions(parsed: Parsed, prepare: Callable[[Parsed, World], list[Direction]]) -> None:
    """Translate and write every Direction that prepare(parsed, world) gives, each with a bar of network evaluations."""
    with process_group(parsed.device, parsed.threads) as world:
        for direction in prepare(parsed, world):
            with contextlib.closing(EvaluationBar("evaluations", silent=not world.is_main)) as bar:
                run_direction(direction, world, bar)


def run_direction(direction: Direction, world: World, bar: EvaluationBar) -> None:
    """Translate the images of one Direction and write its folder; `bar` shows evaluations and sentences."""
    config, images, folder = direction.config, direction.images, direction.folder
    if images.bad:
        bar.note(images.say_bad())
    way = f" from {' to '.join(direction.names)}" if direction.names else ""
    bar.note(f"translating {len(images)} images of {direction.data_dir}{way} in {folder.amount} steps, on "
             f"{world.device}, {world.size} process(es); writing to {folder.path.resolve()}")

    def translate_batch(x):
        return translate_chain(direction.models, x.to(world.device), config.amount, direction.diffusions,
                               direction.domains, direction.num_domains, direction.sampler, config.depth_schedule,
                               feature=config.feature, max_memory=config.max_memory * 1024**3,
                               batch_size=config.batch_size, on_step=bar.add), direction.diffusions[0]

    translate_set(folder, images, translate_batch, config, world, bar.note)
    if world.is_main:
        facts = run_facts(direction.options, direction.checkpoints, world.device)
        labels = chain_labels(config.amount, direction.domains, direction.num_domains)
        write_tables(folder, images, labels, direction.domains, config,
                     facts | {"sampler": config.sampler} | direction.further, bar.note, direction.names)
        bar.note(f"done: {len(images) * folder.amount} images, labels.csv, overview.png, run.json in "
                 f"{folder.path.resolve()}")


def open_folders(directions: Sequence[Direction], world: Processes) -> None:
    """Make the folders of all Directions; before this nothing is written."""
    for direction in directions:
        direction.folder.check(direction.settings)
    if world.is_main:
        for direction in directions:
            direction.folder.open(direction.settings)
    world.barrier()


def folder_of(config: WalkOptions, domains: Sequence[int], names: Sequence[str]) -> TranslationFolder:
    """Return the TranslationFolder of a way through domain numbers, for source images of distinct names."""
    kind = "translation" if len(domains) == 2 else "chain"
    return TranslationFolder(Path(config.out_dir) / "_".join([kind, *map(str, domains)]), names,
                             config.amount * (len(domains) - 1))


def translate_set(folder: TranslationFolder, images: ImageSet,
                  translate_batch: Callable[[torch.Tensor], tuple[Translation, GaussianDiffusion]],
                  config: WalkOptions, world: Processes, note: Note = lambda text: None) -> None:
    """Make the progressive images of a set that a folder still lacks.

    Each process takes every world.size-th of them; at the end all wait for the last.

    Args:
        folder: opened, with a name for each image.
        images: with paths.
        translate_batch: called with x [B, 3, H, W] on the CPU; returns (Translation, diffusion of its depths).
    """
    world.agree("source images", [folder.names, content_sha256(images, 0)])
    share = range(world.rank, len(images), world.size)  # each process looks at its share, and all hear of it
    hashes = {i: content_sha256(images, i) for i in share}
    unfinished = [i for i in share if not folder.is_finished(folder.names[i], hashes[i], config.save_npy)]
    parts = world.gather((hashes, unfinished))
    hashes = {i: value for part, _ in parts for i, value in part.items()}
    todo = sorted(i for _, part in parts for i in part)
    if len(todo) < len(images):
        note(f"{len(images) - len(todo)} of {len(images)} source images were finished before")
    mine = todo[world.rank::world.size]
    paths = paths_of(images)
    for first in range(0, len(mine), config.batch_size):
        indices = mine[first:first + config.batch_size]
        start = time.monotonic()
        result, diffusion = translate_batch(to_model_input(images.batch(indices)))
        seconds = (time.monotonic() - start) / len(indices)
        depths = training_depths(diffusion, result.depths).tolist()
        for place, index in enumerate(indices):
            plan = result.plans[place]
            record = {"source_image": file_name(paths[index]), "source_sha256": hashes[index],
                      "depths": depths[place], "depth_rule": plan.rule, "reason": plan.reason, "nfe": result.nfe,
                      "seconds": seconds}
            latents = _pixels(result.latents[place]).transpose(0, 3, 1, 2) if config.save_npy else None
            folder.write_images(folder.names[index], _pixels(result.targets[place]), record, latents)
    world.barrier()


def write_tables(folder: TranslationFolder, images: ImageSet, labels: torch.Tensor, domains: Sequence[int],
                 config: WalkOptions, facts: Row, note: Note = lambda text: None,
                 names: Sequence[str] | None = None) -> None:
    """Write labels.csv, overview.png, run.json and, if asked for, the arrays of a folder whose images are all made.

    Args:
        labels: float64 [N, K]. domains: numbers, from the source through those of a chain to the target.
        facts: what run.json says beside the number of images, network evaluations per source image and seconds.
        names: of those domains for the overview; left out: "domain 0", ...
    """
    records = folder.records()
    folder.write_labels(records, labels.tolist(), domains[0], domains[-1])
    sources = images.batch(range(min(OVERVIEW_ROWS, len(images))))
    title = f"{Path(paths_of(images)[0]).parent.name}: " + " to ".join(names or [f"domain {k}" for k in domains])
    shown = labels if labels.shape[1] <= SHOWN_SHARES else labels[:, list(domains)]  # the others are 0
    folder.write_overview(records, sources, shown.tolist(), title)
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


def content_sha256(images: ImageSet, index: int) -> str:
    """Return the SHA-256 of one image's pixels as they are translated."""
    return hashlib.sha256(images.batch([index]).tobytes()).hexdigest()


def paths_of(images: ImageSet) -> list[str]:
    """Return the paths of images that come from files."""
    assert images.paths is not None, "the images come from files"
    return images.paths


def _pixels(x):
    """Return x [N, 3, H, W] in [-1, 1], on any device, as uint8 array [N, H, W, 3]."""
    return to_uint8(x.cpu()).numpy()
