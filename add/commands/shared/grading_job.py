"""Grade a folder, a table or a slide with a finished grader, batch by batch, and write what came of it."""
import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from add.classification.grader import Grader, Grades
from add.classification.grading import SHRUNK, DomainSeverities, class_scores, rank_correlation
from add.classification.group_intervals import grouped_intervals
from add.data.dataset import ImageSet
from add.data.files import is_url, relative_name
from add.data.folders import holds_domains, list_domains, list_images
from add.data.groups import read_groups
from add.data.image_file import read_image
from add.data.read_back import read_json
from add.data.severity_table import read_severity
from add.data.slides.slide_image import open_slide, resolution_of, slide_name
from add.data.slides.tile_objects import TileObject, write_tile_objects
from add.data.slides.tiling import Tile, TileRules, cut_tiles, find_tissue
from add.data.transforms import to_model_input
from add.errors import UserError
from add.interfaces import Note, Row
from add.results.graded_folder import SUMMARY, Graded, write_graded
from add.results.grades_view import HEAT_MAP
from add.results.heat_map import draw_heat_map
from add.runtime.progress import EvaluationBar
from add.runtime.typed_command import command_facts

BATCH = 256


class _Batch(NamedTuple):
    """Images uint8 [b, S, S, 3] with their files or names, and (x, y) of tiles or None."""

    pixels: np.ndarray
    names: list[str]
    places: list[tuple[int, int]] | None = None


def grade_images(grader: Grader, config: Any, note: Note, silent: bool) -> Path:
    """Grade what --images names, write it below --out_dir, and return that folder.

    Args:
        config: the options of `add.commands.grade`.

    Raises:
        UserError: images that can't be read, or a slide without a resolution.
    """
    out_dir, source = Path(config.out_dir), config.images
    facts = command_facts() | {"options": {**dataclasses.asdict(config)}, "places": _places(config),
                               "grader": {"folder": config.grader_dir, "method": grader.method,
                                          "members": len(grader.states)}}
    if _is_slide(source):
        _grade_slide(grader, config, out_dir, facts, note, silent)
        return out_dir
    paths = list_images(source)
    if not paths:
        raise UserError(f"{source} holds no images: expected a folder or a table of images, or a slide; check the path")
    batches = _read_files(paths, grader.image_size, config.skip_bad, note)
    graded, kept = _grade(grader, batches, len(paths), silent)
    groups = read_groups(source, kept, config.group_pattern)
    graded = graded._replace(names=[relative_name(source, path) for path in kept], groups=groups)
    scores = known_scores(grader, graded, source, kept)
    write_graded(out_dir, graded, grader.domains, lambda i: read_image(kept[i]), facts | {"scores": scores})
    note(_say_grades(graded, grader.domains))
    return out_dir


def refuse_others(config: Any) -> None:
    """Raise UserError where --out_dir has grades of other images, or by another grader; the same ones are graded anew.

    Args:
        config: the options of `add.commands.grade`.
    """
    path = Path(config.out_dir) / SUMMARY
    if not path.is_file():
        return
    told = read_json(path, {"places?": {str: str}, str: object}, "remove it, or give another --out_dir")
    there = told.get("places", {})  # earlier versions wrote none
    changed = [f"--{name} {there[name]} there, {place} given" for name, place in _places(config).items()
               if there.get(name, place) != place]
    if changed:
        raise UserError(f"{config.out_dir} holds grades of other images, or by another grader ({'; '.join(changed)}): "
                        f"expected the same ones, or another --out_dir")


def _places(config):
    """Return where the images and the grader lie, wherever the command was started."""
    return {name: path if is_url(path) else os.path.abspath(path)
            for name, path in (("images", config.images), ("grader_dir", config.grader_dir))}


def count_images(config: Any, image_size: int, known_mpp: float | None) -> int:
    """Return how many images --images names; of a slide the tiles that it has room for, tissue or not.

    Args:
        known_mpp: micrometres per pixel of the training images, or None.

    Raises:
        UserError: a slide without a resolution.
    """
    if not _is_slide(config.images):
        return len(list_images(config.images))
    path = Path(config.images)
    rules = _tile_rules(config, image_size, known_mpp)
    with closing(open_slide(path)) as slide:
        return _room(slide, resolution_of(slide, path, config.source_mpp), rules)


def known_scores(grader: Grader, graded: Graded, source: str, paths: Sequence[str]) -> Row:
    """Return {score: {"value", "low", "high"}} where classes or severities of the images are known, else {}.

    Intervals are over groups of images, or over images where no groups are known, see
    `add.classification.group_intervals`.
    """
    classes = _true_classes(grader.domains, source, paths)
    severity, known = read_severity(source, paths), grader.facts.get("severities")
    positions = None
    if severity is not None and known:
        positions = DomainSeverities(known["means"], [(low, high) for low, high in known["bands"]]).positions(severity)

    def score(chosen):
        found: dict[str, float] = {}
        if classes is not None:
            truth, own = torch.from_numpy(classes[chosen]), torch.from_numpy(graded.probabilities[chosen])
            found["accuracy"] = float((own.argmax(dim=1) == truth).double().mean())
            places = (torch.from_numpy(graded.severity[chosen]) * (len(grader.domains) - 1)).round().long()
            found |= class_scores(places, truth, len(grader.domains))
        if severity is not None:
            found["severity_spearman"] = rank_correlation(graded.severity[chosen], severity[chosen])
        if positions is not None:
            for name, values in (("severity_rmse_linked", graded.severity), (SHRUNK, graded.shrunk)):
                found[name] = float(np.sqrt(((values[chosen] - positions[chosen]) ** 2).mean()))
            inside = (graded.low[chosen] <= positions[chosen]) & (positions[chosen] <= graded.high[chosen])
            found["severity_in_interval"] = float(inside.mean())
        return found

    values = score(np.arange(len(paths)))
    ends = grouped_intervals(score, paths if graded.groups is None else graded.groups) if values else {}
    return {name: {"value": value, "low": ends.get(name, (None, None))[0], "high": ends.get(name, (None, None))[1]}
            for name, value in values.items()}


def _true_classes(domains, source, paths):
    """Return the class numbers int64 [n] that subfolders or a table name, or None where they name others."""
    if not holds_domains(source):
        return None
    numbers = {path: domains.index(name) for name, own in list_domains(source).items() if name in domains
               for path in own}
    return np.array([numbers[path] for path in paths]) if all(path in numbers for path in paths) else None


def _read_files(paths: Sequence[str], image_size: int, skip_bad: bool, note: Note) -> Iterator[_Batch]:
    """Yield the images of files, some at a time."""
    for first in range(0, len(paths), BATCH):
        images = ImageSet.from_paths(paths[first:first + BATCH], image_size, skip_bad=skip_bad)
        if images.bad:
            note(images.say_bad())
        yield _Batch(images.batch(range(len(images))), list(images.files))


def _grade(grader: Grader, batches: Iterator[_Batch], total: int, silent: bool) -> tuple[Graded, list[str]]:
    """Return (the grades of all batches, their names)."""
    members = grader.networks()
    parts: list[Grades] = []
    names: list[str] = []
    places: list[tuple[int, int]] = []
    with closing(EvaluationBar("grading", total, "image", silent)) as bar:
        for batch in batches:
            parts.append(grader.grade(to_model_input(batch.pixels), members))
            names += batch.names
            places += batch.places or []
            bar.add(len(batch.names))
    if not names:
        raise UserError("none of the images could be graded: expected some that can be read, and of a slide a tile "
                        "with tissue at its --mpp; look at --images, --mpp and --least_tissue")
    together = Grades(*map(np.concatenate, zip(*parts, strict=True)))
    return Graded(names, None, *together, places=np.array(places, dtype=np.int64).reshape(-1, 2)), names


def _grade_slide(grader, config, out_dir, facts, note, silent):
    """Grade the tiles of a slide, and draw its map and its objects."""
    path, size = Path(config.images), grader.image_size
    name = slide_name(path)
    rules = _tile_rules(config, size, grader.facts.get("mpp"))
    with closing(open_slide(path)) as slide:
        own_mpp = resolution_of(slide, path, config.source_mpp)
        found, left_out = find_tissue(slide), Counter[str]()
        side = round(size * rules.mpp / own_mpp)
        tiles = cut_tiles(slide, own_mpp, {}, rules, found, left_out)
        graded, names = _grade(grader, _batched(tiles, name), _room(slide, own_mpp, rules), silent)
        graded = graded._replace(groups=[name] * len(names))

        def read(i):
            x, y = graded.places[i]
            return slide.read(int(x), int(y), side, side, (size, size))

        write_graded(out_dir, graded, grader.domains, read, facts | {
            "slide": {"file": str(path), "mpp": own_mpp, "tile_side": side, "left_out": dict(left_out)}})
        draw_heat_map(out_dir / f"{name}{HEAT_MAP}", found.thumbnail, slide.size, graded.places, side, graded.severity,
                      graded.unfamiliar, own_mpp, (grader.domains[0], grader.domains[-1]))
    write_tile_objects(out_dir / f"{name}.geojson", _tile_objects(graded, grader.domains, side), grader.domains)
    note(f"{name}: {len(names)} tiles" + "".join(f", {count} {reason}" for reason, count in left_out.items()))
    note(_say_grades(graded, grader.domains))


def _say_grades(graded, domains):
    """Return a sentence on how many images are likeliest of each class, and how many are unlike what is known."""
    counts = np.bincount(graded.probabilities.argmax(axis=1), minlength=len(domains))
    unlike = int(graded.unfamiliar.sum())
    return (f"likeliest {', '.join(f'{name} {count}' for name, count in zip(domains, counts.tolist(), strict=True))}; "
            f"mean severity {graded.severity.mean():.2f}"
            + (f"; {unlike} unlike all that the grader knows (out_of_domain)" if unlike else ""))


def _is_slide(source):
    return Path(source).is_file() and Path(source).suffix.lower() != ".csv"


def _tile_rules(config, image_size, known_mpp):
    mpp = config.mpp or known_mpp
    if not mpp:
        raise UserError("the grader does not know how large its training images' pixels are: expected micrometres per "
                        "pixel, as tables of `add tiles` have them; give --mpp to grade a slide")
    return TileRules(image_size, mpp, config.stride or image_size, config.least_tissue)


def _room(slide, own_mpp, rules):
    """Return how many tiles a slide has room for."""
    return int(slide.size[0] * slide.size[1] / (rules.stride * rules.mpp / own_mpp) ** 2)


def _batched(tiles: Iterable[Tile], name: str) -> Iterator[_Batch]:
    """Yield the tiles of a slide, some at a time."""
    waiting: list[Tile] = []
    for tile in tiles:
        waiting.append(tile)
        if len(waiting) == BATCH:
            yield _together(waiting, name)
            waiting = []
    if waiting:
        yield _together(waiting, name)


def _together(tiles, name):
    return _Batch(np.stack([tile.pixels for tile in tiles]), [f"{name}_x{tile.x}_y{tile.y}" for tile in tiles],
                  [(tile.x, tile.y) for tile in tiles])


def _tile_objects(graded: Graded, domains: Sequence[str], side: int) -> Iterator[TileObject]:
    for i, (x, y) in enumerate(graded.places.tolist()):
        measured = {"severity": graded.severity[i], "severity shrunk": graded.shrunk[i], "severity low": graded.low[i],
                    "severity high": graded.high[i], "distance": graded.distance[i],
                    "out of domain": float(graded.unfamiliar[i])}
        measured |= {f"p {name}": p for name, p in zip(domains, graded.probabilities[i], strict=True)}
        yield TileObject(x, y, side, domains[int(graded.probabilities[i].argmax())], measured)
