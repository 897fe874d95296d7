"""One image file to pixels: what PNG, JPEG, BMP, TIFF and WebP files of 8 or 16 bits mean as colours.

**The range of 16-bit values.** A camera of 12 bits writes values to 4095 into a type that reaches 65535. Where the
file says so (the TIFF tag MaxSampleValue, or SignificantBits of OME), its values are scaled by that range. The tag
counts only where it is 2^k - 1: some programs enter the largest value of the image itself, and images of one folder
scaled by that could not be compared any more. For the same reason nothing is ever scaled by the values that it
holds: a dark image among bright ones has to stay dark. A file that says nothing is scaled by its type; where a whole
set then uses a small part of the range, `say_ranges` tells.

**Pages.** A TIFF may hold several pages. Smaller copies and masks beside the image (tag NewSubfileType) are passed
over. Three grey pages that the description calls channels (OME, ImageJ, tifffile) are red, green and blue. Everything
else with several pages, a stack or a series, is refused, since its first page alone would be some other image.
"""
import io
import json
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, features

from add.data import files
from add.errors import UserError
from add.interfaces import PathLike

EXTENSIONS = ("png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp")
KINDS = "PNG, JPEG, BMP, TIFF or WebP"
CAMERA_BITS = (8, 10, 12, 14)  # ranges that 16-bit files are known to be only partly filled with
_NEW_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _DESCRIPTION, _SAMPLES, _MAX_SAMPLE = 254, 258, 262, 270, 277, 281
_OME_PRIMARIES = ["-16776961", "16711935", "65535"]  # red, green and blue as OME writes colours: signed RGBA


class Range(NamedTuple):
    """Bits of a 16-bit file: of the range that its values were scaled by, and those that its largest value needs."""

    scaled: int
    used: int


class ImageFile(NamedTuple):
    """A decoded file: uint8 [H, W, 3], and the Range of one with 16 bits."""

    pixels: np.ndarray
    range: Range | None


def read_image(path: PathLike) -> np.ndarray:
    """Return an image file as uint8 [H, W, 3].

    Grey becomes three equal channels, transparency lies on white, EXIF orientation is applied. 16-bit values are
    scaled by the range that the file names, else by that of their type: 65535 becomes 255.

    Raises:
        UserError: the file is missing, is no image, is cut off, holds several, or its pixels have no known range.
    """
    return read_file(path).pixels


def read_file(path: PathLike) -> ImageFile:
    """Return an image file's pixels and range; see `read_image`."""
    try:
        return _decode(files.read_bytes(path))
    except Exception as error:  # on damaged files Pillow raises nearly anything
        raise _unreadable(path, error) from error


def read_header(path: PathLike) -> tuple[int, int]:
    """Return the stored (height, width) of an image file without decoding it; raises like `read_image`."""
    try:
        with Image.open(io.BytesIO(files.read_bytes(path)) if files.is_url(path) else path) as image:
            _pages(image)
            return image.height, image.width
    except Exception as error:
        raise _unreadable(path, error) from error


def say_reason(error: BaseException) -> str:
    """Return an error in a few words, without the memory address that Pillow's message carries."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    if isinstance(error, Image.DecompressionBombError):
        return "so many pixels as only a whole slide has; cut it into tiles first"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def say_ranges(ranges: Sequence[Range]) -> str:
    """Return a sentence on how 16-bit images were scaled, and whether that makes them dark or unlike; or ""."""
    scales = sorted({found.scaled for found in ranges})
    if len(scales) > 1:
        counts = [f"{sum(found.scaled == bits for found in ranges)} by {bits} bits" for bits in scales]
        return (f"the {len(ranges)} 16-bit images are scaled by different ranges, as their files say "
                f"({', '.join(counts)}): where one camera made them, save all with 8 bits, scaled alike, or give them "
                f"the same tag MaxSampleValue")
    if scales and scales != [16]:
        return (f"the {len(ranges)} 16-bit images are scaled by the range that their files name, 0 to "
                f"{2**scales[0] - 1}")
    used = max((found.used for found in ranges), default=16)
    fitting = [bits for bits in CAMERA_BITS if used <= bits]
    if not fitting:
        return ""
    bits = fitting[0]
    return (f"no value of the {len(ranges)} 16-bit images is above {2**bits - 1}, and they are scaled by 65535, so "
            f"they are dark: if the camera has {bits} bits, save all with 8 bits, scaled by {2**bits - 1}, or set the "
            f"tag MaxSampleValue of grey TIFF files to {2**bits - 1}")


def _decode(content):
    """Return the ImageFile of the bytes of a file."""
    try:
        stored = Image.open(io.BytesIO(content))
    except Image.UnidentifiedImageError as error:
        if content[:4] in (b"II*\0", b"MM\0*"):
            raise UserError("a TIFF whose pixels are of no known kind; save it as an RGB image with 8 bits") from error
        if content[8:12] == b"WEBP" and not features.check("webp"):
            raise UserError("this Pillow was built without WebP; save it as PNG") from error
        raise
    with stored:
        pages = _pages(stored)
        sixteen = _bits(stored, content) == 16
        scaled = _named_bits(stored) if sixteen else 8
        parts = []
        for page in pages:
            if page:
                stored.seek(page)
            parts.append(_decode_page(stored, sixteen, scaled))
        if len(parts) == 1:
            return parts[0]
        if len({part.pixels.shape for part in parts}) > 1:
            raise UserError("its channels are of different sizes; save it as one RGB image")
        ranges = [part.range for part in parts if part.range is not None]
        return ImageFile(np.stack([part.pixels[..., 0] for part in parts], axis=-1), max(ranges, default=None))


def _decode_page(stored, sixteen, scaled):
    """Return the ImageFile of the page that an open file stands at; `scaled` are the bits of its range."""
    stored.load()
    image = ImageOps.exif_transpose(stored)
    if image.mode.startswith("I;16") or (image.mode == "I" and stored.format == "PNG"):  # older Pillow widens PNG
        values = np.asarray(image)
        top, highest = 2**scaled - 1, int(values.max())
        if highest > top:
            raise UserError(f"its values go to {highest}, and the file says that they end at {top}; correct the tag")
        grey = (values.astype(np.float64) * (255 / top)).round().astype(np.uint8)
        if stored.format == "TIFF" and stored.tag_v2.get(_PHOTOMETRIC) == 0:  # WhiteIsZero: Pillow turns only 8 bits
            grey = 255 - grey
        return ImageFile(np.repeat(grey[..., None], 3, axis=-1), Range(scaled, highest.bit_length()))
    if image.mode in ("I", "F"):
        raise UserError("its 32-bit or signed pixels have no known range; save it with 8 or 16 bits")
    if sixteen and scaled < 16:  # Pillow keeps the upper 8 bits of 16-bit colours
        raise UserError(f"its colours have 16 bits of which {scaled} are used, too few to be read; save it with 8 bits")
    highest = int(np.asarray(image.convert("RGB")).max()) if sixteen else 0
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return ImageFile(np.asarray(image.convert("RGB")), Range(16, highest.bit_length() + 8) if sixteen else None)


def _bits(stored, content):
    """Return how many bits a file has for each value."""
    if stored.format == "TIFF":
        return int(np.max(stored.tag_v2.get(_BITS, 1)))
    return content[24] if stored.format == "PNG" else 8  # the bit depth in a PNG's header


def _named_bits(stored):
    """Return the bits of the range that a 16-bit file names; 16 where it names none that can be trusted."""
    if stored.format != "TIFF":
        return 16
    if found := re.search(r'<Pixels[^>]*\bSignificantBits="(\d+)"', _description(stored)):
        top = 2 ** int(found[1]) - 1
    else:
        top = int(np.max(stored.tag_v2.get(_MAX_SAMPLE, 65535)))
    return top.bit_length() if 255 <= top <= 65535 and top & (top + 1) == 0 else 16


def _pages(stored):
    """Return the numbers of the pages that make the image: one, or three for red, green and blue."""
    count = getattr(stored, "n_frames", 1) if stored.format in ("PNG", "TIFF", "WEBP") else 1  # a JPEG's are previews
    if stored.format != "TIFF":
        if count > 1:
            raise UserError(f"it is an animation of {count} frames, expected one image; save the frame that is wanted")
        return [0]
    pages = []
    for page in range(count):
        stored.seek(page)
        if page == 0 or not stored.tag_v2.get(_NEW_SUBFILE_TYPE, 0) & 5:  # a smaller copy (1) or a mask (4)
            pages.append(page)
    stored.seek(0)
    text = _description(stored)
    channels, others = _planes(text)
    promised = channels * others // int(stored.tag_v2.get(_SAMPLES, 1))
    if len(pages) == 1 and promised <= 1:
        return pages
    if (len(pages), channels, others) == (3, 3, 1) and stored.tag_v2.get(_SAMPLES, 1) == 1:
        colours = [colour for colour in re.findall(r'<Channel[^>]*\bColor="(-?\d+)"', text) if colour != "-1"]
        if colours and colours != _OME_PRIMARIES:
            raise UserError("its 3 channels are shown in other colours than red, green and blue; save it as one RGB "
                            "image")
        return pages
    if channels > 1 and others == 1:
        raise UserError(f"it holds {channels} channels ({len(pages)} pages), expected one image or red, green and "
                        f"blue; save it as one RGB image")
    raise UserError(f"it holds a stack of {max(len(pages), promised)} pages, expected one image; save the page that is "
                    f"wanted, or a projection, as a file of its own")


def _planes(description):
    """Return (channels, slices times time points) as a TIFF's description tells them, (1, 1) where it tells none."""
    if "<Pixels" in description:
        sizes = dict(re.findall(r'\bSize([CZT])="(\d+)"', description[description.index("<Pixels"):]))
        return int(sizes.get("C", 1)), int(sizes.get("Z", 1)) * int(sizes.get("T", 1)) * description.count("<Pixels")
    if description.startswith("ImageJ="):
        sizes = dict(re.findall(r"^(images|channels|slices|frames)=(\d+)", description, re.MULTILINE))
        channels = int(sizes.get("channels", 1))
        return channels, int(sizes.get("images", channels)) // channels
    try:
        told = json.loads(description)
        sizes = dict(zip(told["axes"], told["shape"], strict=True))
    except (ValueError, KeyError, TypeError):
        return 1, 1
    return int(sizes.get("C", 1)), int(np.prod([size for axis, size in sizes.items() if axis not in "CSYX"]))


def _description(stored):
    return str(stored.tag_v2.get(_DESCRIPTION, ""))


def _unreadable(path, error):
    return UserError(f"cannot read {path} as an image ({say_reason(error)}): expected a whole {KINDS} file; replace or "
                     f"remove it")
