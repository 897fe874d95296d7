"""Channels and attention of each level of a UNet, from image size and option strings, checked before it is built."""
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

from add.config import MOST_CHANNELS, MOST_PIXELS, shown_value
from add.errors import UserError
from add.networks.attention import count_heads
from add.networks.blocks import check_groups
from add.networks.stages import level_widths

Numbers: TypeAlias = str | int | Sequence[int]  # several whole numbers, "16,8" or a list; or one

# Channel multipliers by image size, finest level first; 32 is ours, the others are guided-diffusion's.
CHANNEL_MULT: dict[int, tuple[float, ...]] = {
    32: (1, 2, 2, 2),
    64: (1, 2, 3, 4),
    128: (1, 1, 2, 3, 4),
    256: (1, 1, 2, 2, 4, 4),
    512: (0.5, 1, 1, 2, 2, 4, 4),
}
PATCH_SIZES = (1, 2, 4)
SUPER_RES_CHANNEL_MULT: dict[int, tuple[float, ...]] = {**CHANNEL_MULT, 512: (1, 1, 2, 2, 4, 4)}


def parse_ints(value: Numbers, option: str) -> tuple[int, ...]:
    """Return the tuple of positive ints in `value`: "16,8", a list, or one int. "" is the empty tuple.

    `option` is the name to use in the UserError raised for anything else.
    """
    entries: Sequence[Any]
    if isinstance(value, str):
        entries = value.split(",") if value.strip() else []
    else:
        entries = value if isinstance(value, (list, tuple)) else [value]
    try:
        numbers = tuple(int(entry) for entry in entries)
    except (TypeError, ValueError):
        numbers = (0,)
    fractional = any(isinstance(entry, float) and not entry.is_integer() for entry in entries)
    if fractional or any(not 0 < number <= MOST_PIXELS for number in numbers):
        raise UserError(
            f"{option} is {shown_value(value)}: expected positive whole numbers up to {MOST_PIXELS} separated by "
            f"commas, such as 16,8; change --{option}")
    return numbers


def places_of(image_size: int, patch_size: int) -> int:
    """Return the places along a side of the first level: the pixels of an image, or its patches."""
    if patch_size not in PATCH_SIZES:
        raise UserError(f"patch_size is {patch_size!r}: expected one of {', '.join(map(str, PATCH_SIZES))}; change "
                        f"--patch_size")
    if image_size % patch_size:
        raise UserError(f"image_size {image_size} can't be divided into patches of {patch_size} pixels: expected a "
                        f"multiple of that; change --image_size or --patch_size")
    return image_size // patch_size


def choose_channel_mult(image_size: int, channel_mult: Numbers = "",
                        defaults: Mapping[int, tuple[float, ...]] = CHANNEL_MULT,
                        option: str = "image_size") -> tuple[float, ...]:
    """Return the multipliers of each level, finest first: those given, or the default for the image size.

    Raises UserError for a size without a default, and for one that cannot be halved at every level.
    """
    multipliers = parse_ints(channel_mult, "channel_mult") or defaults.get(image_size)
    if multipliers is None:
        raise UserError(
            f"{option} {image_size} has no channel multipliers of its own: expected one of "
            f"{', '.join(map(str, defaults))}; change --{option}, or (for image models) give the "
            f"multipliers, such as --channel_mult 1,2,2")
    step = 2 ** (len(multipliers) - 1)
    if image_size <= 0 or image_size % step:
        raise UserError(
            f"{option} {image_size} cannot be halved {len(multipliers) - 1} times: {len(multipliers)} "
            f"channel multipliers {multipliers} need a multiple of {step}; change --{option} or "
            f"--channel_mult")
    return multipliers


def choose_attention_rates(image_size: int, attention_resolutions: Numbers, num_levels: int,
                           option: str = "attention_resolutions") -> tuple[int, ...]:
    """Return the downsampling rates at which the feature map has one of the `attention_resolutions` (pixels).

    Raises UserError for a resolution that no level has; it would go without attention unnoticed. "" is none
    (the middle of the network attends in any case).
    """
    rates = {image_size // 2**level: 2**level for level in range(num_levels)}
    wanted = parse_ints(attention_resolutions, option)
    missing = [size for size in wanted if size not in rates]
    if missing:
        raise UserError(
            f"{option} {', '.join(map(str, missing))} is reached by no level: expected some of "
            f"{', '.join(map(str, rates))}, the feature map sizes of {image_size}-pixel images on "
            f"{num_levels} levels; change --{option} or the number of channel multipliers")
    return tuple(rates[size] for size in wanted)


def check_widths(num_channels: int, channel_mult: Sequence[float], attention_rates: Collection[int],
                 num_heads: int = 1, num_head_channels: int = -1, num_heads_upsample: int = -1) -> None:
    """Raise UserError unless groups and heads divide the channels of every layer that they apply to."""
    for level, width in enumerate(level_widths(num_channels, channel_mult)):
        if width > MOST_CHANNELS:
            raise UserError(f"level {level} has {width} channels, expected {MOST_CHANNELS} at most; change "
                            f"--num_channels or --channel_mult")
        check_groups(width)
        attends = 2**level in attention_rates
        if attends or level == len(channel_mult) - 1:  # the middle always attends
            count_heads(width, num_heads, num_head_channels)
        if attends and num_heads_upsample != -1:
            count_heads(width, num_heads_upsample, num_head_channels, option="num_heads_upsample")


def check_counts(**options: object) -> None:
    """Raise UserError for an option, given by name, that is not a whole number of at least 1."""
    for option, value in options.items():
        if not isinstance(value, int) or value < 1:
            raise UserError(
                f"{option} is {value!r}: expected a whole number of at least 1; change --{option}")


def check_dropout(dropout: float) -> None:
    """Raise UserError unless `dropout` is a probability below 1."""
    if not 0 <= dropout < 1:
        raise UserError(f"dropout is {dropout}: expected 0 <= dropout < 1; change --dropout")
