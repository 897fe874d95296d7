"""TIFF files: how many pages make the image, the range that they name, and values that Pillow doesn't read.

**Pages.** A TIFF may hold several pages. Smaller copies and masks beside the image (tag NewSubfileType) are passed
over. Three grey pages that the description calls channels (OME, ImageJ, tifffile) are red, green and blue, unless it
gives them other names or colours. Everything else with several pages, a stack or a series, is refused, since its first
page alone would be some other image.

**Values.** Pillow reads 8 bits, and 16 bits and floating-point values in grey. Colours of floating-point values, or of
16 bits that use a smaller range, are read by tifffile, by the axes that it finds in the metadata.
"""
import io
import json
import logging
import re
import struct
import zlib
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np

from add.data.limits import check_size
from add.errors import UserError

MOST_PAGES = 1000
STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NEW_SUBFILE_TYPE, _BITS, _DESCRIPTION, _ORIENTATION = 254, 258, 270, 274
_SAMPLES, _MAX_SAMPLE, _EXTRA_SAMPLES = 277, 281, 338
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_RGB = 2  # of PhotometricInterpretation
_ALPHA = (1, 2)  # of ExtraSamples
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_OME_PRIMARIES = ["-16776961", "16711935", "65535"]  # red, green and blue as OME writes colours: signed RGBA
_COLOUR_NAMES = (["red", "green", "blue"], ["r", "g", "b"])
_NUMBERED = re.compile(r"(channel|ch|c)?[\s:_#-]*\d+([/:]\d+)?")  # names that tell nothing: Channel 0, c:1/3
_PLAIN, _PACKED_BITS, _DEFLATED = 1, 32773, (8, 32946)  # kinds of compression that tifffile reads by itself


class Values(NamedTuple):
    """Pixels as a file stores them: [H, W] or [H, W, 3] of any type, the bits of the range, whether 0 is white."""

    values: np.ndarray
    bits: int
    white_is_zero: bool


def check_pages(file: IO[bytes]) -> None:
    """Raise UserError for a TIFF of more pages or tags than can be read in a moment; no page is decoded.

    Readers walk through the chain of pages one by one, and hold what the tags point at.
    """
    size = file.seek(0, io.SEEK_END)
    seen: set[int] = set()
    held = 0
    for offset, tags in _directories(file):
        if offset in seen:
            raise UserError("its pages lead in a circle; save it anew")
        if len(seen) == MOST_PAGES:
            raise UserError(f"it has more than {MOST_PAGES} pages, expected one image; save the page that is wanted as "
                            f"a file of its own")
        seen.add(offset)
        held += tags
        if held > size:
            raise UserError("its tags point at more than the file holds; save it anew")


def pages_of(stored: Any) -> list[int]:
    """Return the numbers of the pages that make the image, of a TIFF that Pillow opened: one, or three for colours.

    Raises:
        UserError: it holds other channels, slices, time points or images.
    """
    pages = []
    for page in range(stored.n_frames):
        stored.seek(page)
        if page == 0 or not stored.tag_v2.get(_NEW_SUBFILE_TYPE, 0) & (_REDUCED | _MASK):
            pages.append(page)
    stored.seek(0)
    text = description(stored)
    channels, others = _planes(text)
    samples = int(stored.tag_v2.get(_SAMPLES, 1))
    promised = channels * others // samples
    if samples == 2 and stored.tag_v2.get(_EXTRA_SAMPLES, (0,))[0] not in _ALPHA:
        raise UserError("it has a grey value and another of no known meaning in each pixel; save it as one grey or RGB "
                        "image")
    if len(pages) == 1 and promised <= 1:
        return pages
    if (len(pages), channels, others, samples) == (3, 3, 1, 1):
        _check_colours(text)
        return pages
    if channels > 1 and others == 1:
        raise UserError(f"it holds {channels} channels ({len(pages)} pages), expected one image or red, green and "
                        f"blue; save it as one RGB image")
    axes = f" ({channels} channels, {others} slices or time points)" if channels * others > 1 else ""
    raise UserError(f"it holds a stack of {max(len(pages), promised)} pages{axes}, expected one image; save the page "
                    f"that is wanted, or a projection, as a file of its own")


def description(stored: Any) -> str:
    """Return the tag ImageDescription of a TIFF that Pillow opened."""
    return str(stored.tag_v2.get(_DESCRIPTION, ""))


def bits_of(stored: Any) -> int:
    """Return how many bits each value of a TIFF that Pillow opened has."""
    return int(np.max(stored.tag_v2.get(_BITS, 1)))


def named_bits(stored: Any) -> int:
    """Return the bits of the range that a TIFF of 16 bits names; 16 where it names none that can be trusted."""
    return _range_bits(description(stored), stored.tag_v2.get(_MAX_SAMPLE, 65535))


def needs_tifffile(stored: Any) -> bool:
    """Return whether Pillow keeps too little of a TIFF that it opened: colours of 16 bits that use a smaller range."""
    return bits_of(stored) == 16 and not stored.mode.startswith("I") and named_bits(stored) < 16


def read_values(content: bytes) -> Values:
    """Return the Values of the one image in a TIFF; `check_pages` comes first.

    Raises:
        UserError: its axes are others than rows, columns and colours, or its compression is not read.
    """
    with _opened(io.BytesIO(content)) as file:
        series, axes = _only_series(file)
        page = series.keyframe
        _check_compression(page, series.pages)
        height, width = page.imagelength, page.imagewidth
        shape = {"YX": (height, width), "YXS": (height, width, 3)}.get(axes, (3, height, width))
        values = series.asarray(maxworkers=1).reshape(shape)
        bits = _range_bits(file.pages.first.description, _tag(file.pages.first, _MAX_SAMPLE, 65535))
        return Values(np.moveaxis(values, 0, -1) if axes in ("SYX", "CYX") else values, bits, page.photometric == 0)


def read_size(file: Any) -> tuple[int, int]:
    """Return the (height, width) of the image in a TIFF file that Pillow doesn't open; raises as `read_values`."""
    with _opened(file) as opened:
        page = _only_series(opened)[0].keyframe
        return page.imagelength, page.imagewidth


def _directories(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    """Yield (offset, bytes that it and its tags take) of each page in the chain of a TIFF, even if that has no end."""
    file.seek(0)
    start = file.read(16)
    order = "<" if start[:1] == b"I" else ">"
    big = start[2:4] in (b"+\0", b"\0+")
    pointer, number, entry, here = ("Q", "Q", 20, 8) if big else ("I", "H", 12, 4)
    fields = np.dtype([("tag", f"{order}u2"), ("kind", f"{order}u2"), ("count", f"{order}u{here}"),
                       ("value", f"V{here}")])

    def read(letter):
        content = file.read(struct.calcsize(letter))
        return struct.unpack(order + letter, content)[0] if len(content) == struct.calcsize(letter) else 0

    (offset,) = struct.unpack_from(order + pointer, start.ljust(16, b"\0"), 8 if big else 4)
    while offset:
        file.seek(offset)
        content = file.read(min(read(number), 65535) * entry)
        tags = np.frombuffer(content[:len(content) // entry * entry], dtype=fields)
        sizes = [int(tag["count"]) * _VALUE_BYTES.get(int(tag["kind"]), 1) for tag in tags]
        yield offset, len(content) + sum(size for size in sizes if size > here)
        offset = read(pointer)


def _opened(file):
    """Return tifffile's view of a file; what lies in other files beside it is not looked for."""
    import tifffile  # few images need it

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # else each damaged tag is printed
    return tifffile.TiffFile(file, _multifile=False)


def _only_series(file):
    """Return (series, its axes without others of length 1) of an opened TIFF that holds one image."""
    found = [series for series in file.series if not series.keyframe.subfiletype & (_REDUCED | _MASK)]
    series = (found or file.series)[0]
    page = series.keyframe
    check_size(page.imagelength, page.imagewidth)
    kept = [(axis, size) for axis, size in zip(series.axes, series.shape, strict=True) if size > 1 or axis in "YX"]
    axes = "".join(axis for axis, _ in kept)
    shape = " x ".join(str(size) for _, size in kept)
    colours = dict(kept).get("S" if page.photometric == _RGB else "C", 0)
    if len(found) > 1 or axes != "YX" and not (axes in ("YXS", "SYX", "CYX") and colours == 3):
        raise UserError(f"it holds {max(len(found), 1)} image(s), of the axes {axes}, {shape}, shown as "
                        f"{page.photometric.name}: expected one of rows and columns (YX), or of three RGB samples or "
                        f"channels besides (YXS, SYX, CYX); save it as one grey or RGB image")
    if any(part is None for part in series.pages):
        raise UserError("a part of it lies in another file; save it as one RGB image")
    if _tag(page, _ORIENTATION, 1) != 1:
        raise UserError(f"its {page.dtype} values are to be shown turned; save it upright")
    return series, axes


def _check_compression(page, pages):
    """Refuse compression that tifffile doesn't read by itself, and parts that unpack to more than they stand for."""
    if page.compression not in (_PLAIN, _PACKED_BITS, *_DEFLATED) or page.predictor not in (1, 2):
        raise UserError(f"its {page.dtype} values are compressed with {page.compression.name}, predictor "
                        f"{int(page.predictor)}; save it without compression, or with 8 bits")
    if page.compression in _DEFLATED:
        most = int(np.prod(page.chunks)) * page.dtype.itemsize
        for part in pages:
            for offset, size in zip(part.dataoffsets, part.databytecounts, strict=True):
                part.parent.filehandle.seek(offset)
                unpacking = zlib.decompressobj()
                unpacking.decompress(part.parent.filehandle.read(size), most)
                if unpacking.unconsumed_tail and unpacking.decompress(unpacking.unconsumed_tail, 1):
                    raise UserError("its parts unpack to more than the image holds; save it anew")


def _tag(page, number, default):
    tag = page.tags.get(number)
    return default if tag is None else tag.value


def _range_bits(text, max_sample):
    """Return the bits of the range that SignificantBits in a description, or MaxSampleValue, tells; else 16."""
    if found := re.search(r'<Pixels[^>]*\bSignificantBits="(\d+)"', text):
        top = 2 ** min(int(found[1]), 64) - 1
    else:
        top = int(np.max(max_sample))
    return top.bit_length() if 255 <= top <= 65535 and top & (top + 1) == 0 else 16


def _planes(text):
    """Return (channels, slices times time points) as a TIFF's description tells them, (1, 1) where it tells none."""
    if "<Pixels" in text:
        sizes = dict(re.findall(r'\bSize([CZT])="(\d+)"', text[text.index("<Pixels"):]))
        return int(sizes.get("C", 1)), int(sizes.get("Z", 1)) * int(sizes.get("T", 1)) * text.count("<Pixels")
    if text.startswith("ImageJ="):
        sizes = dict(re.findall(r"^(images|channels|slices|frames)=(\d+)", text, re.MULTILINE))
        channels = int(sizes.get("channels", 1))
        return channels, int(sizes.get("images", channels)) // channels
    try:
        told = json.loads(text)
        sizes = dict(zip(told["axes"], told["shape"], strict=True))
    except (ValueError, KeyError, TypeError):
        return 1, 1
    return int(sizes.get("C", 1)), int(np.prod([size for axis, size in sizes.items() if axis not in "CSYX"]))


def _check_colours(text):
    """Refuse three channels that a description gives other colours or names than red, green and blue."""
    colours = [colour for colour in re.findall(r'<Channel[^>]*\bColor="(-?\d+)"', text) if colour != "-1"]
    if colours and colours != _OME_PRIMARIES:
        raise UserError("its 3 channels are shown in other colours than red, green and blue; save it as one RGB image")
    for plane in re.findall(r"<TiffData\b[^>]*>", text):
        told = dict(re.findall(r'\b(IFD|FirstC)="(\d+)"', plane))
        if len(set(told.values())) > 1:
            raise UserError(f"its channel {told['FirstC']} is page {told['IFD']}, expected channels in the order of "
                            f"pages; save it as one RGB image")
    names = re.findall(r'<Channel[^>]*\bName="([^"]*)"', text)
    if names and [name.lower() for name in names] not in _COLOUR_NAMES and not all(
            _NUMBERED.fullmatch(name.lower()) for name in names):
        raise UserError(f"its 3 channels are called {', '.join(names)}, expected red, green and blue; save it as one "
                        f"RGB image")
