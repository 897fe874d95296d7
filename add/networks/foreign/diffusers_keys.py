"""Conversion of a UNetModel's options and weights to those of diffusers' `UNet2DModel`, and back.

Both are the network of Dhariwal and Nichol 2021 (ADM, arXiv:2105.05233) under other names, and diffusers itself is
not needed. What differs:

- diffusers has one projection each for queries, keys and values, and knows the global head order only (queries
  before keys before values); a model of the other order is permuted, which is exact.
- diffusers sets one width of an attention head (`attention_head_dim`) for the whole network, or one head per layer.
- diffusers embeds the timestep at the width of the first level; ours at `num_channels`. They must be the same.

Our network is always built as ModelConfig says, so what a UNet2DModel may have besides is refused.
"""
import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from add.config import MOST_CHANNELS, MOST_CLASSES, MOST_LAYERS, MOST_PIXELS
from add.errors import UserError
from add.networks.attention import count_heads, permute_attention_order
from add.networks.network_configs import IMAGE_CHANNELS, ModelConfig, create_model
from add.networks.stages import level_widths
from add.networks.unet_shape import choose_attention_rates, choose_channel_mult

# Our name of a layer within a block -> theirs; "qkv" becomes three.
LAYERS = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
    "out_layers.3": "conv2", "skip_connection": "conv_shortcut", "op": "conv", "conv": "conv",
    "norm": "group_norm", "proj_out": "to_out.0",
}
ENDS = {
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
    "label_emb": "class_embedding", "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out",
    "middle_block.0": "mid_block.resnets.0", "middle_block.1": "mid_block.attentions.0",
    "middle_block.2": "mid_block.resnets.1",
}
PROJECTIONS = ("to_q", "to_k", "to_v")

# (attention, residual blocks for resampling) -> (type of a block on the way down, on the way up)
BLOCK_TYPES = {
    (False, False): ("DownBlock2D", "UpBlock2D"),
    (False, True): ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"),
    (True, False): ("AttnDownBlock2D", "AttnUpBlock2D"),
    (True, True): ("AttnDownBlock2D", "AttnUpBlock2D"),
}

# What a UNet2DModel must be told, or leave at its default, to be our network.
FIXED: dict[str, Any] = {
    "in_channels": IMAGE_CHANNELS, "center_input_sample": False, "time_embedding_type": "positional",
    "freq_shift": 0, "flip_sin_to_cos": True, "mid_block_type": "UNetMidBlock2D", "mid_block_scale_factor": 1,
    "downsample_padding": 1, "act_fn": "silu", "norm_num_groups": 32, "norm_eps": 1e-5, "add_attention": True,
    "class_embed_type": None, "num_train_timesteps": None,
}
# UNet2DModel's defaults of what may vary.
DEFAULTS: dict[str, Any] = {
    "sample_size": None, "out_channels": 3, "time_embedding_dim": None,
    "down_block_types": ("DownBlock2D", *["AttnDownBlock2D"] * 3),
    "up_block_types": (*["AttnUpBlock2D"] * 3, "UpBlock2D"), "block_out_channels": (224, 448, 672, 896),
    "layers_per_block": 2, "downsample_type": "conv", "upsample_type": "conv", "dropout": 0.0,
    "attention_head_dim": 8, "attn_norm_num_groups": None, "resnet_time_scale_shift": "default",
    "num_class_embeds": None,
}
# What their config.json may hold, as add.data.read_back writes it.
UNET_SHAPE: dict[str, Any] = {
    "_class_name?": str, "sample_size?": (None, [int], range(1, MOST_PIXELS + 1)), "out_channels?": int,
    "time_embedding_dim?": (None, int), "down_block_types?": [str], "up_block_types?": [str],
    "block_out_channels?": [range(1, MOST_CHANNELS + 1)], "layers_per_block?": range(1, MOST_LAYERS + 1),
    "downsample_type?": str, "upsample_type?": str, "dropout?": float,
    "attention_head_dim?": (None, range(1, MOST_CHANNELS + 1)), "attn_norm_num_groups?": (None, int),
    "resnet_time_scale_shift?": str, "num_class_embeds?": (None, range(1, MOST_CLASSES + 1))}
SHIFTS = {False: "default", True: "scale_shift"}


def to_diffusers(state_dict: Mapping[str, torch.Tensor],
                 config: ModelConfig) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return (config, state dict) so that UNet2DModel(**config), loaded with it, computes what our model does.

    Its forward takes the class labels as `class_labels`, and returns the prediction as `.sample`. With class_dropout
    the label num_classes stands for no class, there as here.

    Args:
        state_dict: weights of the UNetModel of `config`; left alone.
        config: ModelConfig. `use_checkpoint` and `use_fp16` change no weight and are not passed on.

    Raises:
        UserError: for a network that UNet2DModel cannot express, and for weights of another network.
    """
    their_config = _their_config(config)
    table = _key_table(config)
    _check_keys(state_dict, table, "this network")
    if not config.use_new_attention_order:
        state_dict = permute_attention_order(
            state_dict, True, config.num_heads, config.num_head_channels, config.num_heads_upsample)
    theirs: dict[str, torch.Tensor] = {}
    for key, (names, shape) in table.items():
        _check_shape(key, state_dict[key], shape)
        tensor = state_dict[key].flatten(1) if len(shape) == 3 else state_dict[key]  # [C_out, C, 1] -> [C_out, C]
        parts = tensor.chunk(len(names))
        theirs |= {name: part.clone() for name, part in zip(names, parts, strict=True)}
    return their_config, theirs


def from_diffusers(config: Mapping[str, Any],
                   state_dict: Mapping[str, torch.Tensor]) -> tuple[ModelConfig, dict[str, torch.Tensor]]:
    """Return (ModelConfig, state dict) of a UNet2DModel's config and weights.

    The model has the global head order (`use_new_attention_order=True`); permute_attention_order gives the other. Every
    class label counts as a class: diffusers does not tell whether the last one stands for no class.

    Args:
        config: a dict as in the model's config.json; entries that begin with an underscore say nothing here, and
            those that are left out have UNet2DModel's defaults.
        state_dict: its weights; left alone.

    Raises:
        UserError: for a network that is not ours, and for weights of another network.
    """
    our_config = _our_config(config)
    table = _key_table(our_config)
    _check_keys(state_dict, [name for names, _ in table.values() for name in names], "the network of this config")
    ours = {}
    for key, (names, shape) in table.items():
        part_shape = (shape[0] // len(names), *shape[1:2 if len(shape) == 3 else None])
        for name in names:
            _check_shape(name, state_dict[name], part_shape)
        ours[key] = torch.cat([state_dict[name] for name in names]).reshape(shape)  # a copy
    return our_config, ours


def _their_config(config):
    """Return UNet2DModel's options for a ModelConfig."""
    if config.patch_size > 1:
        raise UserError(f"the network takes patches of {config.patch_size} pixels: expected --patch_size 1, for "
                        f"diffusers' UNet2DModel folds no image; only such a model can be converted")
    multipliers = choose_channel_mult(config.image_size, config.channel_mult)
    rates = choose_attention_rates(config.image_size, config.attention_resolutions, len(multipliers))
    widths = level_widths(config.num_channels, multipliers)
    if widths[0] != config.num_channels:
        raise UserError(
            f"the first level has {widths[0]} channels and the timestep embedding {config.num_channels}: expected "
            f"the same for diffusers, which has one number for both; only a model whose first channel multiplier "
            f"is 1 can be converted, and this one has {multipliers[0]}")
    types = [BLOCK_TYPES[2**level in rates, config.resblock_updown] for level in range(len(widths))]
    resampling = "resnet" if config.resblock_updown else "conv"
    return FIXED | {
        "sample_size": config.image_size, "out_channels": IMAGE_CHANNELS * (2 if config.learn_sigma else 1),
        "down_block_types": [down for down, _ in types], "up_block_types": [up for _, up in reversed(types)],
        "block_out_channels": widths, "layers_per_block": config.num_res_blocks,
        "downsample_type": resampling, "upsample_type": resampling, "dropout": float(config.dropout),
        "attention_head_dim": _head_width(config, widths, rates),
        "attn_norm_num_groups": 32,  # else the middle attends without normalising where scale_shift is on
        "resnet_time_scale_shift": SHIFTS[config.use_scale_shift_norm],
        "num_class_embeds": config.num_classes + (config.class_dropout > 0) if config.class_cond else None,
    }


def _head_width(config, widths, rates):
    """Return the channels of an attention head in every layer, or None for one head as wide as its layer."""
    up_heads = config.num_heads if config.num_heads_upsample == -1 else config.num_heads_upsample
    attending = [width for level, width in enumerate(widths) if 2**level in rates]
    layers = [(width, config.num_heads) for width in [*attending, widths[-1]]]  # the middle always attends
    layers += [(width, up_heads) for width in attending]
    found = {(width, width // count_heads(width, heads, config.num_head_channels)) for width, heads in layers}
    head_widths = {head for _, head in found}
    if len(head_widths) == 1:
        return head_widths.pop()
    if all(width == head for width, head in found):
        return None
    listed = ", ".join(f"{head} in a layer of {width}" for width, head in sorted(found))
    raise UserError(
        f"the attention heads have different widths ({listed}): expected one width, or one head per layer, which is "
        f"all that diffusers can express; only models trained with --num_head_channels, or with attention in layers "
        f"of one width, can be converted")


def _our_config(config):
    """Return the ModelConfig of UNet2DModel's options."""
    config = {key: value for key, value in config.items() if not key.startswith("_")}
    unknown = [key for key, value in config.items() if key not in FIXED | DEFAULTS and value is not None]
    if unknown:
        raise UserError(f"the config sets {', '.join(unknown)}, which UNet2DModel does not have: expected the config "
                        f"of an unconditional or class-conditional UNet2DModel; other networks can't be converted")
    for key, expected in FIXED.items():
        given = config.get(key, expected)
        if given != expected and not (key == "act_fn" and given == "swish"):  # another name of silu
            raise _cannot(key, given, expected)
    config = DEFAULTS | config
    multipliers = _multipliers(config)
    attends, resblock_updown = _blocks(config, len(multipliers))
    size, classes = config["sample_size"], config["num_class_embeds"]
    if not isinstance(size, int):
        raise _cannot("sample_size", size, "one number, height and width in pixels")
    if config["out_channels"] not in (IMAGE_CHANNELS, 2 * IMAGE_CHANNELS):
        raise _cannot("out_channels", config["out_channels"], f"{IMAGE_CHANNELS}, or twice that with learned variances")
    if config["resnet_time_scale_shift"] not in SHIFTS.values():
        raise _cannot("resnet_time_scale_shift", config["resnet_time_scale_shift"], "default or scale_shift")
    scale_shift = config["resnet_time_scale_shift"] == SHIFTS[True]
    groups = config["attn_norm_num_groups"]
    if groups != 32 and (scale_shift or groups is not None):
        raise _cannot("attn_norm_num_groups", groups, 32)
    head_width = config["attention_head_dim"]
    return ModelConfig(
        image_size=size, num_channels=config["block_out_channels"][0], num_res_blocks=config["layers_per_block"],
        num_heads=1 if head_width is None else ModelConfig.num_heads,
        num_head_channels=-1 if head_width is None else head_width,
        attention_resolutions=",".join(str(size // 2**level) for level in range(len(attends)) if attends[level]),
        channel_mult=",".join(map(str, multipliers)), dropout=config["dropout"], class_cond=classes is not None,
        num_classes=ModelConfig.num_classes if classes is None else classes,
        learn_sigma=config["out_channels"] != IMAGE_CHANNELS, use_scale_shift_norm=scale_shift,
        resblock_updown=resblock_updown, use_new_attention_order=True)


def _multipliers(config):
    """Return our channel multipliers, ints, of UNet2DModel's channels of each level."""
    widths = config["block_out_channels"]
    if not widths:
        raise _cannot("block_out_channels", widths, "one number for each level")
    if any(width % widths[0] for width in widths):
        raise _cannot("block_out_channels", list(widths), "multiples of the first")
    if config["time_embedding_dim"] not in (None, 4 * widths[0]):
        raise _cannot("time_embedding_dim", config["time_embedding_dim"], 4 * widths[0])
    return [width // widths[0] for width in widths]


def _blocks(config, num_levels):
    """Return (which levels attend, whether residual blocks resample) of UNet2DModel's types of blocks."""
    downs, ups = list(config["down_block_types"]), list(config["up_block_types"])[::-1]
    pairs = list(zip(downs, ups, strict=False))
    if not len(downs) == len(ups) == num_levels or not all(pair in BLOCK_TYPES.values() for pair in pairs):
        raise UserError(f"the blocks are {downs} on the way down and {ups[::-1]} on the way up: expected {num_levels} "
                        f"of each, the same on both ways, of {', '.join(down for down, _ in BLOCK_TYPES.values())} "
                        f"and their counterparts; other networks can't be converted")
    attends = ["Attn" in down for down in downs]
    resampling = set()
    for down, attend in zip(downs[:-1], attends, strict=False):  # the last level is not halved
        resampling.add(config["downsample_type"] if attend else "resnet" if "Resnet" in down else "conv")
    for up, attend in zip(ups[1:], attends[1:], strict=True):  # the first is not doubled
        resampling.add(config["upsample_type"] if attend else "resnet" if "Resnet" in up else "conv")
    if len(resampling) > 1 or resampling - {"conv", "resnet"}:
        raise UserError(f"levels are halved and doubled in different ways ({', '.join(sorted(map(str, resampling)))}): "
                        f"expected conv everywhere or resnet everywhere; other networks can't be converted")
    return attends, resampling == {"resnet"}


def _cannot(key, given, expected):
    return UserError(f"the UNet2DModel has {key} {given!r}, expected {expected!r}: our network has no other, so "
                     f"this one can't be converted")


def _key_table(config):
    """Return {our key: (their keys, our shape)}: three keys for a qkv projection, one for anything else."""
    with torch.device("meta"):
        network = create_model(**dataclasses.asdict(config))
    num_levels = len(network.channel_mult)
    modules = ENDS | _down_modules(num_levels, config.num_res_blocks) | _up_modules(
        num_levels, config.num_res_blocks, network)
    table = {}
    for key, tensor in network.state_dict().items():
        name, leaf = key.rsplit(".", 1)
        if name in modules:
            names = [f"{modules[name]}.{leaf}"]
        else:
            block = next(block for block in modules if name.startswith(block + "."))
            layer = name.removeprefix(block + ".")
            layers = PROJECTIONS if layer == "qkv" else [LAYERS[layer]]
            names = [f"{modules[block]}.{layer}.{leaf}" for layer in layers]
        table[key] = names, tuple(tensor.shape)
    return table


def _down_modules(num_levels, num_res_blocks):
    """Return {our module: theirs} on the way down."""
    modules, place = {}, 1
    for level in range(num_levels):
        if level > 0:
            modules[f"input_blocks.{place}.0"] = f"down_blocks.{level - 1}.downsamplers.0"
            place += 1
        for i in range(num_res_blocks):
            modules[f"input_blocks.{place}.0"] = f"down_blocks.{level}.resnets.{i}"
            modules[f"input_blocks.{place}.1"] = f"down_blocks.{level}.attentions.{i}"
            place += 1
    return modules


def _up_modules(num_levels, num_res_blocks, network):
    """Return {our module: theirs} on the way up; the upsampling is the last of our modules in its block."""
    modules, place = {}, 0
    for level in range(num_levels):
        for i in range(num_res_blocks + 1):
            block = f"output_blocks.{place}"
            modules[f"{block}.0"] = f"up_blocks.{level}.resnets.{i}"
            modules[f"{block}.1"] = f"up_blocks.{level}.attentions.{i}"
            if i == num_res_blocks and level < num_levels - 1:
                modules[f"{block}.{len(network.output_blocks[place]) - 1}"] = f"up_blocks.{level}.upsamplers.0"
            place += 1
    return modules


def _check_keys(state_dict, expected, owner):
    """Raise UserError unless the keys of a state dict are the expected ones."""
    missing = [key for key in expected if key not in state_dict]
    extra = [key for key in state_dict if key not in set(expected)]
    if missing or extra:
        problems = [f"missing {key}" for key in missing] + [f"unexpected {key}" for key in extra]
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise UserError(f"{len(problems)} keys of the weights do not fit {owner} ({', '.join(problems[:5])}{more}): "
                        f"expected exactly its own; give weights and config of the same model")


def _check_shape(key, tensor, shape):
    if tuple(tensor.shape) != shape:
        raise UserError(f"{key} has shape {tuple(tensor.shape)}, expected {shape}: give weights and config of the "
                        f"same model")
