"""Cut tiles from whole slides, sorted by the class of their annotations.

Reads slides (svs, ndpi, mrxs, scn, tiled and plain TIFF, OME-TIFF, and pictures of whole fields) and for each a GeoJSON
file of the same name, as QuPath exports it. Writes OUT/CLASS/SLIDE_xX_yY.png (corner on level 0), tissue without
annotation to OUT/unlabelled/, OUT/tiles.csv, which all commands take in place of a folder, and a thumbnail of each
slide with its tiles. A slide that is finished is not cut again.
"""
import concurrent.futures
import dataclasses
import multiprocessing
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import numpy as np

from add.config import (
    MOST_PIXELS,
    Checked,
    HelpGroups,
    expect,
    max_pixels_option,
    option,
    path_option,
    skip_bad_option,
)
from add.data.files import changed_settings, save_csv, save_json, save_png
from add.data.image_file import EXTENSIONS, read_image
from add.data.read_back import read_json
from add.data.slides.annotations import read_annotations
from add.data.slides.slide_image import SLIDE_ENDINGS, open_slide, resolution_of, slide_name
from add.data.slides.tiling import (
    UNLABELLED,
    TileRules,
    cut_tiles,
    draw_thumbnail,
    find_tissue,
    folder_name,
    make_normalizer,
)
from add.errors import UserError
from add.interfaces import Row
from add.runtime.next_steps import command_line, next_steps
from add.runtime.options import Options
from add.runtime.progress import EvaluationBar, say

TABLE, DONE, THUMBNAILS = "tiles.csv", ".done", "thumbnails"
COLUMNS = ("image", "class", "slide", "x", "y", "mpp", "tissue", "annotated")
RECORD = {"rows": [dict.fromkeys(COLUMNS, object)], "counts": {str: int}}


@dataclasses.dataclass(frozen=True)
class TilesConfig(Checked):
    """Tiles."""

    help_groups: ClassVar[HelpGroups] = {
        "slides": ("slides_dir", "annotations_dir", "source_mpp", "point_radius", "skip_bad", "max_pixels"),
        "tiles": ("tile_size", "mpp", "stride", "normalize", "reference"),
        "which are kept": ("least_tissue", "least_annotated", "least_sharpness", "most_pen"),
        "output and speed": ("out_dir", "processes")}

    slides_dir: str = path_option("", "folder of slides, those in its subfolders included; required", "slides")
    annotations_dir: str = path_option("", "folder of GeoJSON files, SLIDE.geojson each; left out: where the slides "
                                           "are", "annotations")
    source_mpp: float = option(0.0, "micrometres per pixel of the slides, where the files don't tell; 0: they do",
                               least=0, most=1000)
    point_radius: float = option(0.0, "micrometres around an annotated point that count as its class; 0: points are "
                                      "passed over", least=0, most=10**6)
    tile_size: int = option(64, "side of a tile in pixels", least=8, most=MOST_PIXELS)
    mpp: float = option(0.5, "micrometres per pixel of a tile", above=0, most=1000)
    stride: int = option(0, "pixels of a tile from one to the next; 0: tile_size, so that none overlap", least=0,
                         most=MOST_PIXELS)
    least_tissue: float = option(0.5, "share of a tile that is tissue", least=0, most=1)
    least_annotated: float = option(0.8, "share of a tile that the annotation of its class covers", above=0, most=1)
    least_sharpness: float = option(5.0, "variance of the Laplacian below which a tile is blurred; 0: keep all",
                                    least=0, most=10**6)
    most_pen: float = option(0.1, "share of ink above which a tile is pen-marked", least=0, most=1)
    normalize: str = option("none", "bring the stains to those of --reference: none, macenko or reinhard",
                            ("none", "macenko", "reinhard"))
    reference: str = path_option("", "tile whose stains the others get; left out: the first one that is cut")
    out_dir: str = path_option("", "folder to write to; the same command again continues; required", "out")
    skip_bad: bool = skip_bad_option()
    max_pixels: int = max_pixels_option()
    processes: int = option(1, "slides at a time", least=1, most=1024)

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(not self.reference or self.normalize != "none", "reference", self.reference,
               "--normalize macenko or reinhard beside it")

    def rules(self) -> TileRules:
        """Return how tiles are cut."""
        return TileRules(self.tile_size, self.mpp, self.stride or self.tile_size, self.least_tissue,
                         self.least_annotated, self.most_pen, self.least_sharpness)


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, TilesConfig)


def main(argv: list[str] | None = None) -> None:
    """Cut the tiles that the command line asks for."""
    config = build_options().parse(argv).take(TilesConfig)
    for name in ("slides_dir", "out_dir"):
        if not getattr(config, name):
            raise UserError(f"no --{name} was given: expected a folder; give one")
    slides = list_slides(config.slides_dir)
    out_dir = Path(config.out_dir)
    settings = {name: value for name, value in dataclasses.asdict(config).items()
                if name not in ("processes", "skip_bad", "max_pixels", "out_dir")}
    changed = changed_settings(out_dir / DONE / "settings.json", settings)
    if changed and any(_record(out_dir, name).exists() for name in slides):
        raise UserError(f"{out_dir} holds tiles that were cut otherwise ({', '.join(changed)}): give the same options "
                        f"to continue, or another --out_dir")
    save_json(out_dir / DONE / "settings.json", settings)
    bad = _cut_all(config, slides, out_dir)
    write_table(out_dir, slides)
    for path, reason in bad.items():
        say(f"left out: {path}: {reason}")
    say(f"done: {out_dir / TABLE}")
    say(next_steps(command_line("split", data_dir=out_dir / TABLE, out_dir=f"{out_dir}_parts")))


def list_slides(folder: str) -> dict[str, Path]:
    """Return {name: file} of the slides in a folder and below it.

    Raises:
        UserError: there are none, or two of one name.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"--slides_dir {folder} is no folder: expected one that holds slides; check the path")
    endings = {f".{ending}" for ending in (*SLIDE_ENDINGS, *EXTENSIONS)}
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in endings and path.is_file()
                   and not any(part.startswith(".") for part in path.relative_to(root).parts))
    if not paths:
        raise UserError(f"{folder} holds no slides: expected files that end in {', '.join(sorted(endings))}")
    found: dict[str, Path] = {}
    for path in paths:
        name = slide_name(path)
        if name in found:
            raise UserError(f"{found[name]} and {path} have one name: expected a different one for each slide, by "
                            f"which its tiles and annotations are called; rename one")
        found[name] = path
    return found


def _record(out_dir, name):
    """Return the file that says that a slide is finished, and what its tiles are."""
    return out_dir / DONE / f"{name}.json"


def _cut_all(config, slides, out_dir):
    """Cut the slides that are not finished, and return {file: reason} of those that can't be read."""
    missing = {name: path for name, path in slides.items() if not _record(out_dir, name).exists()}
    bad: dict[Path, str] = {}
    done = len(slides) - len(missing)
    with closing(EvaluationBar("cutting", len(slides), "slide", silent=False, initial=done)) as bar:
        first = {}
        if config.normalize != "none" and missing and not config.reference:
            first = {name: missing.pop(name) for name in list(missing)[:1]}  # the others go by its first tile
        for group in (first, missing):
            for name, outcome in _outcomes(config, group, out_dir):
                if isinstance(outcome, UserError):
                    if not config.skip_bad:
                        raise outcome
                    bad[slides[name]] = str(outcome)
                else:
                    bar.note(f"{name}: {outcome}")
                bar.add()
    return bad


def _outcomes(config, slides, out_dir):
    """Yield (name, sentence or UserError) of each slide as it is cut, some at a time."""
    if config.processes == 1 or len(slides) < 2:
        for name, path in slides.items():
            yield name, _attempt(config, name, path, out_dir)
        return
    with concurrent.futures.ProcessPoolExecutor(config.processes, multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(_attempt, config, name, path, out_dir): name for name, path in slides.items()}
        for future in concurrent.futures.as_completed(waiting):
            yield waiting[future], future.result()


def _attempt(config, name, path, out_dir):
    """Return what cutting a slide gave, in words, or the UserError that stopped it."""
    try:
        return cut_slide(config, name, path, out_dir)
    except UserError as error:
        return error


def cut_slide(config: TilesConfig, name: str, path: Path, out_dir: Path) -> str:
    """Cut the tiles of one slide, write them and its record, and return in words what became of it.

    Raises:
        UserError: a slide or annotations that can't be read, or an unknown resolution.
    """
    rules = config.rules()
    with closing(open_slide(path)) as slide:
        mpp = resolution_of(slide, path, config.source_mpp)
        annotations = Path(config.annotations_dir or path.parent) / f"{name}.geojson"
        areas = read_annotations(annotations, config.point_radius / mpp) if annotations.is_file() else {}
        found = find_tissue(slide)
        counts: Counter[str] = Counter()
        rows: list[Row] = []
        normalize = None
        for tile in cut_tiles(slide, mpp, areas, rules, found, counts):
            if config.normalize != "none" and normalize is None:
                normalize = make_normalizer(config.normalize, _reference(config, tile.pixels, out_dir))
            image = f"{folder_name(tile.label)}/{name}_x{tile.x}_y{tile.y}.png"
            save_png(out_dir / image, tile.pixels if normalize is None else normalize(tile.pixels))
            label = "" if tile.label == UNLABELLED else tile.label
            rows.append(dict(zip(COLUMNS, (image, label, name, tile.x, tile.y, rules.mpp, round(tile.tissue, 4),
                                           round(tile.annotated, 4)), strict=True)))
            counts[tile.label] += 1
        drawn = [(row["x"], row["y"], row["class"] or UNLABELLED) for row in rows]
        side = round(rules.tile_size * rules.mpp / mpp)
        save_png(out_dir / THUMBNAILS / f"{name}.png", draw_thumbnail(found, slide.size, drawn, side))
    save_json(_record(out_dir, name), {"rows": rows, "counts": dict(counts)})
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "no tile fits into it"


def _reference(config, pixels, out_dir):
    """Return the reference tile: that of --reference, else the first that was cut, which is kept."""
    kept = out_dir / DONE / "reference.png"
    if config.reference:
        return read_image(config.reference)
    if not kept.exists():
        save_png(kept, np.asarray(pixels))
    return read_image(kept)


def write_table(out_dir: Path, slides: dict[str, Path]) -> None:
    """Write tiles.csv from the records of the slides that are finished."""
    records = [record for name in slides if (record := _record(out_dir, name)).exists()]
    rows = [row for record in records
            for row in read_json(record, RECORD, "remove it, and the same command cuts that slide again")["rows"]]
    save_csv(out_dir / TABLE, [COLUMNS, *([row[name] for name in COLUMNS] for row in rows)])
