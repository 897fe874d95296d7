"""The main job from options to files: both directions are checked first, then translated one after the other."""
import dataclasses
from pathlib import Path

import torch

from add.data import ImageSet, embedded
from add.data.files import is_url
from add.data.translation import TranslationConfig, translate_set, write_tables
from add.data.translation_folder import TranslationFolder, distinct_names
from add.errors import UserError
from add.runtime.models import describe, load_given, run_facts
from add.transition import (
    check_depth_options,
    check_schedules,
    make_sampler,
    measure_feature,
    soft_labels,
    translate,
)


@dataclasses.dataclass(frozen=True)
class Direction:
    """What it takes to translate one folder of images: domain numbers, loaded models, images, output folder."""

    domains: tuple  # (source number, target number)
    source: tuple  # (model, diffusion, LoadedConfig)
    target: tuple
    images: ImageSet
    data_dir: str
    folder: TranslationFolder
    settings: dict


def prepare_directions(parsed, world):
    """Return the `Direction`s that the options ask for; nothing is written before all of them are known to work.

    Raises:
        UserError: unusable models, images, options or output folder.
    """
    config = _resolve_sampler(parsed)
    if is_url(config.out_dir):
        raise UserError(f"--out_dir {config.out_dir} is a URL, expected a local folder: copy the results afterwards")
    model_paths, data_dirs = _resolve_paths(config)
    # The published defaults for checkpoints without a config: global-priority attention in the source model.
    models = [load_given(path, parsed, world.device, config.backend, config.precision,
                         use_new_attention_order=place == 0)
              for place, path in enumerate(model_paths)]
    _check_pair(models, config)
    descriptions = [describe(config) for _, _, config in models]
    places = {"forward": [(0, 1)], "backward": [(1, 0)], "both": [(0, 1), (1, 0)]}[config.direction]
    directions = []
    for source, target in places:
        domains = tuple((config.source, config.target)[place] for place in (source, target))
        soft_labels(config.amount, *domains, config.num_domains)  # refuses impossible numbers
        images = ImageSet.from_folder(data_dirs[source], models[source][2].model.image_size, skip_bad=config.skip_bad)
        if config.num_images:
            images = images.subset(range(min(config.num_images, len(images))))
        folder = TranslationFolder(Path(config.out_dir) / f"translation_{domains[0]}_{domains[1]}",
                                   distinct_names(images.paths), config.amount)
        settings = _settings(parsed, config, descriptions[source], descriptions[target])
        folder.check(settings)
        directions.append(Direction(domains, models[source], models[target], images, data_dirs[source], folder,
                                    settings))
    if world.is_main:
        for direction in directions:
            direction.folder.open(direction.settings)
    world.barrier()
    return directions


def run_direction(direction, parsed, world, bar):
    """Translate the images of one Direction and write its folder; `bar` shows evaluations and sentences."""
    config = _resolve_sampler(parsed)
    images, folder = direction.images, direction.folder
    if images.bad:
        bar.note(images.say_bad())
    bar.note(f"translating {len(images)} images of {direction.data_dir} in {config.amount} steps, on {world.device}, "
             f"{world.size} process(es); writing to {folder.path.resolve()}")

    def translate_batch(x):
        (source, diffusion, _), (target, target_diffusion, _) = direction.source, direction.target
        return translate(source, target, x.to(world.device), config.amount, diffusion, target_diffusion,
                         sampler=_sampler(config), rule=config.depth_schedule, feature=config.feature,
                         domains=direction.domains, num_domains=config.num_domains,
                         max_memory=config.max_memory * 1024**3, batch_size=config.batch_size,
                         on_step=bar.add), diffusion

    translate_set(folder, images, translate_batch, config, world, bar.note)
    if world.is_main:
        used = dataclasses.asdict(config) | {"timestep_respacing": parsed.timestep_respacing}
        checkpoints = {role: {"path": str(getattr(direction, role)[2].path)} | direction.settings[f"{role}_model"]
                       for role in ("source", "target")}
        facts = run_facts(used, checkpoints, world.device) | {"sampler": config.sampler}
        labels = soft_labels(config.amount, *direction.domains, config.num_domains)
        write_tables(folder, images, labels, direction.domains, config, facts, bar.note)
        bar.note(f"done: {len(images) * config.amount} images, labels.csv, overview.png, run.json in "
                 f"{folder.path.resolve()}")


def _resolve_sampler(parsed):
    """Return the TranslationConfig; --timestep_respacing without --sampler means DDIM on those steps."""
    config = parsed.take(TranslationConfig)
    if parsed.timestep_respacing and "sampler" not in parsed.given:
        return dataclasses.replace(config, sampler="ddim")
    return config


def _sampler(config):
    return make_sampler(config.sampler, config.encode_steps, config.decode_steps, config.clip_denoised)


def _resolve_paths(config):
    """Return ([source, target] model paths, [source, target] image folders), the embedded ones where none is given."""
    models = [config.source_model_path, config.target_model_path]
    folders = [config.data_dir, config.target_data_dir]
    if not any(models):
        models = [str(embedded.model_dir(domain)) for domain in embedded.DOMAINS]
        folders = [folder or str(embedded.source_dir(domain))
                   for folder, domain in zip(folders, embedded.DOMAINS, strict=True)]
    if not all(models):
        raise UserError("one model path was given: expected --source_model_path and --target_model_path, or neither "
                        "for the embedded default")
    needed = {"forward": ["--data_dir"], "backward": ["--target_data_dir"],
              "both": ["--data_dir", "--target_data_dir"]}[config.direction]
    for flag, folder in zip(("--data_dir", "--target_data_dir"), folders, strict=True):
        if flag in needed and not folder:
            raise UserError(f"no source images for --direction {config.direction}: give {flag} FOLDER, or another "
                            f"--direction (forward, backward, both)")
    return models, folders


def _check_pair(models, config):
    """Refuse two models that can't be walked together, and options that they can't serve."""
    (_, diffusion, source), (_, target_diffusion, target) = models
    sizes = source.model.image_size, target.model.image_size
    if sizes[0] != sizes[1]:
        raise UserError(f"the source model makes {sizes[0]}-pixel images and the target model {sizes[1]}-pixel ones: "
                        f"expected one size; train both with the same --image_size")
    for loaded in (source, target):
        if loaded.model.class_cond:
            raise UserError(f"{loaded.path} is class-conditional: expected one unconditional model per domain; train "
                            f"it without --class_cond")
    check_schedules(diffusion, target_diffusion)
    for walked in (diffusion, target_diffusion):
        _sampler(config).check(walked)
    check_depth_options(diffusion.num_timesteps, config.amount, config.depth_schedule)
    if config.depth_schedule != "uniform":
        measure_feature(torch.zeros(1, 3, sizes[0], sizes[0]), config.feature)  # refuses images that are too small


def _settings(parsed, config, source, target):
    """Return what decides how images look, the models as `describe` gives them; a folder continues only with it."""
    return {"source_model": source, "target_model": target, "amount": config.amount,
            "depth_schedule": config.depth_schedule, "feature": config.feature, "sampler": config.sampler,
            "encode_steps": config.encode_steps, "decode_steps": config.decode_steps,
            "timestep_respacing": parsed.timestep_respacing, "clip_denoised": config.clip_denoised}
