"""A whole field of phantom cells, as wide as a slide, whose severity varies smoothly from place to place.

The field is a grid of squares, each with the cells of one image of `add.data.phantom`. Cells reach over the borders of
their squares, all squares have the stain, ground and blur of one slide, and the severity of each is known. It is drawn
from strip to strip, so that memory does not grow with its height.
"""
import math
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFilter

from add.data.phantom import (
    EOSIN,
    HAEMATOXYLIN,
    MAX_CELLS,
    MIN_SIZE,
    draw_cell,
    draw_chance,
    look_at,
    oversampling_of,
)
from add.interfaces import Row

SHARED = ("eosin", "haematoxylin", "ground", "blur", "grain")  # what chance fixes for a whole slide
REACH = 4  # deviations of the blur that a strip needs of its neighbours
WAVE = 12.0  # squares from one random point of the severity to the next
_STREAM = 2**20  # of random numbers of a whole field, beside those of its squares


class PhantomField:
    """A field of rows x columns squares.

    severity: float64 [rows, columns] in [0, 1], NaN where there is no tissue. All of it depends on the seed alone, and
    what a square shows on its place in the grid and the severities.

    Args:
        rows, columns: squares. size: side of a square in pixels, MIN_SIZE or more. seed: whole number.
    """

    def __init__(self, rows: int, columns: int, size: int, seed: int) -> None:
        if size < MIN_SIZE:
            raise ValueError(f"size {size} is too small for cells: expected {MIN_SIZE} pixels or more")
        self.rows, self.columns, self.size, self.seed = rows, columns, size, seed
        rng = np.random.default_rng([seed, _STREAM])
        self.severity = np.where(_tissue(rows, columns), _smooth_shares(rows, columns, rng), np.nan)
        shared = draw_chance(MIN_SIZE, rng)
        self._shared = {name: shared[name] for name in SHARED}
        self._side = size * oversampling_of(size)
        self._kept: OrderedDict[tuple[int, int], Row] = OrderedDict()

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rows * self.size, self.columns * self.size

    def strips(self) -> Iterator[np.ndarray]:
        """Yield the field from top to bottom, uint8 [size, width, 3] for each row of squares."""
        sharp = (self._sharp(row) for row in range(self.rows))
        radius = float(self._shared["blur"]) * self._side
        margin = math.ceil(REACH * radius)
        before, here = np.empty((0, self.columns * self._side, 3), np.uint8), next(sharp)
        for row in range(self.rows):
            after = next(sharp, None)
            below = here[:0] if after is None else after[:margin]
            together = Image.fromarray(np.concatenate([before, here, below]))
            blurred = together.filter(ImageFilter.GaussianBlur(radius))
            blurred = blurred.crop((0, len(before), blurred.width, len(before) + self._side))
            yield self._noisy(row, np.asarray(blurred.reduce(self._side // self.size), dtype=np.float32))
            before, here = here[-margin:], after if after is not None else here

    def _sharp(self, row):
        """Return a row of squares before blur and noise, uint8 [side, columns * side, 3]."""
        return np.concatenate([self._square(row, column) for column in range(self.columns)], axis=1)

    def _square(self, row, column):
        """Return a square before blur and noise, uint8 [side, side, 3]: its own cells and those that reach into it."""
        severity = self.severity[row, column]
        look = look_at(0.0 if np.isnan(severity) else float(severity))
        fine, coarse, cloud = (self._random_field(name, row, column) for name in ("fine", "coarse", "cloud"))
        blend = look.chromatin_coarseness
        chromatin = ((1 - blend) * fine + blend * np.tanh(1.5 * coarse)) / math.hypot(1 - blend, blend)
        cytoplasm, nuclei = np.zeros((2, self._side, self._side), dtype=np.float32)
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                own = self._severity_at(row + down, column + right)
                if own is not None:
                    chance, near = self._chance(row + down, column + right), look_at(own)
                    for i in range(MAX_CELLS):
                        draw_cell(cytoplasm, nuclei, chromatin, near, chance, i, np.array([right, down]))
        body = np.sqrt(cytoplasm) * (1 + 0.10 * cloud + 0.10 * fine)
        tissue = 0.0 if np.isnan(severity) else 1.0
        eosin = self._shared["eosin"] * (body + tissue * (0.015 + 0.01 * cloud))
        haematoxylin = self._shared["haematoxylin"] * (np.sqrt(nuclei) + 0.22 * body)
        density = haematoxylin[..., None] * HAEMATOXYLIN + eosin[..., None] * EOSIN
        return (255 * self._shared["ground"] * np.exp(-density.clip(0)) + 0.5).astype(np.uint8)

    def _noisy(self, row, strip):
        """Return a strip with its grain, uint8."""
        noise = np.random.default_rng([self.seed, row]).standard_normal(strip.shape, dtype=np.float32)
        return (strip + 255 * self._shared["grain"] * noise + 0.5).clip(0, 255).astype(np.uint8)

    def _severity_at(self, row, column):
        """Return the severity of a square, or None beyond the field and where there is no tissue."""
        if not (0 <= row < self.rows and 0 <= column < self.columns) or np.isnan(self.severity[row, column]):
            return None
        return float(self.severity[row, column])

    def _chance(self, row, column):
        """Return the random numbers of a square; those of three rows are kept."""
        key = row, column
        if key not in self._kept:
            rng = np.random.default_rng([self.seed, row + 1, column + 1, 0])
            self._kept[key] = {name: value for name, value in draw_chance(1, rng).items() if name != "noise"}
            while len(self._kept) > 4 * (self.columns + 2):
                self._kept.popitem(last=False)
        return self._kept[key]

    def _random_field(self, name, row, column):
        """Return a random field over a square, float32 [side, side] of about unit deviation, without seams."""
        blocks = [[self._chance(row + down, column + right)[name] for right in (-1, 0, 1)] for down in (-1, 0, 1)]
        grid = Image.fromarray(np.block(blocks).astype(np.float32))
        points = grid.width // 3
        smooth = grid.resize((self._side, self._side), Image.Resampling.BICUBIC,
                             box=(points, points, 2 * points, 2 * points))
        return np.asarray(smooth) / _DEVIATION


_DEVIATION = 0.81  # of white noise of unit deviation that is enlarged so by cubic interpolation


def _tissue(rows, columns):
    """Return where a field has tissue, bool [rows, columns]: an ellipse, or all of a field too small to have one."""
    if min(rows, columns) < 4:
        return np.ones((rows, columns), dtype=bool)
    y, x = np.ogrid[0:rows, 0:columns]
    across = ((x + 0.5) / columns - 0.5) ** 2 + ((y + 0.5) / rows - 0.5) ** 2
    return across < 0.48**2


def _smooth_shares(rows, columns, rng):
    """Return a smooth random map float64 [rows, columns] whose values are spread evenly over [0, 1]."""
    points = math.ceil(rows / WAVE) + 2, math.ceil(columns / WAVE) + 2
    grid = Image.fromarray(rng.standard_normal(points).astype(np.float32))
    smooth = np.asarray(grid.resize((columns, rows), Image.Resampling.BICUBIC), dtype=np.float64)
    ranks = smooth.ravel().argsort().argsort().reshape(rows, columns)
    return ranks / max(1, rows * columns - 1)
