"""Manifests: a CSV file with a row for each image, in place of a folder of images.

The column `image` is a path, relative to the file; `class` takes the place of a subfolder for each domain, so that
FILE.csv/CLASS names the images of one, as FOLDER/CLASS does; `group` (or `slide` or `patient`) says which images belong
together, and `severity` how severe each one is.
"""
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from add.data.read_back import read_rows
from add.errors import UserError
from add.interfaces import PathLike

ENDING = ".csv"
GROUP_COLUMNS = ("group", "slide", "patient")
CORRECT = "correct the table"


class Entry(NamedTuple):
    """A row: the path of an image, its class and its group, "" where the table has none, its severity or None."""

    path: str
    domain: str
    group: str
    severity: float | None


def manifest_of(folder: PathLike) -> tuple[Path, str] | None:
    """Return (file, class) of FILE.csv/CLASS, the class "" of FILE.csv alone; None for what is no manifest."""
    if ENDING not in str(folder).lower():  # this is asked for every image of a folder
        return None
    path = Path(folder)
    for file, domain in ((path, ""), (path.parent, path.name)):
        if file.suffix.lower() == ENDING and file.is_file():
            return file, domain
    return None


def read_manifest(folder: PathLike) -> list[Entry] | None:
    """Return the rows of a manifest, those of its class where one is named; None for what is no manifest.

    Raises:
        UserError: a damaged table, an image that stands in it twice, or a class without any.
    """
    found = manifest_of(folder)
    if found is None:
        return None
    file, domain = found
    rows = read_rows(file, {"image": str}, CORRECT)
    if not rows:
        raise UserError(f"{file} has no rows: expected the header image,class,group and a row for each image; "
                        f"{CORRECT}")
    if domain and "class" not in rows[0]:
        raise UserError(f"{file} has no column class, so there is no {domain} in it: expected the header "
                        f"image,class,group; {CORRECT}")
    column = next((name for name in GROUP_COLUMNS if name in rows[0]), "")
    entries = [Entry(os.path.normpath(file.parent / row["image"]), row.get("class") or "", row.get(column) or "",
                     _severity(file, row)) for row in rows]
    entries = [entry for entry in entries if domain in ("", entry.domain)]
    if not entries:
        classes = sorted({row["class"] for row in rows if row["class"]})
        raise UserError(f"{file} has no images of the class {domain}: expected one of {', '.join(classes)}")
    if twice := sorted(path for path, count in Counter(entry.path for entry in entries).items() if count > 1):
        raise UserError(f"{file} names {len(twice)} images twice, such as {twice[0]}: expected each once; {CORRECT}")
    return sorted(entries)


def classes_of(folder: PathLike) -> dict[str, list[str]]:
    """Return {class: paths} of a manifest, sorted by name; images without a class are in none.

    Raises:
        UserError: no image has a class.
    """
    entries = read_manifest(folder) or []
    names = sorted({entry.domain for entry in entries} - {""})
    if not names:
        raise UserError(f"{folder} names no class for its {len(entries)} images: expected the header image,class,group "
                        f"and a class in the rows; {CORRECT}")
    return {name: [entry.path for entry in entries if entry.domain == name] for name in names}


def mpp_of(folder: PathLike) -> float | None:
    """Return the micrometres per pixel that a manifest's column `mpp` gives for all of its images, or None."""
    found = manifest_of(folder)
    values = set() if found is None else {row.get("mpp") for row in read_rows(found[0])}
    try:
        return float(values.pop() or 0) or None if len(values) == 1 else None
    except ValueError as error:
        raise UserError(f"{folder} gives a column mpp that is no number ({error}): expected micrometres per pixel; "
                        f"{CORRECT}") from error


def _severity(file, row):
    text = row.get("severity")
    if not text:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"{file} gives {row['image']} the severity {text!r}: expected a number; {CORRECT}") from error
