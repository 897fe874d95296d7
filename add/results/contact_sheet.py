"""Contact sheets: one picture of many images, each with its number or caption below it."""
import math
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from add.results.overview import INK, MARGIN, PAPER, cut_to, paste_enlarged, tile_factor

CAPTION = 14  # pixels below a tile
FONT_SIZE = 11


def contact_sheet(images: np.ndarray | Sequence[np.ndarray], captions: Iterable[object] | None = None,
                  columns: int | None = None) -> np.ndarray:
    """Return the picture as uint8 [height, width, 3], the images row by row; small ones are enlarged by a whole factor.

    Args:
        images: uint8 [n, H, W, 3], one at least.
        captions: n texts, cut where they are wider than their image; by default the numbers 0, 1, ...
        columns: images in a row; by default about as many as there are rows.

    Raises:
        ValueError: something else than that.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or len(images) == 0:
        raise ValueError(f"images are {images.dtype} {list(images.shape)}: expected uint8 [n, H, W, 3], one at least")
    captions = [str(i) for i in range(len(images))] if captions is None else [str(text) for text in captions]
    if len(captions) != len(images):
        raise ValueError(f"{len(captions)} captions were given for {len(images)} images: expected as many")
    columns = min(len(images), math.ceil(len(images) ** 0.5) if columns is None else columns)
    if columns < 1:
        raise ValueError(f"columns is {columns}: expected 1 or more")
    height, width = images.shape[1:3]
    factor = tile_factor(height, width)
    step_x, step_y = width * factor + MARGIN, height * factor + CAPTION + MARGIN
    rows = -(-len(images) // columns)
    canvas = Image.new("RGB", (MARGIN + columns * step_x, MARGIN + rows * step_y), PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(FONT_SIZE)
    for i, (pixels, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = MARGIN + i % columns * step_x, MARGIN + i // columns * step_y
        paste_enlarged(canvas, pixels, factor, x, y)
        draw.text((x, y + height * factor), cut_to(str(caption), width * factor, font), fill=INK, font=font)
    return np.asarray(canvas)

