"""Slides with a known truth: whole fields of phantom cells as pyramidal TIFF files, with annotations of both ends.

For trying the way from slides to grades without any. Below OUT lie slides/NAME.tif, slides/NAME.geojson with the areas
of the severity bands as QuPath would export them, and truth/NAME.csv with the severity of each square.
"""
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from add.data.files import save_csv, save_json
from add.data.phantom import Band
from add.data.phantom_field import PhantomField
from add.data.slides.tiling import COLOURS
from add.errors import UserError
from add.extras import install_command
from add.interfaces import PathLike

TILE = 256  # pixels of a tile inside the file
LEVELS = (1, 4)  # how many times smaller each level is


def draw_slides(out_dir: PathLike, count: int, shape: tuple[int, int], size: int, mpp: float,
                bands: Mapping[str, Band], seed: int, on_strip: Callable[[], object] = lambda: None) -> None:
    """Draw slides named field_0, field_1, ...

    Args:
        count: of slides. shape: (rows, columns) of squares. size: pixels of a square, see `PhantomField`.
        mpp: micrometres per pixel that the files tell. bands: {class: (low, high)}, severities that are annotated.
        seed: of the first slide. on_strip: called after each row of squares.

    Raises:
        UserError: shapely is not installed.
    """
    for number in range(count):
        field = PhantomField(*shape, size, seed + number)
        name = f"field_{number}"
        annotations = areas_of(field, bands)
        write_slide(Path(out_dir) / "slides" / f"{name}.tif", _told(field.strips(), on_strip), field.shape, mpp)
        save_json(Path(out_dir) / "slides" / f"{name}.geojson", annotations)
        known = np.argwhere(~np.isnan(field.severity)).tolist()
        save_csv(Path(out_dir) / "truth" / f"{name}.csv", [("x", "y", "side", "severity"), *(
            (column * size, row * size, size, f"{field.severity[row, column]:.6f}") for row, column in known)])


def areas_of(field: PhantomField, bands: Mapping[str, Band]) -> dict[str, Any]:
    """Return the areas of a field whose severities lie in bands, as a GeoJSON FeatureCollection in pixels."""
    try:
        import shapely
    except ImportError as error:
        raise UserError(f"annotations are made by shapely, which is not installed ({error}): expected it to import; "
                        f"run `{install_command('slides', 'shapely')}`") from error
    features = []
    for number, (name, (low, high)) in enumerate(bands.items()):
        inside = np.argwhere((field.severity >= low) & (field.severity <= high)) * field.size
        if len(inside):
            squares = shapely.box(inside[:, 1], inside[:, 0], inside[:, 1] + field.size, inside[:, 0] + field.size)
            features.append({"type": "Feature", "geometry": shapely.geometry.mapping(shapely.union_all(squares)),
                             "properties": {"objectType": "annotation", "classification": {
                                 "name": name, "color": list(COLOURS[number % len(COLOURS)])}}})
    return {"type": "FeatureCollection", "features": features}


def write_slide(path: Path, strips: Iterator[np.ndarray], shape: tuple[int, int], mpp: float) -> None:
    """Write a tiled TIFF with smaller levels, as scanners do, from strips uint8 [h, width, 3], top to bottom.

    Of the whole, one row of tiles is in memory at a time, and the smaller level, a sixteenth.

    Args:
        shape: (height, width) in pixels. mpp: micrometres per pixel.
    """
    import tifffile

    path.parent.mkdir(parents=True, exist_ok=True)
    small: list[np.ndarray] = []
    unfinished = path.with_suffix(".part")
    options: dict[str, Any] = {"tile": (TILE, TILE), "photometric": "rgb", "compression": "zlib", "metadata": None,
                               "dtype": np.uint8, "resolutionunit": "CENTIMETER"}
    try:
        with tifffile.TiffWriter(unfinished) as file:
            for level, factor in enumerate(LEVELS):
                height, width = (-(-side // factor) for side in shape)
                rows = strips if level == 0 else iter([np.concatenate(small)])
                per_cm = 10000 / mpp / factor
                file.write(_tiles(rows, width, small if level == 0 else None), shape=(height, width, 3),
                           subfiletype=int(level > 0), resolution=(per_cm, per_cm), **options)
    except BaseException:
        unfinished.unlink()
        raise
    unfinished.replace(path)


def _tiles(strips, width, small):
    """Yield tiles of strips, row by row, white beyond the edge; `small` gets the strips of the smaller level."""
    waiting = np.empty((0, width, 3), np.uint8)
    for strip in strips:
        waiting = np.concatenate([waiting, strip])
        while len(waiting) >= TILE:
            yield from _row_of_tiles(waiting[:TILE], small)
            waiting = waiting[TILE:]
    if len(waiting):
        yield from _row_of_tiles(waiting, small)


def _row_of_tiles(strip, small):
    height, width = strip.shape[:2]
    if small is not None:
        small.append(np.ascontiguousarray(strip[::LEVELS[1], ::LEVELS[1]]))
    padded = np.pad(strip, ((0, TILE - height), (0, -width % TILE), (0, 0)), constant_values=255)
    for x in range(0, padded.shape[1], TILE):
        yield np.ascontiguousarray(padded[:, x:x + TILE])


def _told(strips, on_strip):
    for strip in strips:
        on_strip()
        yield strip
