"""Tiles of a slide as objects of QuPath: a GeoJSON file that it opens over the slide.

Each tile is a square in pixels of level 0 with a class, its color, and measurements, which QuPath shows as a map
(Measure, Show measurement maps). Format: QuPath 0.4 and later; earlier ones want measurements as a list.
"""
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from add.data.files import write_atomically
from add.data.slides.tiling import COLOURS
from add.interfaces import PathLike


class TileObject(NamedTuple):
    """A tile: its corner and side in pixels of level 0, its class, and {name: value} of what was measured on it."""

    x: int
    y: int
    side: int
    name: str
    measurements: Mapping[str, float]


def write_tile_objects(path: PathLike, tiles: Iterable[TileObject], names: Sequence[str]) -> None:
    """Write tiles as a GeoJSON FeatureCollection (RFC 7946).

    Args:
        names: of the classes, in order; they decide the colors.
    """
    colours = {name: list(COLOURS[k % len(COLOURS)]) for k, name in enumerate(names)}
    features = [_feature(tile, colours[tile.name]) for tile in tiles]
    text = json.dumps({"type": "FeatureCollection", "features": features}, separators=(",", ":"))
    write_atomically(path, lambda file: file.write(text.encode()))


def _feature(tile, colour):
    right, below = tile.x + tile.side, tile.y + tile.side
    ring = [[tile.x, tile.y], [right, tile.y], [right, below], [tile.x, below], [tile.x, tile.y]]
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"objectType": "tile", "classification": {"name": tile.name, "color": colour},
                           "measurements": {name: round(float(value), 4) for name, value in
                                            tile.measurements.items()}}}
