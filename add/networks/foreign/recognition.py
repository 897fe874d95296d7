"""Recognition of a network's options from its state dict alone, for checkpoints that come without a configuration.

Keys and shapes tell the `architecture`: the kind of network, its width, depth, levels, attention, classes and whether
it predicts variances. They do not tell the heads of an attention layer and their order, the image size, or the
diffusion: these come from the options that the user gave, else from the published file of the same architecture
(`published`), else from the projects' defaults; what was not told is said in notes.
"""
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.networks.foreign.key_architecture import DEFAULT_MULT, SIZE_NAMES, architecture_of, read_architecture
from add.networks.foreign.published_models import PUBLISHED
from add.networks.network_configs import KINDS, NetworkConfig
from add.networks.unet_shape import CHANNEL_MULT, parse_ints

ConfigT = TypeVar("ConfigT", bound=NetworkConfig | DiffusionConfig)

# What may differ from a published file's options without making the weights another file's.
HARMLESS = {"use_fp16", "classifier_use_fp16", "use_checkpoint", "dropout", "timestep_respacing", "use_kl",
            "rescale_learned_sigmas", "min_snr_gamma", "even_share"}
# What a user may spell in another way, or give in vain; the architecture decides it.
TOLD = {"attention_resolutions", "classifier_attention_resolutions", "channel_mult", "num_classes"}
# What decides the meaning of the weights, or what is made with them, and is not told by keys and shapes.
MEANING = ("num_heads", "num_heads_upsample", "num_head_channels", "use_new_attention_order", "small_size", "task",
           "diffusion_steps", "noise_schedule", "prediction", "rescale_timesteps")


@dataclass(frozen=True)
class Recognised:
    """A recognised network: configs of the network and its diffusion, and sentences on what was not told."""

    model: NetworkConfig
    diffusion: DiffusionConfig
    notes: tuple[str, ...]


def recognise(state_dict: Mapping[str, Any], given: Mapping[str, Any] | None = None,
              assumed: Mapping[str, Any] | None = None) -> Recognised:
    """Return the Recognised network of a state dict.

    Args:
        state_dict: {key: anything with a shape}, of guided-diffusion, improved-diffusion, DDIB, ADD or ours.
        given: {option: value} that the user gave; options of other kinds of networks are passed over.
        assumed: {option: value} to take instead of a default, where no published file decides.

    Raises:
        UserError: not one of these networks, an option that contradicts the keys, or a size that nothing tells.
    """
    given, assumed = given or {}, assumed or {}
    found = read_architecture(state_dict, given)
    size_name = SIZE_NAMES.get(found.kind)
    published = _published(found, given)
    notes: list[str] = []
    size = None if size_name is None else _size(found, given, size_name, published, notes)
    told = _told(found, given, size, size_name)
    _refuse_contradictions(found, told, given)
    names = {field.name for config in (KINDS[found.kind], DiffusionConfig) for field in fields(config)}
    known = told | {name: value for name, value in given.items() if name in names}  # in the user's spelling
    looked_up = _agreed(published, names - set(known))
    if published:
        notes.append(_say_published(published, looked_up))
    known |= looked_up
    options = {name: value for name, value in assumed.items() if name in names} | known
    if found.kind == "super_res" and "small_size" not in options:
        options["small_size"] = max(1, options[size_name] // 4)
    model, diffusion = _build(KINDS[found.kind], options), _build(DiffusionConfig, options)
    notes += _say_assumed((model, diffusion), set(known))
    return Recognised(model, diffusion, tuple(notes))


def _build(config_class: type[ConfigT], options: Mapping[str, Any]) -> ConfigT:
    """Return the config of the options that its class has."""
    return config_class(**{field.name: options[field.name] for field in fields(config_class) if field.name in options})


def _published(found, given):
    """Return {name: (config, DiffusionConfig)} of the published files of this architecture.

    Options given that a file was not made with say that the weights are not that file's.
    """
    relevant = set(given) - HARMLESS - TOLD
    return {name: configs for name, configs in PUBLISHED.items() if architecture_of(configs[0]) == found
            and all(value == given[option] for option, value in _options(configs).items() if option in relevant)}


def _options(configs):
    model, diffusion = configs
    return vars(diffusion) | vars(model)


def _agreed(published, names):
    """Return {option: value} of the options `names` that all of the published files share."""
    options = [_options(configs) for configs in published.values()]
    return {name: options[0][name] for name in names
            if options and all(other[name] == options[0][name] for other in options)}


def _size(found, given, name, published, notes):
    """Return the image size in pixels: told by the keys, given, published, or that of the channel multipliers."""
    halvings = len(found.widths) - 1
    if found.pooled_size is not None:
        return found.pooled_size * 2**halvings
    if found.head_start_size is not None:
        return found.head_start_size
    if name in given:
        return given[name]
    sizes = {getattr(model, name) for model, _ in published.values()}
    if len(sizes) == 1:
        return sizes.pop()
    shown = ",".join(map(str, _multipliers(found)))
    fitting = [size for size, multipliers in DEFAULT_MULT[found.kind].items()
               if list(multipliers) == _multipliers(found)]
    if len(fitting) != 1:
        raise UserError(f"the weights do not tell the image size: expected channel multipliers that are the default of "
                        f"one size, and {shown} are of {' and '.join(map(str, fitting)) or 'none'}; give --{name}, in "
                        f"pixels")
    size = fitting[0] * found.patch_size
    notes.append(f"{name} {size} is assumed, whose default channel multipliers these are ({shown}); give --{name} if "
                 f"it is another")
    return size


def _multipliers(found):
    """Return the channel multipliers of each level, whole numbers where they are."""
    quotients = [width / found.num_channels for width in found.widths]
    return [int(quotient) if quotient.is_integer() else quotient for quotient in quotients]


def _told(found, given, size, size_name):
    """Return {option: value} of all that keys, shapes and the image size tell."""
    if found.kind == "points":
        return {"num_channels": found.num_channels, "num_res_blocks": found.num_res_blocks,
                "learn_sigma": found.learn_sigma}
    multipliers = _multipliers(found)
    places = size // found.patch_size
    resolutions = ",".join(str(places // 2**level) for level, attends in enumerate(found.attends) if attends)
    by_default = multipliers == list(DEFAULT_MULT[found.kind].get(places, ()))
    told = {"num_channels": found.num_channels, "num_res_blocks": found.num_res_blocks,
            "attention_resolutions": resolutions, "use_scale_shift_norm": found.use_scale_shift_norm}
    if found.resblock_updown is not None:
        told["resblock_updown"] = found.resblock_updown
    if found.kind == "classifier":
        told = {_classifier_name(name): value for name, value in told.items()}
        told |= {"num_classes": found.classes, "classifier_pool": found.pool}
    else:
        told |= {"learn_sigma": found.learn_sigma, "class_cond": found.classes is not None}
        if found.classes is not None:
            told["num_classes"] = found.classes - (given.get("class_dropout", 0) > 0)
    if found.kind == "image":
        if not by_default and not all(isinstance(multiplier, int) for multiplier in multipliers):
            raise UserError(f"the channel multipliers {','.join(map(str, multipliers))} are not whole numbers, which "
                            f"only images of 512 pixels may have: expected --image_size 512, got {size}")
        told |= {"channel_mult": "" if by_default else ",".join(map(str, multipliers)),
                 "patch_size": found.patch_size,
                 "head_start": "none" if found.head_start_size is None else "gaussian"}
    elif not by_default:
        raise UserError(f"--{size_name} {size} has other channel multipliers than the weights, which have "
                        f"{','.join(map(str, multipliers))}: expected the default ones of the size; give the "
                        f"--{size_name} that it was trained with")
    return told | {size_name: size}


def _classifier_name(name):
    return {"num_channels": "classifier_width", "num_res_blocks": "classifier_depth"}.get(name, f"classifier_{name}")


def _refuse_contradictions(found, told, given):
    """Raise UserError for options given that keys and shapes deny."""
    problems = []
    for name in told.keys() & given.keys():
        old, new = told[name], given[name]
        if name == "num_classes" and found.classes is None:
            continue
        if name.endswith("attention_resolutions"):
            same = set(parse_ints(new, name)) == set(parse_ints(old, name))
        elif name == "channel_mult":
            places = told["image_size"] // found.patch_size
            same = list(parse_ints(new, name) or CHANNEL_MULT.get(places, ())) == _multipliers(found)
            old = ",".join(map(str, _multipliers(found)))
        else:
            same = new == old
        if not same:
            problems.append(f"  --{name} {new}, but the weights have {old}")
    if problems:
        raise UserError("\n".join(["options contradict the weights:", *sorted(problems),
                                   "leave them out: the keys and shapes tell them"]))


def _say_published(published, looked_up):
    shown = [f"{name} {looked_up[name]}" for name in _decisive(looked_up)]
    taken = f", with {', '.join(shown)}" if shown else ""
    return (f"the weights look like {', '.join(published)} and are taken for it{taken}; give the options of another "
            f"model if they are not")


def _say_assumed(configs, known):
    """Return sentences on the options that nothing told, and on one that improved-diffusion has another default of."""
    options = _options(configs)
    known = known | {"prediction"} if "predict_xstart" in known else known
    unsure = [f"--{name} {options[name]}" for name in _decisive(options) if name not in known]
    notes = [f"the weights do not tell everything, assumed: {', '.join(unsure)}; give those that are otherwise"] if (
        unsure) else []
    if options["diffusion_steps"] != 1000 and "rescale_timesteps" not in known:
        notes.append("a model trained by improved-diffusion on other than 1000 steps needs --rescale_timesteps True, "
                     "its default")
    return notes


def _decisive(options):
    """Return the names of MEANING that say something in a dict of options."""
    overridden = {"num_heads", "num_heads_upsample"} if options.get("num_head_channels", -1) != -1 else set()
    return [name for name in MEANING if options.get(name, -1) != -1 and name not in overridden]
