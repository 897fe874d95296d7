"""Slides drawn for tests: fields of phantom cells as tiled TIFF files with levels, and annotations as of QuPath."""
import json

import numpy as np

from add.data import phantom
from add.data.slides.drawn_slides import write_slide

MPP = 0.25  # of the drawn slides
SQUARE = 64  # pixels of a drawn cell


def draw_field(rows, columns, blank, kinds=8, severity=lambda row, column, cell: cell):
    """Return a field uint8 [rows * SQUARE, columns * SQUARE, 3] of drawn cells; blank(row, column) leaves one white.

    severity(row, column, its number in a fixed pattern) -> which of the `kinds` from the mildest to the severest.
    """
    rng = np.random.default_rng(0)
    cells = [phantom.render(k / (kinds - 1), SQUARE, rng) for k in range(kinds)]
    field = np.full((rows * SQUARE, columns * SQUARE, 3), 245, np.uint8)
    for row in range(rows):
        for column in range(columns):
            if not blank(row, column):
                field[row * SQUARE:(row + 1) * SQUARE, column * SQUARE:(column + 1) * SQUARE] = cells[
                    severity(row, column, (row + 3 * column) % kinds)]
    return field


def write_drawn(path, field):
    """Write a slide of MPP, and return its path."""
    write_slide(path, iter([field]), field.shape[:2], MPP)
    return path


def write_annotations(path, *shapes):
    """Write (class, geometry type, coordinates) as QuPath does."""
    features = [{"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates},
                 "properties": {"objectType": "annotation", "classification": {"name": name, "color": [1, 2, 3]}}}
                for name, kind, coordinates in shapes]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def square(x, y, width, height):
    return [[[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]]
