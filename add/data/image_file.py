"""One image file to pixels: what PNG, JPEG, JPEG 2000, BMP, TIFF and WebP files mean as colours.

**The range of values.** A camera of 12 bits writes values to 4095 into a type that reaches 65535. Where the
file says so (the TIFF tag MaxSampleValue, or SignificantBits of OME), its values are scaled by that range. The tag
counts only where it is 2^k - 1: some programs enter the largest value of the image itself, and images of one folder
scaled by that could not be compared any more. For the same reason nothing is ever scaled by the values that it
holds: a dark image among bright ones has to stay dark. A file that says nothing is scaled by its type, and
floating-point values have to lie between 0 and 1; where a whole set then uses a small part of the range, `say_ranges`
tells.

`tiff_file` says what several pages mean, and `limits` what a file may cost.
"""
import functools
import io
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageOps, features

from add.data import files, limits, tiff_file
from add.data.tar_shards import member_of, read_member
from add.data.value_range import FRACTIONS, Range
from add.errors import UserError
from add.interfaces import PathLike

EXTENSIONS = ("png", "jpg", "jpeg", "jp2", "bmp", "tif", "tiff", "webp")
KINDS = "PNG, JPEG, JPEG 2000, BMP, TIFF or WebP"
FORMATS = ("PNG", "JPEG", "JPEG2000", "BMP", "TIFF", "WEBP")  # by Pillow's names; others are not tried
LOSSY = (".jpg", ".jpeg", ".webp")
_ANIMATED = ("PNG", "WEBP")
_PNG_START = 4096  # bytes within which the pixels of most PNG files begin
_PHOTOMETRIC, _ORIENTATION = 262, 274

Result = TypeVar("Result")


class ImageFile(NamedTuple):
    """A decoded file: uint8 [H, W, 3], and the Range that its values were scaled by."""

    pixels: np.ndarray
    range: Range


def read_image(path: PathLike) -> np.ndarray:
    """Return an image file as uint8 [H, W, 3].

    Grey becomes three equal channels, transparency lies on white, EXIF orientation is applied. 16-bit values are
    scaled by the range that the file names, else by that of their type: 65535 becomes 255. Floating-point values
    are fractions: 1 becomes 255.

    Raises:
        UserError: the file is missing, is no image, is cut off, holds several, or its pixels have no known range; it
            has more pixels than `limits` allows, or takes too long.
    """
    return read_file(path).pixels


def read_file(path: PathLike) -> ImageFile:
    """Return an image file's pixels and range; see `read_image`."""
    def read():
        limits.check_bytes(path)
        content = files.read_bytes(path)
        return limits.in_time(functools.partial(_decode, content))

    return _explained(path, read)


def read_header(path: PathLike) -> tuple[int, int]:
    """Return the stored (height, width) of an image file without decoding it; raises like `read_image`."""
    def read():
        if files.is_url(path):
            return limits.in_time(functools.partial(_size, io.BytesIO(files.read_bytes(path))))
        if member := member_of(path):
            start = io.BytesIO(read_member(*member, most=_PNG_START))
            return _png_size(start) or limits.in_time(lambda: _size(io.BytesIO(read_member(*member))))
        with open(path, "rb") as file:
            return _png_size(file) or limits.in_time(functools.partial(_size, file))

    return _explained(path, read)


def lossy_share(paths: Sequence[PathLike]) -> float:
    """Return the share of files that are compressed with losses, by their names."""
    return sum(str(path).lower().endswith(LOSSY) for path in paths) / len(paths)


def say_reason(error: BaseException) -> str:
    """Return an error in a few words, without the memory address that Pillow's message carries."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    if isinstance(error, Image.DecompressionBombError):
        return "so many pixels as only a whole slide has; cut it into tiles first, or raise --max_pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _explained(path: PathLike, read: Callable[[], Result]) -> Result:
    """Return read(); whatever it raises becomes a UserError that names the file."""
    try:
        return read()
    except Exception as error:  # on damaged files Pillow raises nearly anything
        raise UserError(f"cannot read {path} as an image ({say_reason(error)}): expected a whole {KINDS} file; replace "
                        f"or remove it") from error


def _png_size(file):
    """Return the (height, width) of an open PNG file of one image that begins as most do, else None.

    Ten times as fast as Pillow, which matters for a million files.
    """
    start = file.read(_PNG_START)
    file.seek(0)
    header, data = start[12:29], start.find(b"IDAT")
    if start[:12] != b"\x89PNG\r\n\x1a\n\0\0\0\r" or header[:4] != b"IHDR" or data < 0 or b"acTL" in start[:data]:
        return None
    width, height, _, _, _, _, _, checksum = struct.unpack(">II5BI", start[16:33])
    if zlib.crc32(header) != checksum or not width or not height:
        return None
    limits.check_size(height, width)
    return height, width


def _size(file):
    """Return the (height, width) of an open file."""
    stored = _open(file)
    if stored is None:
        return tiff_file.read_size(file)
    with stored:
        _pages(stored)
        return stored.height, stored.width


def _decode(content):
    """Return the ImageFile of the bytes of a file."""
    stored = _open(io.BytesIO(content))
    if stored is None:
        return _from_values(tiff_file.read_values(content))
    with stored:
        pages = _pages(stored)
        if stored.format == "TIFF" and tiff_file.needs_tifffile(stored):
            return _from_values(tiff_file.read_values(content))
        sixteen = _bits(stored, content) == 16
        scaled = tiff_file.named_bits(stored) if sixteen and stored.format == "TIFF" else 16 if sixteen else 8
        parts = []
        for page in pages:
            if page:
                stored.seek(page)
            parts.append(_decode_page(stored, sixteen, scaled))
        if len(parts) == 1:
            return parts[0]
        if len({part.pixels.shape for part in parts}) > 1:
            raise UserError("its channels are of different sizes; save it as one RGB image")
        return ImageFile(np.stack([part.pixels[..., 0] for part in parts], axis=-1), max(part.range for part in parts))


def _open(file):
    """Return the image in an open file, of a size that may be decoded; None for a TIFF that only tifffile may read."""
    start = file.read(12)
    is_tiff = start[:4] in tiff_file.STARTS
    if is_tiff:
        tiff_file.check_pages(file)
    file.seek(0)
    try:
        stored = Image.open(file, formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        file.seek(0)
        if is_tiff:
            return None
        if start[8:12] == b"WEBP" and not features.check("webp"):
            raise UserError("this Pillow was built without WebP; save it as PNG") from error
        raise
    limits.check_size(stored.height, stored.width)
    return stored


def _decode_page(stored, sixteen, scaled):
    """Return the ImageFile of the page that an open file stands at; `scaled` are the bits of its range."""
    limits.check_size(stored.height, stored.width)
    stored.load()
    turned = stored.getexif().get(_ORIENTATION, 1) != 1
    image = ImageOps.exif_transpose(stored) if turned else stored
    if image.mode.startswith("I;16") or (image.mode == "I" and stored.format == "PNG"):  # older Pillow widens PNG
        scaled = 16 if stored.format == "JPEG2000" else scaled  # Pillow fills up its 9 to 15 bits
        white_is_zero = stored.format == "TIFF" and stored.tag_v2.get(_PHOTOMETRIC) == 0  # Pillow turns only 8 bits
        return _from_16_bits(np.asarray(image), scaled, white_is_zero)
    if image.mode == "F":
        return _from_fractions(np.asarray(image), white_is_zero=False)
    if image.mode == "I":
        raise UserError("its 32-bit or signed pixels have no known range; save it with 8 or 16 bits")
    highest = int(np.asarray(image.convert("RGB")).max()) if sixteen else 0
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    if sixteen:  # Pillow keeps the upper 8 bits of 16-bit colours
        return ImageFile(pixels, Range(16, highest.bit_length() + 8))
    return ImageFile(pixels, Range(8, int(pixels.max()).bit_length()))


def _from_16_bits(values, scaled, white_is_zero):
    """Return the ImageFile of 16-bit values, grey [H, W] or colours [H, W, 3], of a range of `scaled` bits."""
    top, highest = 2**scaled - 1, int(values.max())
    if highest > top:
        raise UserError(f"its values go to {highest}, and the file says that they end at {top}; correct the tag")
    table = (np.arange(top + 1) * (255 / top)).round().astype(np.uint8)
    return ImageFile(_as_colours(table[values], white_is_zero), Range(scaled, highest.bit_length()))


def _from_values(found):
    """Return the ImageFile of tifffile's Values: 8 or 16 bits, or fractions."""
    values, bits, white_is_zero = found
    if values.dtype == np.uint8:
        return ImageFile(_as_colours(values, white_is_zero), Range(8, int(values.max()).bit_length()))
    if values.dtype == np.uint16:
        return _from_16_bits(values, bits, white_is_zero)
    if values.dtype.kind == "f":
        return _from_fractions(values, white_is_zero)
    raise UserError(f"its {values.dtype} pixels have no known range; save it with 8 or 16 bits")


def _from_fractions(values, white_is_zero):
    """Return the ImageFile of floating-point values, grey [H, W] or colours [H, W, 3]."""
    least, most = float(values.min()), float(values.max())  # nan where there is one
    if not 0 <= least <= most <= 1:
        raise UserError(f"its floating-point values go from {least:g} to {most:g}, expected fractions from 0 to 1; "
                        f"divide all images by the same number, or save them with 8 or 16 bits")
    used = FRACTIONS + math.ceil(math.log2(most)) if most else 0
    pixels = np.empty(values.shape, dtype=np.uint8)
    for row, row_values in enumerate(values):  # all at once would take three times the memory
        pixels[row] = (row_values.astype(np.float32) * np.float32(255)).round()
    return ImageFile(_as_colours(pixels, white_is_zero), Range(FRACTIONS, used))


def _as_colours(pixels, white_is_zero):
    """Return uint8 [H, W, 3] of grey [H, W] or colours [H, W, 3]."""
    pixels = 255 - pixels if white_is_zero else pixels
    return np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else np.ascontiguousarray(pixels)


def _bits(stored, content):
    """Return how many bits a file has for each value."""
    if stored.format == "TIFF":
        return tiff_file.bits_of(stored)
    return content[24] if stored.format == "PNG" else 8  # the bit depth in a PNG's header


def _pages(stored):
    """Return the numbers of the pages that make the image: one, or three for red, green and blue."""
    if stored.format == "TIFF":
        return tiff_file.pages_of(stored)
    count = getattr(stored, "n_frames", 1) if stored.format in _ANIMATED else 1  # a JPEG's are previews
    if count > 1:
        raise UserError(f"it is an animation of {count} frames, expected one image; save the frame that is wanted")
    return [0]
