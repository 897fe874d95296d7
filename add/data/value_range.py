"""The range that an image file's values were scaled by, and sentences on whole sets of them.

Nothing is ever scaled by the values that it holds: a dark image among bright ones has to stay dark. So a set that uses
a small part of its range is only told of.
"""
from collections.abc import Sequence
from typing import NamedTuple

CAMERA_BITS = (8, 10, 12, 14)  # ranges that 16-bit files are known to be only partly filled with
FRACTIONS = 32  # `scaled` of floating-point values from 0 to 1


class Range(NamedTuple):
    """Bits of a file: of the range that its values were scaled by, and those that its largest value needs.

    Each bit less is half of the range, for fractions as well: 0.2 needs two bits less than the 32 of 1.
    """

    scaled: int
    used: int


def say_ranges(ranges: Sequence[Range]) -> str:
    """Return a sentence on how the values of a set were scaled, and whether that makes them dark or unlike; or ""."""
    wide = [found for found in ranges if found.scaled > 8]
    return "; ".join(filter(None, (_say_scales(wide), _say_dark(ranges))))


def _say_scales(wide):
    """Return a sentence on different ranges, or on one that the files name, of values of more than 8 bits; or ""."""
    scales = sorted({found.scaled for found in wide})
    if len(scales) > 1:
        counts = [f"{sum(found.scaled == bits for found in wide)} {_by(bits)}" for bits in scales]
        return (f"the {len(wide)} {_kind(scales)} images are scaled by different ranges, as their files say "
                f"({', '.join(counts)}): where one camera made them, save all with 8 bits, scaled alike, or give them "
                f"the same tag MaxSampleValue")
    if scales == [FRACTIONS]:
        return f"the {len(wide)} images of floating-point values are scaled from 0 to 1"
    if scales and scales != [16]:
        return (f"the {len(wide)} 16-bit images are scaled by the range that their files name, 0 to "
                f"{2**scales[0] - 1}")
    return ""


def _say_dark(ranges):
    """Return a sentence on a set, or its 16-bit images, of which none uses more than a quarter of its range; or ""."""
    if any(found.scaled != 16 and _is_bright(found) for found in ranges):  # those of 16 bits may have another scale
        ranges = [found for found in ranges if found.scaled == 16]
    if not ranges or any(map(_is_bright, ranges)):
        return ""
    if {found.scaled for found in ranges} != {16}:
        return (f"none of {len(ranges)} images uses more than a quarter of its range, so they are dark: if they are "
                f"meant to be bright, save all of them anew, scaled alike")
    used = max(found.used for found in ranges)
    bits = next(bits for bits in CAMERA_BITS if used <= bits)
    return (f"no value of the {len(ranges)} 16-bit images is above {2**bits - 1}, and they are scaled by 65535, so "
            f"they are dark: if the camera has {bits} bits, save all with 8 bits, scaled by {2**bits - 1}, or set the "
            f"tag MaxSampleValue of TIFF files to {2**bits - 1}")


def _is_bright(found):
    return found.used > found.scaled - 2


def _by(bits):
    return "as fractions of 1" if bits == FRACTIONS else f"by {bits} bits"


def _kind(scales):
    return "16-bit and floating-point" if FRACTIONS in scales else "16-bit"
