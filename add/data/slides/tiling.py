"""Tiles of a slide: squares at one resolution that hold tissue, named by the annotation that covers them.

Tissue is what is more saturated than the background, by Otsu's threshold on a thumbnail (Otsu 1979). Blank, blurred and
pen-marked tiles are left out, and so are those that several annotations share, or one covers in part. Of annotations
that lie within each other the smaller one counts.
"""
import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from add.data.slides.slide_image import Slide
from add.errors import UserError
from add.extras import install_command

THUMBNAIL = 1536  # pixels of its longer side
LEAST_SATURATION = 0.05  # below it nothing is tissue, wherever Otsu's threshold lies
UNLABELLED = "unlabelled"
BLANK, BLURRED, PEN, MIXED = "blank", "blurred", "pen-marked", "partly annotated"
COLOURS = ((214, 39, 40), (31, 119, 180), (44, 160, 44), (148, 103, 189), (255, 127, 14), (23, 190, 207))


@dataclasses.dataclass(frozen=True)
class TileRules:
    """How tiles are cut and which are kept.

    tile_size, stride: pixels of a tile. mpp: micrometres per pixel of a tile. least_tissue, least_annotated, most_pen:
    shares of a tile. least_sharpness: variance of its Laplacian, of grey values from 0 to 255.
    """

    tile_size: int = 64
    mpp: float = 0.5
    stride: int = 64
    least_tissue: float = 0.5
    least_annotated: float = 0.8
    most_pen: float = 0.1
    least_sharpness: float = 5.0


class Tile(NamedTuple):
    """A tile: its corner on level 0, its class or UNLABELLED, the shares of tissue and annotation, its pixels."""

    x: int
    y: int
    label: str
    tissue: float
    annotated: float
    pixels: np.ndarray


class TissueMask(NamedTuple):
    """Where a slide's tissue is. thumbnail: uint8 [h, w, 3]; mask: bool [h, w]; threshold: of the saturation."""

    thumbnail: np.ndarray
    mask: np.ndarray
    threshold: float


def find_tissue(slide: Slide) -> TissueMask:
    """Return the `TissueMask` of a slide."""
    from skimage.filters import threshold_otsu

    shrink = max(1.0, max(slide.size) / THUMBNAIL)
    to = max(1, round(slide.size[0] / shrink)), max(1, round(slide.size[1] / shrink))
    thumbnail = slide.read(0, 0, *slide.size, to)
    values = saturation(thumbnail)
    threshold = max(LEAST_SATURATION, float(threshold_otsu(values)) if np.ptp(values) > 0 else 1.0)
    return TissueMask(thumbnail, values > threshold, threshold)


def cut_tiles(slide: Slide, mpp: float, areas: Mapping[str, Any], rules: TileRules, found: TissueMask,
              counts: Counter[str]) -> Iterator[Tile]:
    """Yield the tiles of a slide, row by row.

    Args:
        mpp: micrometres per pixel of its level 0. areas: {class: shapely geometry}, in pixels of level 0.
        found: as from `find_tissue`. counts: counts those left out, by reason.
    """
    side, stride = rules.tile_size * rules.mpp / mpp, rules.stride * rules.mpp / mpp
    whole = round(side)
    shares_of = _annotated_shares(areas)
    for y in _corners(slide.size[1], side, stride):
        for x in _corners(slide.size[0], side, stride):
            if not _any_tissue(found, slide.size, x, y, whole):
                counts[BLANK] += 1
                continue
            label, annotated = _label(shares_of(x, y, whole), rules.least_annotated)
            if not label:
                counts[MIXED] += 1
                continue
            pixels = slide.read(x, y, whole, whole, (rules.tile_size, rules.tile_size))
            tissue = float((saturation(pixels) > found.threshold).mean())
            if tissue < rules.least_tissue:
                counts[BLANK] += 1
            elif pen_share(pixels) > rules.most_pen:
                counts[PEN] += 1
            elif sharpness(pixels) < rules.least_sharpness:
                counts[BLURRED] += 1
            else:
                yield Tile(x, y, label, tissue, annotated, pixels)


def saturation(pixels: np.ndarray) -> np.ndarray:
    """Return the saturation (of HSV) float32 [h, w] in [0, 1] of colours uint8 [h, w, 3]."""
    values = pixels.astype(np.float32)
    high, low = values.max(axis=2), values.min(axis=2)
    return (high - low) / np.maximum(high, 1)


def sharpness(pixels: np.ndarray) -> float:
    """Return the variance of the Laplacian of the grey values, low in a blurred image (Pech-Pacheco et al. 2000)."""
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    inner = grey[1:-1, 1:-1]
    return float((grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner).var())


def pen_share(pixels: np.ndarray) -> float:
    """Return the share of pixels of ink: saturated green to blue, purer than haematoxylin's, or black."""
    red, green, blue = (pixels[..., k].astype(np.float32) for k in range(3))
    coloured = (saturation(pixels) > 0.6) & ((green > 1.2 * red + 20) | (blue > 2 * red + 30))
    black = np.maximum(np.maximum(red, green), blue) < 40
    return float((coloured | black).mean())


def folder_name(label: str) -> str:
    """Return a class's name as that of a folder."""
    return re.sub(r"[^\w .+-]", "_", label).strip(". ") or "class"


def draw_thumbnail(found: TissueMask, size: tuple[int, int], tiles: list[tuple[int, int, str]], side: int
                   ) -> np.ndarray:
    """Return the thumbnail with tiles [(x, y, class)] drawn in, a colour for each class and grey for none."""
    picture = Image.fromarray(found.thumbnail)
    draw = ImageDraw.Draw(picture)
    scale = picture.width / size[0]
    labels = sorted({label for *_, label in tiles} - {UNLABELLED})
    for x, y, label in tiles:
        colour = (120, 120, 120) if label == UNLABELLED else COLOURS[labels.index(label) % len(COLOURS)]
        draw.rectangle((x * scale, y * scale, (x + side) * scale - 1, (y + side) * scale - 1), outline=colour)
    return np.array(picture)


def make_normalizer(method: str, reference: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return normalize(uint8 [h, w, 3]) -> the same, its stains as those of a reference tile; by torchstain.

    Args:
        method: "macenko" (Macenko et al. 2009) or "reinhard" (Reinhard et al. 2001).
        reference: uint8 [h, w, 3].

    Raises:
        UserError: torchstain is not installed, or the reference has no stains to go by.
    """
    try:
        from torchstain import normalizers
    except ImportError as error:
        raise UserError(f"--normalize needs torchstain, which is not installed ({error}): expected it to import; run "
                        f"`{install_command('slides', 'torchstain')}`") from error
    normalizer = {"macenko": normalizers.MacenkoNormalizer, "reinhard": normalizers.ReinhardNormalizer}[method](
        backend="numpy")
    try:
        normalizer.fit(reference)
    except (ValueError, np.linalg.LinAlgError) as error:
        raise UserError(f"the reference tile has no stains that {method} could go by ({error}): expected one with "
                        f"tissue; give another --reference") from error

    def normalize(pixels):
        try:
            result = normalizer.normalize(I=pixels, stains=False) if method == "macenko" else normalizer.normalize(
                I=pixels)
        except (ValueError, np.linalg.LinAlgError):  # a tile with hardly any stain stays as it is
            return pixels
        return np.asarray(result[0] if isinstance(result, tuple) else result).clip(0, 255).astype(np.uint8)

    return normalize


def _corners(length, side, stride):
    """Return the first pixels of squares along a side of the slide."""
    return [round(i * stride) for i in range(int((length - side) // stride) + 1)] if side <= length else []


def _any_tissue(found, size, x, y, side):
    scale = found.mask.shape[1] / size[0]
    rows = slice(int(y * scale), int(np.ceil((y + side) * scale)))
    return bool(found.mask[rows, int(x * scale):int(np.ceil((x + side) * scale))].any())


def _annotated_shares(areas):
    """Return shares(x, y, side) -> {class: share of the tile that it covers}, without those that cover nothing."""
    if not areas:
        return lambda x, y, side: {}
    import shapely

    ordered = sorted(areas.items(), key=lambda entry: entry[1].area)  # the smaller one first
    for _, area in ordered:
        shapely.prepare(area)

    def shares(x, y, side):
        square = shapely.box(x, y, x + side, y + side)
        found = {name: 1.0 if area.contains(square) else area.intersection(square).area / square.area
                 for name, area in ordered if area.intersects(square)}
        return {name: share for name, share in found.items() if share > 0}

    return shares


def _label(shares, least):
    """Return (class or UNLABELLED, its share), or ("", share) of a tile that is annotated in part."""
    if not shares:
        return UNLABELLED, 0.0
    best = max(shares, key=shares.__getitem__)  # of several alike the first, which is the smaller area
    return (best if shares[best] >= least else ""), shares[best]
