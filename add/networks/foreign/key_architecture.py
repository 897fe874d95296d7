"""The architecture of a network (kind, widths, levels, attention, outputs) from the keys and shapes of its weights.

guided-diffusion, improved-diffusion, DDIB, ADD and this program name the layers alike.
"""
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from add.errors import UserError
from add.networks.encoder import POOLS
from add.networks.network_configs import IMAGE_CHANNELS, ClassifierConfig, NetworkConfig, PointConfig, kind_of
from add.networks.stages import level_widths
from add.networks.unet_shape import (
    CHANNEL_MULT,
    PATCH_SIZES,
    SUPER_RES_CHANNEL_MULT,
    choose_attention_rates,
    choose_channel_mult,
    places_of,
)

SIZE_NAMES = {"image": "image_size", "super_res": "large_size", "classifier": "image_size"}
DEFAULT_MULT = {"image": CHANNEL_MULT, "super_res": SUPER_RES_CHANNEL_MULT, "classifier": CHANNEL_MULT}


@dataclass(frozen=True)
class Architecture:
    """The features of a network that keys and shapes tell; None where they do not, or where a kind has no such thing.

    widths: channels of each level, finest first. attends: which levels do. classes: rows of the label embedding, or
    classes that a classifier tells apart. pooled_size: pixels along a side of the map that attention pooling takes.
    head_start_size: pixels along a side of the images that a Gaussian head start is for, where there is one.
    """

    kind: str
    num_channels: int
    num_res_blocks: int
    learn_sigma: bool | None
    widths: tuple[int, ...] = ()
    attends: tuple[bool, ...] = ()
    classes: int | None = None
    use_scale_shift_norm: bool | None = None
    resblock_updown: bool | None = None
    pool: str | None = None
    pooled_size: int | None = None
    patch_size: int = 1
    head_start_size: int | None = None


def architecture_of(config: NetworkConfig) -> Architecture:
    """Return the Architecture that the network of a config shows in its keys and shapes."""
    kind = kind_of(config)
    if isinstance(config, PointConfig):
        return Architecture(kind, config.num_channels, config.num_res_blocks, config.learn_sigma)
    if isinstance(config, ClassifierConfig):
        channels, depth, resolutions = (
            config.classifier_width, config.classifier_depth, config.classifier_attention_resolutions)
    else:
        channels, depth, resolutions = config.num_channels, config.num_res_blocks, config.attention_resolutions
    size = getattr(config, SIZE_NAMES[kind])
    patch_size = getattr(config, "patch_size", 1)
    places = places_of(size, patch_size)
    multipliers = choose_channel_mult(places, getattr(config, "channel_mult", ""), DEFAULT_MULT[kind])
    rates = choose_attention_rates(places, resolutions, len(multipliers))
    common: dict[str, Any] = {
        "kind": kind, "num_channels": channels, "num_res_blocks": depth,
        "widths": tuple(level_widths(channels, multipliers)),
        "attends": tuple(2**level in rates for level in range(len(multipliers)))}
    if isinstance(config, ClassifierConfig):
        pooled = size // 2 ** (len(multipliers) - 1) if config.classifier_pool == "attention" else None
        return Architecture(
            learn_sigma=None, classes=config.num_classes, use_scale_shift_norm=config.classifier_use_scale_shift_norm,
            resblock_updown=config.classifier_resblock_updown if len(multipliers) > 1 else None,
            pool=config.classifier_pool, pooled_size=pooled, **common)
    rows = config.num_classes + (getattr(config, "class_dropout", 0) > 0)
    return Architecture(
        learn_sigma=config.learn_sigma, classes=rows if config.class_cond else None,
        use_scale_shift_norm=config.use_scale_shift_norm,
        resblock_updown=config.resblock_updown if len(multipliers) > 1 else None, patch_size=patch_size, **common)


def read_architecture(state_dict: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Architecture:
    """Return the Architecture of a state dict, {key: anything with a shape}.

    Raises UserError for a network that is not one of ours. `given` may hold the residual blocks per level, for a
    network whose keys fit more than one number of them.
    """
    channels = _shape(state_dict, "time_embed.0.weight", 2)[1]
    first = _shape(state_dict, "input_blocks.0.0.weight")
    if len(first) == 2:
        return _read_points(state_dict, channels)
    patches = {IMAGE_CHANNELS * size**2: size for size in PATCH_SIZES}
    if len(first) != 4 or first[1] not in (*patches, 2 * IMAGE_CHANNELS):
        raise _foreign(f"its first layer has the shape {list(first)}, not that of a network for images of "
                       f"{IMAGE_CHANNELS} channels")
    classifies = not any(key.startswith("output_blocks.") for key in state_dict)
    kind = "classifier" if classifies else "image" if first[1] in patches else "super_res"
    depth, widths, attends, updown = _read_levels(state_dict, kind, channels, given or {})
    common: dict[str, Any] = {
        "kind": kind, "num_channels": channels, "num_res_blocks": depth, "widths": widths, "attends": attends,
        "resblock_updown": updown, "use_scale_shift_norm": _read_scale_shift(state_dict)}
    if classifies:
        return Architecture(learn_sigma=None, **common, **_read_pool(state_dict))
    patch_size = patches.get(first[1], 1)
    outputs, one = _shape(state_dict, "out.2.weight", 4)[0], IMAGE_CHANNELS * patch_size**2
    if outputs not in (one, 2 * one):
        raise _foreign(f"its output has {outputs} channels, not {one} or {2 * one}")
    classes = _shape(state_dict, "label_emb.weight", 2)[0] if "label_emb.weight" in state_dict else None
    size = _shape(state_dict, "head_start.mean", 4)[-1] if "head_start.mean" in state_dict else None
    return Architecture(learn_sigma=outputs != one, classes=classes, patch_size=patch_size, head_start_size=size,
                        **common)


def _read_points(state_dict, channels):
    depth = 0
    while f"input_blocks.1.{depth}.in_layers.0.weight" in state_dict:
        depth += 1
    outputs, width = _shape(state_dict, "out.2.weight", 2)
    if depth == 0 or outputs not in (2, 4) or width != 2 * channels:
        raise _foreign("its layers are not those of the network for points in the plane")
    return Architecture("points", channels, depth, learn_sigma=outputs == 4)


def _read_levels(state_dict, kind, channels, given):
    """Return (residual blocks per level, width of each level, which attend, whether residual blocks resample)."""
    num_blocks = 1 + max(int(key.split(".")[1]) for key in state_dict if key.startswith("input_blocks."))
    name = "classifier_depth" if kind == "classifier" else "num_res_blocks"
    readings = [(depth, *levels) for depth in range(1, num_blocks) if num_blocks % (depth + 1) == 0
                and (levels := _levels(state_dict, num_blocks, depth, kind != "classifier")) is not None]
    if kind == "classifier":  # of which only the default multipliers can be built
        readings = [reading for reading in readings
                    if [width / channels for width in reading[1]] in map(list, CHANNEL_MULT.values())]
    if not readings:
        raise _foreign(f"its {num_blocks} blocks on the way down form no levels")
    if len(readings) > 1:
        readings = [reading for reading in readings if reading[0] == given.get(name)] or readings
    if len(readings) > 1:
        raise UserError(f"the weights fit {' or '.join(str(reading[0]) for reading in readings)} residual blocks per "
                        f"level: expected one reading; give --{name}")
    return readings[0]


def _levels(state_dict, num_blocks, depth, has_up_path):
    """Return (widths, attends, resblock_updown) if the blocks form levels of `depth` residual blocks, else None."""
    widths: list[int] = []
    attends: list[bool] = []
    resampling = set()
    for start in range(0, num_blocks, depth + 1):
        blocks = [f"input_blocks.{place}" for place in range(start + 1, start + depth + 1)]
        found = {(_width(state_dict, f"{block}.0"), f"{block}.1.qkv.weight" in state_dict) for block in blocks}
        if len(found) > 1 or (None, False) in found or (None, True) in found:
            return None
        if start > 0:
            kind = _resampler(state_dict, f"input_blocks.{start}", widths[-1])
            resampling.add(kind)
        if has_up_path:
            last = f"output_blocks.{start + depth}"
            ups = [any(f"{block}.{layer}.{key}" in state_dict for layer in (1, 2) for key in
                       ("conv.weight", "in_layers.0.weight"))
                   for block in (f"output_blocks.{place}" for place in range(start, start + depth + 1))]
            is_coarse = start + depth + 1 < num_blocks
            if f"{last}.0.in_layers.0.weight" not in state_dict or ups != [False] * depth + [is_coarse]:
                return None
        (width, attend), = found
        widths.append(width)
        attends.append(attend)
    if len(resampling) > 1 or None in resampling:
        return None
    return tuple(widths), tuple(attends), (resampling.pop() == "residual" if resampling else None)


def _width(state_dict, block):
    """Return the channels that a residual block puts out, or None for another block."""
    weight = state_dict.get(f"{block}.out_layers.3.weight")
    return None if weight is None else weight.shape[0]


def _resampler(state_dict, block, width):
    """Return what halves the image in a block: "conv", "residual", or None if it does not."""
    if f"{block}.0.op.weight" in state_dict:
        return "conv"
    keeps = _width(state_dict, f"{block}.0") == width and f"{block}.0.skip_connection.weight" not in state_dict
    return "residual" if keeps and f"{block}.1.qkv.weight" not in state_dict else None


def _read_scale_shift(state_dict):
    told = _shape(state_dict, "middle_block.0.emb_layers.1.weight", 2)[0]
    return told == 2 * _shape(state_dict, "middle_block.0.out_layers.0.weight", 1)[0]


def _read_pool(state_dict):
    """Return pool, pooled_size and classes of a classifier's last layers."""
    if "out.2.positional_embedding" in state_dict:
        places = _shape(state_dict, "out.2.positional_embedding", 2)[1]
        return {"pool": "attention", "pooled_size": math.isqrt(places - 1),
                "classes": _shape(state_dict, "out.2.c_proj.weight", 3)[0]}
    if "out.1.weight" in state_dict:
        return {"pool": "spatial_v2", "classes": _shape(state_dict, "out.3.weight", 2)[0]}
    if "out.3.weight" in state_dict:
        return {"pool": "adaptive", "classes": _shape(state_dict, "out.3.weight", 4)[0]}
    if "out.2.weight" in state_dict:
        return {"pool": "spatial", "classes": _shape(state_dict, "out.2.weight", 2)[0]}
    raise _foreign(f"its last layers pool in none of the ways {', '.join(POOLS)}")


def _shape(state_dict, key, ndim=None):
    shape = getattr(state_dict.get(key), "shape", None)
    if shape is None:
        raise _foreign(f"it has no tensor {key}")
    if ndim is not None and len(shape) != ndim:
        raise _foreign(f"{key} has the shape {list(shape)}")
    return tuple(shape)


def _foreign(reason):
    return UserError(f"the weights are of no network that is known here ({reason}): expected a state dict of "
                     f"guided-diffusion, improved-diffusion, DDIB, ADD or this program; save model.state_dict() of "
                     f"such a network")
