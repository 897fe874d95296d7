"""Pictures of points in the plane, from -3 to 3 in both directions, y upwards: scatter, heat map and panels of them."""
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

LIMIT = 3.0
SIZE = 480  # pixels of a side
FINER = 3  # a scatter is drawn so many times larger, and averaged
BINS, FEWER_BINS, FEW = 96, 48, 20000  # squares of a heat map in each direction; the fewer for fewer points than FEW
INK, FRAME, PAPER = (30, 30, 30), (200, 200, 200), (255, 255, 255)
MARGIN, HEAD = 10, 26  # pixels around a plot of a panel, and above it for its title
# Densities from none to highest: paper, then light to dark.
_HEAT = np.array([(255, 255, 255), (254, 217, 142), (248, 148, 65), (214, 74, 85), (142, 38, 110), (60, 15, 90),
                  (15, 5, 40)], dtype=float)


def scatter(points: ArrayLike, order: ArrayLike | None = None, size: int = SIZE) -> np.ndarray:
    """Return a scatter plot, uint8 [size, size, 3], its dots violet to red through the rainbow by place in the order.

    Points beyond the limits are left out. Dots are drawn in a shuffled order, so that no colour covers the others.

    Args:
        points: [n, 2]. order: [n] in [0, 1], each point's place in the rainbow; left out: by number.
    """
    points = np.asarray(points, dtype=float)
    places = np.linspace(0, 1, len(points)) if order is None else np.asarray(order, dtype=float)
    shuffled = np.random.default_rng(0).permutation(len(points))
    side = size * FINER
    columns, rows = _pixels(points[shuffled], side)
    colours = rainbow(places[shuffled])
    radius = FINER * np.clip(100 / np.sqrt(max(1, len(points))), 0.8, 2.5) * size / SIZE
    canvas = np.full((side, side, 3), 255, dtype=np.uint8)
    reach = int(radius)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if down**2 + right**2 <= radius**2:
                y, x = rows + down, columns + right
                inside = (y >= 0) & (y < side) & (x >= 0) & (x < side)
                canvas[y[inside], x[inside]] = colours[inside]
    averaged = canvas.reshape(size, FINER, size, FINER, 3).mean(axis=(1, 3))
    return _framed(averaged.round().astype(np.uint8))


def heat_map(points: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Return uint8 [size, size, 3]: how many of the points [n, 2] lie in each of many squares, white for none.

    The darkest colour stands for the 99th percentile of the squares that hold any point, and more.
    """
    bins = FEWER_BINS if len(points) < FEW else BINS
    columns, rows = _pixels(np.asarray(points, dtype=float), bins)
    inside = (columns >= 0) & (columns < bins) & (rows >= 0) & (rows < bins)
    counts = np.zeros((bins, bins))
    np.add.at(counts, (rows[inside], columns[inside]), 1)
    full = np.percentile(counts[counts > 0], 99) if counts.any() else 1.0
    shades = _between(_HEAT, np.minimum(counts / full, 1))
    return _framed(np.asarray(Image.fromarray(shades).resize((size, size), Image.Resampling.NEAREST)))


def panel(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str]) -> np.ndarray:
    """Return uint8 [height, width, 3], plots in rows and columns with a title above each column.

    Args:
        rows: lists of uint8 [H, W, 3], all of one size. titles: a text for each column.
    """
    height, width = rows[0][0].shape[:2]
    canvas = Image.new("RGB", (MARGIN + len(titles) * (width + MARGIN), HEAD + len(rows) * (height + MARGIN)), PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    for column, title in enumerate(titles):
        left = MARGIN + column * (width + MARGIN)
        draw.text((left + width / 2, HEAD / 2), title, fill=INK, font=font, anchor="mm")
        for row, plots in enumerate(rows):
            canvas.paste(Image.fromarray(plots[column]), (left, HEAD + row * (height + MARGIN)))
    return np.asarray(canvas)


def rainbow(places: ArrayLike) -> np.ndarray:
    """Return uint8 [n, 3], the colours at places [n] in [0, 1] from violet to red, as matplotlib's "rainbow" has them.
    """
    places = np.asarray(places, dtype=float)
    shades = np.stack([np.abs(2 * places - 0.5), np.sin(np.pi * places), np.cos(np.pi / 2 * places)], axis=1)
    return (255 * shades.clip(0, 1)).round().astype(np.uint8)


def _pixels(points, side):
    """Return (columns, rows) int64 [n] of points in a picture of side x side pixels, outside of it where they are."""
    places = np.floor((points + LIMIT) * side / (2 * LIMIT)).clip(-side, 2 * side).astype(np.int64)
    return places[:, 0], side - 1 - places[:, 1]


def _between(colours, shares):
    """Return uint8 [..., 3], colours [k, 3] interpolated at shares in [0, 1]."""
    at = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(shares, at, channel) for channel in colours.T], axis=-1).round().astype(np.uint8)


def _framed(picture):
    """Return the picture with a thin frame."""
    picture = picture.copy()
    picture[[0, -1]] = picture[:, [0, -1]] = FRAME
    return picture
