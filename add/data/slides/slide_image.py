"""One slide: its size, its resolution, and any region of it at any size, without all of it in memory.

Slides of scanners and tiled TIFF files are read by OpenSlide. What it doesn't know, such as a PNG of a whole field, is
read at once, within --max_pixels.
"""
import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from add.data.image_file import EXTENSIONS, read_image
from add.errors import UserError
from add.extras import install_command
from add.interfaces import PathLike

SLIDE_ENDINGS = ("svs", "ndpi", "mrxs", "scn", "vms", "bif", "czi", "tif", "tiff")
MICROMETRES = {"inch": 25400.0, "centimeter": 10000.0}  # in a unit of a TIFF's resolution
OTHER_UNITS = ("nm", "mm", "cm", "m", "in", "pt", "pixel", "reference frame")
ARTIFACT = (0.005, 100.0)  # micrometres per pixel beyond which a TIFF's resolution is that of a printer, not a lens


class Slide(Protocol):
    """A slide. size: (width, height) in pixels of level 0. mpp: micrometres per pixel there, or None where unknown."""

    size: tuple[int, int]
    mpp: float | None

    def read(self, x: int, y: int, width: int, height: int, to: tuple[int, int]) -> np.ndarray:
        """Return the region of level 0 from its corner (x, y), uint8 [h, w, 3] of size `to` = (w, h)."""

    def close(self) -> None:
        """Let go of the file."""


def open_slide(path: PathLike) -> Slide:
    """Return the `Slide` in a file; close it when done.

    Raises:
        UserError: OpenSlide is not installed, or the file is no image that anything here reads.
    """
    try:
        import openslide
    except ImportError as error:
        raise UserError(f"slides are read by OpenSlide, which is not installed ({error}): expected it to import; run "
                        f"`{install_command('slides', 'openslide-python', 'openslide-bin')}`") from error
    if not Path(path).is_file():
        raise UserError(f"slide {path} is no file: expected a slide or an image; check the path")
    try:
        if openslide.OpenSlide.detect_format(str(path)) is not None:
            return _Pyramid(openslide.OpenSlide(str(path)))
    except openslide.OpenSlideError as error:
        raise UserError(f"slide {path} can't be read ({error}): expected a whole file of a scanner; copy it again"
                        ) from error
    if Path(path).suffix.lower()[1:] not in EXTENSIONS:
        raise UserError(f"slide {path} is of a kind that OpenSlide doesn't know, or damaged: expected one of a "
                        f"scanner, a tiled TIFF, or an image that ends in {', '.join(EXTENSIONS)}; look at the file")
    return _Whole(path)


def slide_name(path: PathLike) -> str:
    """Return the name that a slide's tiles and annotations have: that of its file, without .tif or .ome.tif."""
    return Path(path).name.removesuffix(Path(path).suffix).removesuffix(".ome")


def resolution_of(slide: Slide, path: PathLike, source_mpp: float) -> float:
    """Return micrometres per pixel of level 0: `source_mpp`, or where that is 0 what the file tells.

    Raises:
        UserError: neither is known.
    """
    if not (mpp := source_mpp or slide.mpp):
        raise UserError(f"slide {path} does not tell how large its pixels are: expected micrometres per pixel in it; "
                        f"give --source_mpp, as the scanner's settings say")
    return mpp


class _Pyramid:
    """A slide that OpenSlide reads."""

    def __init__(self, slide: Any) -> None:
        self.slide = slide
        self.size: tuple[int, int] = slide.dimensions
        self.mpp = _mpp_of(slide.properties)

    def read(self, x: int, y: int, width: int, height: int, to: tuple[int, int]) -> np.ndarray:
        """See `Slide.read`; of the levels the coarsest is taken that is as fine as what is wanted."""
        level = self.slide.get_best_level_for_downsample(max(1.0, min(width / to[0], height / to[1])))
        factor = self.slide.level_downsamples[level]
        pixels = self.slide.read_region((x, y), level, (max(1, round(width / factor)), max(1, round(height / factor))))
        on_white = Image.new("RGB", pixels.size, (255, 255, 255))
        on_white.paste(pixels, mask=pixels.getchannel("A"))
        return np.array(_resized(on_white, to))

    def close(self) -> None:
        """Let go of the file."""
        self.slide.close()


class _Whole:
    """An image of a whole field, in memory."""

    def __init__(self, path: PathLike) -> None:
        self.pixels = read_image(path)
        self.size = self.pixels.shape[1], self.pixels.shape[0]
        self.mpp = _mpp_of_tiff(path)

    def read(self, x: int, y: int, width: int, height: int, to: tuple[int, int]) -> np.ndarray:
        """See `Slide.read`; beyond the edge it is white."""
        region = np.full((height, width, 3), 255, dtype=np.uint8)
        inside = self.pixels[max(0, y):y + height, max(0, x):x + width]
        region[max(0, -y):max(0, -y) + len(inside), max(0, -x):max(0, -x) + inside.shape[1]] = inside
        return np.array(_resized(Image.fromarray(region), to))

    def close(self) -> None:
        """Nothing is open."""


def _resized(picture, to):
    return picture if picture.size == to else picture.resize(to, Image.Resampling.BOX if picture.size > to else
                                                             Image.Resampling.BICUBIC)


def _mpp_of(properties):
    """Return micrometres per pixel as OpenSlide's properties tell them, or None."""
    if own := properties.get("openslide.mpp-x"):
        return float(own)
    unit = MICROMETRES.get(str(properties.get("tiff.ResolutionUnit", "")).lower())
    resolution = float(properties.get("tiff.XResolution") or 0)
    if unit and resolution:
        return _of_a_lens(unit / resolution)
    return _mpp_of_text(properties.get("tiff.ImageDescription"))


def _mpp_of_tiff(path):
    """Return micrometres per pixel as a TIFF's tags or OME-XML tell them, or None; of other files None."""
    if Path(path).suffix.lower() not in (".tif", ".tiff"):
        return None
    with Image.open(path) as picture:
        tags = getattr(picture, "tag_v2", {})
        unit = {2: MICROMETRES["inch"], 3: MICROMETRES["centimeter"]}.get(int(tags.get(296) or 0))
        resolution = float(tags.get(282) or 0)
        found = _mpp_of_text(str(tags.get(270, "")))
    return found or (_of_a_lens(unit / resolution) if unit and resolution else None)


def _mpp_of_text(text):
    """Return the size of a pixel that an OME-XML description tells in micrometres, or None."""
    found = re.search(r'PhysicalSizeX="([0-9.eE+-]+)"', text or "")
    unit = re.search(r'PhysicalSizeXUnit="([^"]+)"', text or "")
    if not found or unit and unit[1] in OTHER_UNITS:  # its own sign comes in many encodings
        return None
    return float(found[1])


def _of_a_lens(mpp):
    return mpp if ARTIFACT[0] <= mpp <= ARTIFACT[1] else None
