"""A cytology phantom: drawn images of cells whose severity is known.

Each image shows stained cells on a pale ground: pink cytoplasm (eosin), blue-purple nuclei (haematoxylin). One
number, the severity in [0, 1], drives what pathologists grade: size of the nuclei and its variation from cell to
cell (anisonucleosis), irregular outlines, darkness (hyperchromasia), coarse chromatin with nucleoli, crowding, and
the ratio of nucleus to cytoplasm. Everything else, such as places, rotations, staining, blur and noise, is chance
and does not depend on it. Domains are bands of severity, so that a translation between two domains can be held
against the truth.

Colour follows Beer and Lambert: light falls by exp(-density), and densities of stains add up. The stain colours
are those of Ruifrok and Johnston (Anal. Quant. Cytol. Histol. 23, 2001), "Quantification of histochemical
staining by color deconvolution". Lengths are in units of the image side, so every size shows the same picture.
"""
import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageFilter

from add.data import files
from add.errors import UserError
from add.interfaces import PathLike, Row

Band: TypeAlias = tuple[float, float]  # severities (low, high)
DEFAULT_BANDS = {"mild": (0.0, 0.3), "severe": (0.7, 1.0)}
SPLITS = ("train", "test")
CSV_HEADER = ("image", "domain", "split", "severity")
MIN_SIZE = 16
MAX_CELLS = 12
HAEMATOXYLIN = np.array([0.650, 0.704, 0.286], dtype=np.float32)  # density in red, green, blue
EOSIN = np.array([0.072, 0.990, 0.105], dtype=np.float32)
NUCLEAR_RED_DENSITY = 0.42  # pixels that absorb more red count as nucleus; eosin hardly absorbs any

_ORDERS = np.arange(2, 7)  # of the Fourier series of an outline
_CANDIDATES = 20  # places tried for each cell
_FINE, _COARSE, _CLOUD = 40, 15, 6  # grid points per side of the random fields
_NUCLEOLI = 2


@dataclasses.dataclass(frozen=True)
class Look:
    """The features of a picture that severity drives.

    Lengths in units of the image side, stains as multiples of the stain colours.
    """

    cells: float  # the fraction, up to a half, is how far one more cell has faded in
    nucleus_radius: float
    nucleus_variation: float  # standard deviation of the logarithm of the radius, from cell to cell
    cytoplasm_radius: float
    irregularity: float  # root mean square of the outline's deviation, as a share of the radius
    darkness: float  # haematoxylin in a nucleus
    darkness_variation: float  # standard deviation from cell to cell, as a share
    chromatin_contrast: float  # as a share of the darkness
    chromatin_coarseness: float  # 0: fine grains only, 1: coarse clumps only
    nucleoli: float  # haematoxylin in a nucleolus, on top


MILDEST = Look(cells=4.5, nucleus_radius=0.070, nucleus_variation=0.05, cytoplasm_radius=0.215, irregularity=0.02,
               darkness=1.0, darkness_variation=0.05, chromatin_contrast=0.10, chromatin_coarseness=0.0, nucleoli=0.0)
SEVEREST = Look(cells=9.0, nucleus_radius=0.118, nucleus_variation=0.28, cytoplasm_radius=0.180, irregularity=0.13,
                darkness=1.75, darkness_variation=0.16, chromatin_contrast=0.48, chromatin_coarseness=1.0, nucleoli=1.3)


def look_at(severity: float) -> Look:
    """Return the `Look` of a severity in [0, 1], each field on the straight line from MILDEST to SEVEREST."""
    if not 0 <= severity <= 1:
        raise ValueError(f"severity {severity} is out of range: expected 0 <= severity <= 1; give a share, not percent")
    ends = zip(dataclasses.astuple(MILDEST), dataclasses.astuple(SEVEREST), strict=True)
    return Look(*(low + severity * (high - low) for low, high in ends))


def render(severity: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return one image of cells, uint8 [size, size, 3].

    All random numbers are drawn first, in an order and a number that do not depend on severity. With one state of
    `rng`, other severities therefore show the same cells at the same places, with the same staining, blur and
    noise, changing continuously; further cells fade in between them. Other sizes show the same picture, but for
    the noise.

    Args:
        severity: in [0, 1].
        size: side of the image in pixels, 16 or more.
        rng: its state is all that chance depends on.
    """
    if size < MIN_SIZE:
        raise ValueError(f"size {size} is too small for cells: expected {MIN_SIZE} pixels or more")
    look = look_at(severity)
    chance = draw_chance(size, rng)
    oversampling = oversampling_of(size)
    side = size * oversampling
    fine, coarse = (_enlarge(chance[name], side) for name in ("fine", "coarse"))
    cloud = _enlarge(chance["cloud"], side)
    blend = look.chromatin_coarseness
    chromatin = ((1 - blend) * fine + blend * np.tanh(1.5 * coarse)) / math.hypot(1 - blend, blend)

    cytoplasm, nuclei = np.zeros((2, side, side), dtype=np.float32)  # squares of stain, summed over cells
    for i in range(MAX_CELLS):
        draw_cell(cytoplasm, nuclei, chromatin, look, chance, i)
    # Roots of sums of squares: where two cells overlap it is darker, but less than twice.
    body = np.sqrt(cytoplasm) * (1 + 0.10 * cloud + 0.10 * fine)
    eosin = chance["eosin"] * (body + 0.015 + 0.01 * cloud)
    haematoxylin = chance["haematoxylin"] * (np.sqrt(nuclei) + 0.22 * body)
    density = haematoxylin[..., None] * HAEMATOXYLIN + eosin[..., None] * EOSIN
    light = chance["ground"] * np.exp(-density.clip(0))

    canvas = Image.fromarray((255 * light + 0.5).astype(np.uint8))
    canvas = canvas.filter(ImageFilter.GaussianBlur(float(chance["blur"]) * side)).reduce(oversampling)
    noisy = np.asarray(canvas, dtype=np.float32) + 255 * chance["grain"] * chance["noise"]
    return (noisy + 0.5).clip(0, 255).astype(np.uint8)


def measure_nuclei(image: np.ndarray) -> tuple[float, float]:
    """Return (share, darkness) of the nuclei in uint8 image [H, W, 3], by colour alone.

    share: of the pixels, in [0, 1]; darkness: their mean density in red, a natural logarithm, 0 where there is none.
    """
    density = -np.log(np.maximum(image[..., 0], 1) / 255)
    nuclear = density > NUCLEAR_RED_DENSITY
    return float(nuclear.mean()), float(density[nuclear].mean()) if nuclear.any() else 0.0


def domain_severities(band: Band, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` severities drawn evenly from band (low, high), rounded to 6 decimals: float64 [count]."""
    low, high = band
    return rng.uniform(low, high, count).round(6)


def parse_bands(text: str) -> dict[str, Band]:
    """Return {name: (low, high)} of text such as "mild:0:0.3,severe:0.7:1"; raises UserError."""
    bands: dict[str, Band] = {}
    for part in text.split(","):
        name, *ends = (word.strip() for word in part.split(":"))
        try:
            low, high = map(float, ends)
        except ValueError as error:
            raise UserError(f"band {part!r} is not understood: expected NAME:LOW:HIGH, several of them joined by "
                            f"commas; write for instance mild:0:0.3,severe:0.7:1") from error
        if name in bands:
            raise UserError(f"two bands are named {name!r}: expected one band per domain; rename one of them")
        bands[name] = (low, high)
    check_bands(bands)
    return bands


def check_bands(bands: Mapping[str, Band]) -> None:
    """Raise UserError unless every name can be a folder and every band lies in [0, 1], low end first."""
    if not bands:
        raise UserError("no bands of severity were given: expected one per domain; give for instance mild:0:0.3")
    for name, (low, high) in bands.items():
        if not name or name.startswith(".") or any(character in name for character in "/\\:,"):
            raise UserError(f"{name!r} can't name a domain: expected a plain folder name; use letters and digits")
        if not 0 <= low <= high <= 1:
            raise UserError(f"band {name} reaches from {low:g} to {high:g}: expected 0 <= low <= high <= 1; "
                            f"severity is a share, low end first")


def make_phantom_set(out_dir: PathLike, bands: Mapping[str, Band], num_train: int, num_test: int, size: int,
                     seed: int, on_image: Callable[[], object] = lambda: None) -> None:
    """Write a set of domains and its truth: OUT/train/NAME/*.png, OUT/test/NAME/*.png and OUT/severity.csv.

    Every image has cells of its own: no two share a layout, across domains and splits neither. The table is
    written last, its rows are `image,domain,split,severity` with `image` relative to the folder. More images at
    the same seed begin with the same ones.

    Args:
        out_dir: local folder, new or empty.
        bands: {domain name: (low, high)}, severities in [0, 1].
        num_train, num_test: images of each domain.
        size: side of the images in pixels.
        seed: whole number, 0 or more.
        on_image: called after each image.

    Raises:
        UserError: `out_dir` holds something; bands, numbers, size or seed that make no set.
    """
    check_bands(bands)
    for name, value, least in (("num_train", num_train, 1), ("num_test", num_test, 0), ("size", size, MIN_SIZE),
                               ("seed", seed, 0)):
        if value < least:
            raise UserError(f"{name} is {value}: expected {least} or more; raise --{name}")
    check_out_dir(out_dir)
    rows = []
    for split_number, (split, count) in enumerate(zip(SPLITS, (num_train, num_test), strict=True)):
        for domain_number, (domain, band) in enumerate(bands.items()):
            rng = np.random.default_rng([seed, split_number, domain_number])
            image_rngs = rng.spawn(count)
            for i, severity in enumerate(domain_severities(band, count, rng)):
                name = f"{split}/{domain}/phantom_{i:05d}.png"
                files.save_png(files.join(out_dir, name), render(float(severity), size, image_rngs[i]))
                on_image()
                rows.append((name, domain, split, f"{severity:.6f}"))
    files.save_csv(files.join(out_dir, "severity.csv"), [CSV_HEADER, *rows])


def oversampling_of(size: int) -> int:
    """Return how many times finer than its pixels an image of a size is drawn."""
    return min(4, max(2, math.ceil(160 / size)))


def draw_chance(size: int, rng: np.random.Generator) -> Row:
    """Return all random numbers of an image by name; one call draws the same number whatever the severity."""
    n = MAX_CELLS
    return {
        "place": _spread_places(rng.random((n, _CANDIDATES, 2))),
        "count": rng.uniform(-0.8, 0.8),
        "cytoplasm_size": rng.normal(size=n).clip(-2, 2),
        "nucleus_size": rng.normal(size=n).clip(-2, 2),
        "nucleus_darkness": rng.normal(size=n).clip(-2, 2),
        "offset": rng.normal(size=(n, 2)).clip(-2, 2),
        "cytoplasm_outline": _outline_chance(rng, n),
        "nucleus_outline": _outline_chance(rng, n),
        "elongation": rng.uniform(0.0, 0.14, (n, 2)),  # of cytoplasm and nucleus, as a share of the radius
        "direction": rng.uniform(0, 2 * math.pi, (n, 2)),
        "body": rng.uniform(0.30, 0.42, n),
        "nucleolus_place": rng.uniform(-0.45, 0.45, (n, _NUCLEOLI, 2)),
        "nucleolus_size": rng.uniform(0.16, 0.24, (n, _NUCLEOLI)),
        "eosin": rng.uniform(0.88, 1.12),
        "haematoxylin": rng.uniform(0.93, 1.07),
        "ground": (np.array([0.960, 0.945, 0.960]) + rng.uniform(-0.015, 0.015, 3)).astype(np.float32),
        "blur": rng.uniform(0.003, 0.009),
        "grain": rng.uniform(0.004, 0.010),
        "fine": rng.normal(size=(_FINE, _FINE)),
        "coarse": rng.normal(size=(_COARSE, _COARSE)),
        "cloud": rng.normal(size=(_CLOUD, _CLOUD)),
        "noise": rng.normal(size=(size, size, 3)).astype(np.float32),  # last: the only one whose number depends on size
    }


def _outline_chance(rng, count):
    """Return Fourier coefficients of `count` outlines, complex [count, orders], of root mean square about 1."""
    falloff = 1.0 / _ORDERS
    falloff /= math.sqrt((falloff**2).sum())
    return (rng.normal(size=(count, len(_ORDERS))).clip(-2, 2)
            + 1j * rng.normal(size=(count, len(_ORDERS))).clip(-2, 2)) * falloff


def _spread_places(candidates):
    """Return places [n, 2] in the unit square, each the candidate farthest from those before it.

    Distances wrap round the borders, so that the borders are no likelier than the middle. The first few places
    are spread out as well as all of them are.

    Args:
        candidates: [n, candidates, 2].
    """
    places = candidates[:1, 0]
    for options in candidates[1:]:
        apart = np.abs(options[:, None] - places[None])  # [candidates, places, 2]
        nearest = (np.minimum(apart, 1 - apart) ** 2).sum(axis=-1).min(axis=1)
        places = np.concatenate([places, options[nearest.argmax()][None]])
    return places


def _enlarge(field, side):
    """Return a random field as a smooth one of unit deviation, float32 [side, side]."""
    smooth = np.asarray(Image.fromarray(field.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC))
    return smooth / max(float(smooth.std()), 1e-6)


def draw_cell(cytoplasm: np.ndarray, nuclei: np.ndarray, chromatin: np.ndarray, look: Look, chance: Row, i: int,
              shift: np.ndarray | float = 0.0) -> None:
    """Add cell i to the squared stains `cytoplasm` and `nuclei` [side, side].

    Args:
        chromatin: [side, side], its texture. chance: as from `draw_chance`.
        shift: (x, y) from the image that the cell is of to the one that is drawn, in image sides.
    """
    presence = min(1.0, max(0.0, 2 * (look.cells + chance["count"] - i)))
    if presence == 0:
        return
    presence = presence * presence * (3 - 2 * presence)
    growth = 0.7 + 0.3 * presence
    place = chance["place"][i] + shift
    nucleus_radius = growth * look.nucleus_radius * math.exp(look.nucleus_variation * chance["nucleus_size"][i])
    body_radius = growth * look.cytoplasm_radius * math.exp(0.10 * chance["cytoplasm_size"][i])
    body_radius = max(body_radius, 1.15 * nucleus_radius)
    nucleus_place = place + 0.22 * (body_radius - nucleus_radius) * chance["offset"][i]

    body = _disc(cytoplasm, place, body_radius, 0.06 * chance["cytoplasm_outline"][i],
                 chance["elongation"][i, 0], chance["direction"][i, 0], edge=0.03)
    if body is not None:
        window, inside, depth, _ = body
        # Cytoplasm thins out towards its edge, which itself is a fine line.
        stain = presence * chance["body"][i] * inside * (0.75 + 0.35 * np.minimum(depth, 1))
        cytoplasm[window] += stain**2

    nucleus = _disc(nuclei, nucleus_place, nucleus_radius, look.irregularity * chance["nucleus_outline"][i],
                    chance["elongation"][i, 1], chance["direction"][i, 1], edge=0.014)
    if nucleus is not None:
        window, inside, depth, (x, y) = nucleus
        membrane = 0.25 * np.exp(-((depth - 0.12) / 0.12) ** 2)
        stain = 1 + look.chromatin_contrast * chromatin[window] + membrane
        stain *= look.darkness * math.exp(look.darkness_variation * chance["nucleus_darkness"][i])
        for (u, v), spot in zip(chance["nucleolus_place"][i], chance["nucleolus_size"][i], strict=True):
            stain += look.nucleoli * np.exp(-((x - u) ** 2 + (y - v) ** 2) / spot**2)
        nuclei[window] += (presence * inside * stain.clip(0)) ** 2


def _disc(canvas, place, radius, outline, elongation, direction, edge):
    """Return (window, inside, depth, (x, y)) of a disc with an uneven outline, or None outside the picture.

    Args:
        canvas: [side, side], whose window around the disc is described; nothing is drawn.
        place, radius, edge: (x, y), radius and width of the soft edge, in units of the side.
        outline: complex [orders], the Fourier series of the outline as a share of the radius.
        elongation, direction: of the ellipse underneath, as a share of the radius, and in radians.

    Returns:
        window: two slices of the canvas; inside [h, w]: coverage in [0, 1]; depth [h, w]: distance from the
        outline inwards, as a share of the radius; x, y [h, w]: from the centre, in radii.
    """
    side = len(canvas)
    reach = radius * min(1.8, 1 + elongation + np.abs(outline).sum()) + edge
    first = np.maximum(0, np.floor((place - reach) * side)).astype(int)
    last = np.minimum(side, np.ceil((place + reach) * side)).astype(int)
    if (first >= last).any():
        return None
    columns, rows = (((np.arange(first[k], last[k], dtype=np.float32) + 0.5) / side - place[k]) / radius
                     for k in range(2))
    x, y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    distance = np.hypot(x, y)
    turn = (x + 1j * y) / np.maximum(distance, 1e-4)  # exp(i angle), its powers give the Fourier series
    series = np.concatenate([[elongation * np.exp(-2j * direction)], outline]).astype(np.complex64)
    power = turn * turn
    reach_here = 1 + (series[0] * power).real
    for coefficient in series[1:]:
        reach_here += (coefficient * power).real
        power = power * turn
    depth = reach_here.clip(0.4, 1.8) - distance
    inside = (0.5 + depth * radius / edge).clip(0, 1)
    inside = inside * inside * (3 - 2 * inside)
    return (slice(first[1], last[1]), slice(first[0], last[0])), inside, depth, (x, y)


def check_out_dir(out_dir: PathLike) -> None:
    """Raise UserError unless a folder is local, and new or empty."""
    if files.is_url(out_dir):
        raise UserError(f"{out_dir} is a remote address: expected a local folder; write there and copy the set")
    if os.path.isfile(out_dir):
        raise UserError(f"{out_dir} is a file: expected a new or empty folder; choose another --out_dir")
    if os.path.isdir(out_dir) and os.listdir(out_dir):
        raise UserError(f"{out_dir} is not empty: expected a new or empty folder, nothing is overwritten; "
                        f"choose another --out_dir, or remove the folder first")
