"""One direction of a translation, from loaded models and images to the files of its folder."""
import dataclasses
from itertools import pairwise
from pathlib import Path

import torch

from add.data import ImageSet
from add.data.files import is_url
from add.data.translation import WalkOptions, translate_set, write_tables
from add.data.translation_folder import TranslationFolder
from add.errors import UserError
from add.runtime.models import run_facts
from add.transition import (
    chain_labels,
    check_depth_options,
    check_schedules,
    make_sampler,
    measure_feature,
    translate_chain,
)


@dataclasses.dataclass(frozen=True)
class Direction:
    """What it takes to translate one folder of images from one domain to another, or along a chain of them.

    domains: their numbers, from the source to the target, in label vectors of num_domains entries.
    models, diffusions: of each of them, the models called as model(x, t).
    names: of each in words, or () where they have none.
    settings: what decides how images look; checkpoints: what run.json says of each network; further: and beside that.
    options: as given, for run.json.
    """

    domains: tuple
    num_domains: int
    models: tuple
    diffusions: tuple
    sampler: object
    config: WalkOptions
    images: ImageSet
    data_dir: str
    folder: TranslationFolder
    settings: dict
    checkpoints: dict
    options: dict
    names: tuple = ()
    further: dict = dataclasses.field(default_factory=dict)


def run_direction(direction, world, bar):
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


def open_folders(directions, world):
    """Make the folders of all Directions; before this nothing is written."""
    for direction in directions:
        direction.folder.check(direction.settings)
    if world.is_main:
        for direction in directions:
            direction.folder.open(direction.settings)
    world.barrier()


def resolve_config(parsed, config_class):
    """Return the WalkOptions of a command; --timestep_respacing without --sampler means DDIM on those steps.

    Raises:
        UserError: an output folder that is none.
    """
    config = parsed.take(config_class)
    if is_url(config.out_dir):
        raise UserError(f"--out_dir {config.out_dir} is a URL, expected a local folder: copy the results afterwards")
    if parsed.timestep_respacing and "sampler" not in parsed.given:
        return dataclasses.replace(config, sampler="ddim")
    return config


def sampler_of(config, **guidance):
    """Return the sampler that WalkOptions ask for; `guidance` as `make_sampler` takes it."""
    return make_sampler(config.sampler, config.encode_steps, config.decode_steps, config.clip_denoised, **guidance)


def check_walk(models, config):
    """Raise UserError where models can't be walked together, or can't serve the options.

    Args:
        models: (network, diffusion, LoadedConfig) of each.
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


def first_images(images, config):
    """Return the images of an ImageSet that --num_images asks for."""
    return images.subset(range(min(config.num_images, len(images)))) if config.num_images else images


def folder_of(config, domains, names):
    """Return the TranslationFolder of a way through domain numbers, for source images of distinct names."""
    kind = "translation" if len(domains) == 2 else "chain"
    return TranslationFolder(Path(config.out_dir) / "_".join([kind, *map(str, domains)]), names,
                             config.amount * (len(domains) - 1))


def walk_settings(parsed, config):
    """Return what decides how images look, beside the models; a folder continues only with it."""
    return {"amount": config.amount, "depth_schedule": config.depth_schedule, "feature": config.feature,
            "sampler": config.sampler, "encode_steps": config.encode_steps, "decode_steps": config.decode_steps,
            "timestep_respacing": parsed.timestep_respacing, "clip_denoised": config.clip_denoised}


def used_options(parsed, config):
    """Return what run.json says of the options."""
    return dataclasses.asdict(config) | {"timestep_respacing": parsed.timestep_respacing}
