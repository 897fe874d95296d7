"""The main job from options to Directions: one model per domain, all checked before anything is written."""
from add.data import ImageSet
from add.data.translation import TranslationConfig
from add.data.translation_folder import distinct_names
from add.errors import UserError
from add.runtime.directions import (
    Direction,
    check_walk,
    first_images,
    folder_of,
    open_folders,
    resolve_config,
    sampler_of,
    used_options,
    walk_settings,
)
from add.runtime.domains import find_domains
from add.runtime.models import describe, load_given


def prepare_directions(parsed, world):
    """Return the `Direction`s that the options ask for; nothing is written before all of them are known to work.

    Raises:
        UserError: unusable models, images, options or output folder.
    """
    config = resolve_config(parsed, TranslationConfig)
    domains = find_domains(config, parsed.given)
    models = {number: _load(path, parsed, world, config, is_source=not config.models_dir and number == config.source)
              for number, path in domains.models.items()}
    check_walk(list(models.values()), config)
    descriptions = {number: describe(loaded) for number, (_, _, loaded) in models.items()}
    size = next(iter(models.values()))[2].model.image_size
    images = {number: first_images(ImageSet.from_folder(folder, size, recursive=bool(config.models_dir),
                                                        skip_bad=config.skip_bad), config)
              for number in dict.fromkeys(way[0] for way in domains.ways)
              for folder in [domains.images[number]]}
    directions = []
    for way in domains.ways:
        roles = ["source", *(f"domain_{number}" for number in way[1:-1]), "target"]
        told = {role: descriptions[number] for role, number in zip(roles, way, strict=True)}
        networks, diffusions, loaded = zip(*(models[number] for number in way), strict=True)
        directions.append(Direction(
            way, domains.number, networks, diffusions, sampler_of(config), config, images[way[0]],
            domains.images[way[0]], folder_of(config, way, distinct_names(images[way[0]].paths)),
            settings={f"{role}_model": description for role, description in told.items()}
            | walk_settings(parsed, config),
            checkpoints={role: {"path": str(found.path)} | told[role]
                         for role, found in zip(roles, loaded, strict=True)},
            options=used_options(parsed, config) | ({"source": way[0], "target": way[-1], "num_domains": domains.number}
                                                    if domains.names else {}),
            names=tuple(map(domains.say, way)) if domains.names else (),
            further={"domains": domains.names} if domains.names else {}))
    open_folders(directions, world)
    return directions


def _load(path, parsed, world, config, is_source):
    """Return (network, diffusion, LoadedConfig) of one domain's model."""
    # The published defaults for checkpoints without a config: global-priority attention in the source model.
    found = load_given(path, parsed, world.device, config.backend, config.precision, use_new_attention_order=is_source)
    if found[2].model.class_cond:
        raise UserError(f"{found[2].path} is class-conditional: expected one unconditional model per domain; translate "
                        f"between its classes with python scripts/imagenet_translation.py, or train it without "
                        f"--class_cond")
    return found
