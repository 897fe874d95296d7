"""The overview picture of a translation: a row per source image, which comes first, then its targets, captioned."""
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MARGIN = 6
SMALLEST_TILE = 96  # pixels; smaller images are enlarged by a whole factor
INK, PAPER = (30, 30, 30), (255, 255, 255)


def draw_overview(sources: np.ndarray, targets: np.ndarray, captions: Sequence[Sequence[str]],
                  headings: Sequence[str], names: Sequence[str], title: str) -> np.ndarray:
    """Return the overview picture, uint8 [height, width, 3].

    Args:
        sources: uint8 [n, H, W, 3]. targets: uint8 [n, N, H, W, 3].
        captions: n times N texts below the targets, such as "depth 200".
        headings: N texts above the targets, such as "30 % severe". names: n texts below the sources, such as files'.
        title: one line above the picture.
    """
    height, width = sources.shape[1:3]
    factor = tile_factor(height, width)
    small, large = ImageFont.load_default(11), ImageFont.load_default(14)
    head, caption = 2 * MARGIN + 40, 14
    step_x, step_y = width * factor + MARGIN, height * factor + caption + MARGIN
    rows, columns = targets.shape[0], targets.shape[1] + 1
    across = max(columns * step_x, math.ceil(large.getlength(title)))
    canvas = Image.new("RGB", (MARGIN + across + MARGIN, head + rows * step_y + MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN), title, fill=INK, font=large)
    for column in range(columns):
        x = _column(column, step_x)
        text = "source" if column == 0 else headings[column - 1]
        draw.text((x, head - 18), cut_to(text, step_x - 2, small), fill=INK, font=small)
        for row in range(rows):
            y = head + row * step_y
            pixels = sources[row] if column == 0 else targets[row, column - 1]
            paste_enlarged(canvas, pixels, factor, x, y)
            below = captions[row][column - 1] if column else _end_of(names[row], step_x - 2, small)
            draw.text((x, y + height * factor), below, fill=INK, font=small)
    return np.asarray(canvas)


def tile_factor(height: int, width: int) -> int:
    """Return the whole number that images are enlarged by so that no side is shorter than SMALLEST_TILE."""
    return max(1, -(-SMALLEST_TILE // min(height, width)))


def paste_enlarged(canvas: Image.Image, pixels: np.ndarray, factor: int, x: int, y: int) -> None:
    """Put uint8 pixels [H, W, 3], each `factor` times as large, on a canvas with their upper left corner at (x, y)."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    canvas.paste(image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST), (x, y))


def label_text(label: Sequence[float], way: Sequence[int], names: Sequence[str]) -> str:
    """Return a soft label in words: "30 % severe", the share of the domain that the way has reached last.

    Where more than two domains have a share, or two that are no neighbours on the way, those of all: "20 / 30 / 50 %".

    Args:
        label: shares of all domains. way: domain numbers, from the source to the target. names: of these, in words.
    """
    places = [place for place, domain in enumerate(way) if label[domain] > 0]
    if places[-1] - places[0] > 1:
        return " / ".join(f"{100 * label[domain]:.0f}" for domain in way) + " %"
    place = places[-1]
    return f"{100 * label[way[place]]:.0f} % {names[place]}"


def cut_to(text: str, width: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return the text, or as much of its beginning as fits into `width` pixels with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    return next((text[:length] + "…" for length in range(len(text) - 1, 0, -1)
                 if font.getlength(text[:length] + "…") <= width), "")


def _end_of(name, width, font):
    """Return a file's name, or as much of its end as fits: names of tiles differ there."""
    return cut_to(name[::-1], width, font)[::-1]


def _column(column, step_x):
    """Return the left edge of a column; the targets stand a little apart from the source."""
    return MARGIN + column * step_x + (MARGIN if column else 0)
