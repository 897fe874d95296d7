"""Tar shards as sources of images: .tar files of members KEY.png, as WebDataset lays them out, read where they stand.

A file in a tar is a range of its bytes, so that any image can be read at any time and nothing is unpacked. Its path is
that of the tar with the name inside: FOLDER/shard-000000.tar/KEY.png. Ranges are read once from the headers, and kept
as arrays. Beside an image may lie KEY.cls with its class, or KEY.json with "class" (or "label") and "group" (or "slide"
or "patient"); a class that is a number has the name that a `domains.json` beside the shards gives it, as `add export`
writes it, else the number.
"""
import glob
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from add.data.manifest import GROUP_COLUMNS
from add.data.packed_texts import PackedTexts
from add.data.read_back import read_json
from add.errors import UserError
from add.interfaces import PathLike

ENDING = ".tar"
CLASS_NAMES = "domains.json"
NOTES = (".json", ".txt", ".csv", ".md")  # files that may lie beside tars
BESIDE = ("cls", "json")  # endings of members that say something of an image
WRITE_AGAIN = "write it again, with GNU tar or add export"
_NONE = -1  # number of what an image has no name for

_lock = threading.Lock()
_last = threading.local()
_indexed: dict[str, "Shard"] = {}  # by path


class Shard(NamedTuple):
    """What a tar holds: of n members their sorted names, first bytes and sizes, int64 [n], classes and groups.

    classes, groups: int32 [n], places in `class_names` and `group_names`, or -1. stamp: bytes and time of change of the
    file that was read.
    """

    names: PackedTexts
    first: np.ndarray
    size: np.ndarray
    classes: np.ndarray
    class_names: list[str]
    groups: np.ndarray
    group_names: list[str]
    stamp: tuple[int, int]


class ShardSet(NamedTuple):
    """Tars that stand for a folder of images: their sorted paths, and the class that is meant, "" for all."""

    tars: list[str]
    domain: str


def member_of(path: PathLike) -> tuple[str, str] | None:
    """Return (tar, name inside) of the path of an image in a tar; None for all others."""
    text = str(path)
    if f"{ENDING}/" not in text:  # this is asked for every image of a folder
        return None
    end = text.find(f"{ENDING}/") + len(ENDING)
    while end >= len(ENDING):
        if os.path.isfile(text[:end]):
            return text[:end], text[end + 1:]
        end = text.find(f"{ENDING}/", end) + len(ENDING)
    return None


def read_member(tar: str, name: str, most: int = -1) -> bytes:
    """Return the bytes of a file in a tar, or its first `most` ones; raises FileNotFoundError where there is none."""
    first, size = _range(tar, name)
    with open(tar, "rb") as file:
        file.seek(first)
        return file.read(size if most < 0 else min(size, most))


def member_size(tar: str, name: str) -> int:
    """Return the bytes of a file in a tar."""
    return _range(tar, name)[1]


def shards_of(folder: PathLike) -> ShardSet | None:
    """Return the `ShardSet` of a tar, of a folder that holds tars and nothing else, or of a pattern such as DIR/*.tar.

    With /CLASS behind any of these, that of one class. None for what is none of them.
    """
    text = os.fspath(folder)
    if "://" in text:
        return None
    if tars := _tars(text):
        return ShardSet(tars, "")
    above, name = os.path.split(text.rstrip("/"))
    if name and not os.path.lexists(text) and (tars := _tars(above)):
        return ShardSet(tars, name)
    return None


def images_of(shards: ShardSet) -> Iterator[tuple[str, str, str]]:
    """Yield (path, class or "", group or "") of each member, those of its class where one is meant.

    Raises:
        UserError: a damaged tar.
    """
    for tar in shards.tars:
        shard = open_shard(tar)
        wanted = np.ones(len(shard.names), dtype=bool)
        if shards.domain:
            number = shard.class_names.index(shards.domain) if shards.domain in shard.class_names else -2
            wanted = shard.classes == number
        class_names, group_names = [*shard.class_names, ""], [*shard.group_names, ""]  # place -1 is none
        for place in np.flatnonzero(wanted).tolist():
            yield (f"{tar}/{shard.names[place]}", class_names[shard.classes[place]],
                   group_names[shard.groups[place]])


def class_names_of(shards: ShardSet) -> list[str]:
    """Return the names of the classes that the images of tars have, numbers in their order, other names in theirs."""
    found = sorted({name for tar in shards.tars for name in open_shard(tar).class_names})
    return sorted(found, key=int) if all(name.isdecimal() for name in found) else found


def open_shard(tar: str) -> Shard:
    """Return what a tar holds; its headers are read at the first time, and again where the file has changed.

    Raises:
        UserError: a damaged or compressed file, names that can't be those of files, or one that stands in it twice.
    """
    state = os.stat(tar)
    stamp = state.st_size, state.st_mtime_ns
    with _lock:
        known = _indexed.get(tar)
        if known is None or known.stamp != stamp:
            known = _indexed[tar] = _index(tar, stamp)
        return known


def _range(tar, name):
    """Return (first byte, bytes) of a file in a tar."""
    shard = open_shard(tar)
    place = _last.place = shard.names.find(name, getattr(_last, "place", 0))  # this thread's last image, or the next
    if place < 0:
        raise FileNotFoundError(2, "no such file in the tar", f"{tar}/{name}")
    return int(shard.first[place]), int(shard.size[place])


def _tars(text):
    """Return the sorted tars that a path or a pattern stands for itself, or []."""
    if text.lower().endswith(ENDING):
        if os.path.isfile(text):
            return [text]
        if glob.has_magic(text):
            return sorted(path for path in glob.glob(text) if os.path.isfile(path))
    if not os.path.isdir(text):
        return []
    found = []
    with os.scandir(text) as entries:
        for entry in entries:
            if entry.name.lower().endswith(ENDING) and not entry.name.startswith(".") and entry.is_file():
                found.append(os.path.join(text, entry.name))
            elif not entry.name.startswith(".") and not entry.name.lower().endswith(NOTES):
                return []  # at once: there may be a million images
    return sorted(found)


def _index(tar, stamp):
    """Return the `Shard` of a tar from its headers."""
    first: list[int] = []
    size: list[int] = []
    told: dict[str, tuple[str, str]] = {}  # of each key: class, group

    def names():
        with tarfile.open(tar, "r:") as file:
            for member in file:
                file.members = []  # type: ignore[attr-defined]  # which would grow with the file
                name = member.name.removeprefix("./")
                if not member.isreg() or member.issparse() or os.path.basename(name).startswith("."):
                    continue
                key, ending = _split(name)
                if ending in BESIDE:
                    assert file.fileobj is not None, "the file is open"
                    file.fileobj.seek(member.offset_data)
                    told[key] = _told(file.fileobj.read(member.size), ending, told.get(key, ("", "")))
                    continue
                if name.startswith("/") or ".." in name.split("/"):
                    raise UserError(f"{tar} holds {name!r}, which leads out of it: expected names below it; "
                                    f"{WRITE_AGAIN}")
                first.append(member.offset_data)
                size.append(member.size)
                yield name

    try:
        packed = PackedTexts.of(names())
    except (tarfile.TarError, OSError, ValueError, TypeError) as error:
        raise UserError(f"{tar} can't be read as a tar of images ({error}): expected a whole one that is not "
                        f"compressed; {WRITE_AGAIN}") from error
    order = packed.order()
    packed = packed.take(order)
    if twice := next((own for own, after in zip(packed, packed[1:], strict=False) if own == after), ""):
        raise UserError(f"{tar} holds {twice} twice: expected each name once; {WRITE_AGAIN}")
    numbers = _class_names_beside(tar) if told else []
    classes, class_names = _numbered(numbers[int(name)] if name.isdecimal() and int(name) < len(numbers) else name
                                     for name in (told.get(_split(name)[0], ("", ""))[0] for name in packed))
    groups, group_names = _numbered(told.get(_split(name)[0], ("", ""))[1] for name in packed)
    return Shard(packed, np.array(first, dtype=np.int64)[order], np.array(size, dtype=np.int64)[order],
                 classes, class_names, groups, group_names, stamp)


def _split(name):
    """Return (key, ending) of a member, as WebDataset parts them: at the first dot of the last part of its name."""
    folder, slash, base = name.rpartition("/")
    key, _, ending = base.partition(".")
    return f"{folder}{slash}{key}", ending.lower()


def _told(content, ending, before):
    """Return (class, group) of a key by a member beside its image, in place of what was known `before`."""
    if ending == "cls":
        return content.decode().strip(), before[1]
    row = json.loads(content)
    if not isinstance(row, dict):
        raise ValueError("a .json that is no object")
    label = next((_name(row[name]) for name in ("class", "label") if name in row), "")
    return before[0] or label, next((_name(row[name]) for name in GROUP_COLUMNS if name in row), "")


def _name(value: Any) -> str:
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _class_names_beside(tar):
    """Return the names of classes 0, 1, ... that a file beside a tar gives, or []."""
    path = Path(tar).parent / CLASS_NAMES
    return read_json(path, [str], "restore it, or remove it, and classes are numbers") if path.is_file() else []


def _numbered(names):
    """Return (int32 [n], distinct names) of names, -1 for ""."""
    known: dict[str, int] = {"": _NONE}
    numbers = np.fromiter((known.setdefault(name, len(known) - 1) for name in names), dtype=np.int32)
    return numbers, [name for name in known if name]
