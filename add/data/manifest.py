"""Manifests: a CSV file with a row for each image, in place of a folder of images.

The column `image` is a path, relative to the file; `class` takes the place of a subfolder for each domain, so that
FILE.csv/CLASS names the images of one, as FOLDER/CLASS does; `group` (or `slide` or `patient`) says which images belong
together, and `severity` how severe each one is.
"""
import functools
import itertools
import math
import os
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from add.data.packed_texts import PackedTexts
from add.data.read_back import each_row
from add.errors import UserError
from add.interfaces import PathLike

ENDING = ".csv"
GROUP_COLUMNS = ("group", "slide", "patient")
CORRECT = "correct the table"


class Manifest(NamedTuple):
    """The rows of a table, sorted by path, of n images.

    paths: of the images. domains, groups: int32 [n], places in `domain_names` and `group_names`, -1 where the table has
    none. severities: float64 [n], NaN where it has none. mpps: the texts of the column `mpp`, each once. each_once:
    whether no image stands in the whole table twice.
    """

    paths: PackedTexts
    domains: np.ndarray
    domain_names: list[str]
    groups: np.ndarray
    group_names: list[str]
    severities: np.ndarray
    mpps: frozenset[str]
    each_once: bool

    def places(self, paths: Iterable[PathLike]) -> np.ndarray:
        """Return where images stand in the table, int64 [n]; raises KeyError for one that doesn't."""
        places: list[int] = []
        for path in paths:
            places.append(self.paths.find(os.path.normpath(path), places[-1] if places else 0))
            if places[-1] < 0:
                raise KeyError(path)
        return np.array(places, dtype=np.int64)


def manifest_of(folder: PathLike) -> tuple[Path, str] | None:
    """Return (file, class) of FILE.csv/CLASS, the class "" of FILE.csv alone; None for what is no manifest."""
    if ENDING not in str(folder).lower():  # this is asked for every image of a folder
        return None
    path = Path(folder)
    for file, domain in ((path, ""), (path.parent, path.name)):
        if file.suffix.lower() == ENDING and file.is_file():
            return file, domain
    return None


def read_manifest(folder: PathLike) -> Manifest | None:
    """Return the rows of a manifest, those of its class where one is named; None for what is no manifest.

    The file is read once, as long as it doesn't change.

    Raises:
        UserError: a damaged table, an image that stands in it twice, or a class without any.
    """
    found = manifest_of(folder)
    if found is None:
        return None
    file, domain = found
    state = os.stat(file)
    whole = _read_whole(file, state.st_size, state.st_mtime_ns)
    if domain and not whole.domain_names:
        raise UserError(f"{file} has no column class, or an empty one, so there is no {domain} in it: expected the "
                        f"header image,class,group; {CORRECT}")
    if domain and domain not in whole.domain_names:
        raise UserError(f"{file} has no images of the class {domain}: expected one of {', '.join(whole.domain_names)}")
    own = whole
    if domain:
        rows = np.flatnonzero(whole.domains == whole.domain_names.index(domain))
        own = whole._replace(paths=whole.paths.take(rows), domains=whole.domains[rows], groups=whole.groups[rows],
                             severities=whole.severities[rows])
    pairs = () if whole.each_once else itertools.pairwise(own.paths)
    if twice := list(dict.fromkeys(path for path, after in pairs if path == after)):
        raise UserError(f"{file} names {len(twice)} images twice, such as {twice[0]}: expected each once; {CORRECT}")
    return own


@functools.lru_cache(maxsize=2)
def _read_whole(file, size, changed):
    """Return the `Manifest` of a file as it was with a size and a time of change; only for reading, it is kept."""
    domain_numbers: dict[str, int] = {"": -1}
    group_numbers: dict[str, int] = {"": -1}
    domains, groups, severities, hashes = array("i"), array("i"), array("d"), array("q")
    mpps = set()
    folder = os.fspath(file.parent)

    def paths():
        column = None
        for row in each_row(file, {"image": str}, CORRECT):
            if column is None:
                column = next((name for name in GROUP_COLUMNS if name in row), "")
            domains.append(domain_numbers.setdefault(row.get("class") or "", len(domain_numbers) - 1))
            groups.append(group_numbers.setdefault(row.get(column) or "", len(group_numbers) - 1))
            severities.append(_severity(file, row))
            mpps.add(row.get("mpp") or "")
            path = os.path.normpath(os.path.join(folder, row["image"]))
            hashes.append(hash(path))
            yield path

    packed = PackedTexts.of(paths())
    if not len(packed):
        raise UserError(f"{file} has no rows: expected the header image,class,group and a row for each image; "
                        f"{CORRECT}")
    order = packed.order()
    domain_names, renumbered = _sorted_names(domain_numbers)
    return Manifest(packed.take(order).tight(), renumbered[np.array(domains)[order]], domain_names,
                    np.array(groups)[order], [name for name in group_numbers if name],
                    np.array(severities)[order], frozenset(mpps), len(np.unique(hashes)) == len(hashes))


def _sorted_names(numbers):
    """Return (sorted names, int32 array from the numbers that they have to their places there, -1 to -1)."""
    names = sorted(name for name in numbers if name)
    places = np.full(len(numbers), -1, dtype=np.int32)  # the last one is that of -1
    for place, name in enumerate(names):
        places[numbers[name]] = place
    return names, places


def classes_of(folder: PathLike) -> dict[str, PackedTexts]:
    """Return {class: paths} of a manifest, sorted by name; images without a class are in none.

    Raises:
        UserError: no image has a class.
    """
    entries = read_manifest(folder)
    assert entries is not None, "the path is that of a manifest"
    numbers = [number for number in range(len(entries.domain_names)) if (entries.domains == number).any()]
    if not numbers:
        raise UserError(f"{folder} names no class for its {len(entries.paths)} images: expected the header "
                        f"image,class,group and a class in the rows; {CORRECT}")
    return {entries.domain_names[number]: entries.paths.take(np.flatnonzero(entries.domains == number))
            for number in numbers}


def mpp_of(folder: PathLike) -> float | None:
    """Return the micrometres per pixel that a manifest's column `mpp` gives for all of its images, or None."""
    entries = read_manifest(folder)
    try:
        return float(next(iter(entries.mpps)) or 0) or None if entries is not None and len(entries.mpps) == 1 else None
    except ValueError as error:
        raise UserError(f"{folder} gives a column mpp that is no number ({error}): expected micrometres per pixel; "
                        f"{CORRECT}") from error


def _severity(file, row):
    """Return the severity of a row, NaN where it has none."""
    text = row.get("severity")
    if not text:
        return math.nan
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"{file} gives {row['image']} the severity {text!r}: expected a number; {CORRECT}") from error
