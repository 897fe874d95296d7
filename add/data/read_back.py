"""Files that a command wrote, or another program, and that are read back: JSON, CSV tables and numpy's arrays.

They may have been cut short, edited, or be something else by now. Whatever is wrong with one becomes a UserError that
names the file, what is wrong, and what to do; only what the system says of a file that is missing or closed to us stays
an OSError.

What a JSON file should hold is written as a shape: `str`, `int`, `float`, `bool`, `object` (anything), a `range` of
whole numbers, `None`; a list of one shape for a list of any length, {str: shape} for a dict of any names, {"name":
shape, "other?": shape} for one with these names, of which `other` may be left out, and what else it holds is not looked
at; a tuple for one of several shapes.
"""
import csv
import io
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from add.config import shown_value
from add.errors import UserError
from add.interfaces import PathLike

RESTORE = "restore it, or make it again"
MOST_BYTES = 2**30  # of a file of text
LARGEST = 2**63  # whole numbers that arrays hold lie below
SAID = {str: "text", int: "a whole number", float: "a number", bool: "true or false", None: "null"}

Sides: TypeAlias = Sequence[int | None]  # of an array; None for any length


def read_json(path: PathLike, shape: Any = object, advice: str = RESTORE) -> Any:
    """Return the content of a local JSON file in UTF-8.

    Args:
        shape: what it should hold, see above.
        advice: what the user can do where it doesn't.

    Raises:
        UserError: it is no JSON, holds NaN or numbers beyond 64 bits, or something of another shape.
    """
    try:
        content = json.loads(_read(path).decode(), parse_constant=_finite, parse_float=_finite, parse_int=_whole)
        wrong = mismatch(content, shape)
    except (ValueError, RecursionError) as error:
        raise damaged(path, error, "a whole JSON file", advice) from error
    if wrong:
        raise damaged(path, wrong, "what was written there once", advice)
    return content


def mismatch(value: Any, shape: Any, place: str = "") -> str:
    """Return in words where a JSON value is not of a shape, or "" where it is; `place` is its name."""
    if isinstance(shape, tuple):
        found = [mismatch(value, one, place) for one in shape]
        return "" if "" in found else found[-1]
    if isinstance(shape, dict) and isinstance(value, dict):
        parts = dict.fromkeys(value, shape[str]) if str in shape else {}
        parts |= {name: part for name, part in shape.items() if name is not str}
        return next(filter(None, (_entry_mismatch(value, name, part, place) for name, part in parts.items())), "")
    if isinstance(shape, list) and isinstance(value, list):
        return next(filter(None, (mismatch(entry, shape[0], f"{place}[{i}]") for i, entry in enumerate(value))), "")
    if _fits(value, shape):
        return ""
    return f"{place or 'it'} is {shown_value(value)}, expected {_said(shape)}"


def _said(shape):
    if isinstance(shape, range):
        return f"a whole number from {shape.start} to {shape.stop - 1}"
    return "names with values" if isinstance(shape, dict) else "a list" if isinstance(shape, list) else SAID[shape]


def _entry_mismatch(values, name, shape, place):
    """Return in words where an entry of a dict is not of a shape, or ""; the name of one that may lack ends with ?."""
    own = name if name in values else name.removesuffix("?")
    where = f"{place}.{own}" if place else own
    if own in values:
        return mismatch(values[own], shape, where)
    return "" if own != name else f"it lacks {where}"


def _fits(value, shape):
    if isinstance(shape, range):
        return type(value) is int and value in shape
    if shape is str:
        return isinstance(value, str) and _is_text(value)
    if shape is float:
        return type(value) in (int, float)
    return shape is object or (value is None if shape is None else type(value) is shape)


def _is_text(value):
    """Return whether a text is one that files and their names can hold: no zero byte, no half of a character."""
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def _text(text):
    if not _is_text(text):
        raise ValueError("no text")
    return text


def _finite(text):
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:30]} is no finite number")
    return number


def _whole(text):
    number = int(text)
    if not -LARGEST <= number < LARGEST:
        raise ValueError(f"{text[:30]} has more than 64 bits")
    return number


READERS = {str: _text, int: _whole, float: _finite}


def read_rows(path: PathLike, columns: Mapping[str, type] | None = None, advice: str = RESTORE
              ) -> list[dict[str, Any]]:
    """Return the rows of a local CSV file by column; see `each_row`."""
    return list(each_row(path, columns, advice))


def each_row(path: PathLike, columns: Mapping[str, type] | None = None, advice: str = RESTORE
             ) -> Iterator[dict[str, Any]]:
    """Yield the rows of a local CSV file by column, in UTF-8, with the mark in front that Excel writes or without.

    Args:
        columns: {name: str, int or float} of columns that must be there, with such a value in every row. Of others a
            cell is text, or None where its row lacks it.
        advice: what the user can do where the file is no such table.

    Raises:
        UserError: a file that is no such table.
    """
    columns = columns or {}
    try:
        text = io.TextIOWrapper(io.BytesIO(_read(path)), encoding="utf-8-sig", newline="")
        for row in csv.DictReader(text):
            yield row | {name: _cell(row, name, kind) for name, kind in columns.items()}
    except (csv.Error, ValueError) as error:
        expected = f"the columns {', '.join(columns)} with a value in every row" if columns else "a whole CSV table"
        raise damaged(path, error, expected, advice) from error


def _cell(row, name, kind):
    text = row.get(name)
    if text is None:
        raise ValueError(f"a row without {name}")
    try:
        return READERS[kind](text)
    except ValueError as error:
        raise ValueError(f"{name} is {shown_value(text)}") from error


def read_npy(path: PathLike, kind: type[np.generic], sides: Sides, advice: str = RESTORE) -> np.ndarray:
    """Return the array in a .npy file; `kind`, `sides` and the rest are as in `read_npz`."""
    return _checked(path, "the array", _load(path, None, advice).get("the array"), kind, sides, advice)


def read_npz(path: PathLike, arrays: Mapping[str, tuple[type[np.generic], Sides]], advice: str = RESTORE,
             content: bytes | None = None) -> dict[str, np.ndarray]:
    """Return {name: array} of an .npz file. Nothing in it can run: pickled objects are refused.

    Args:
        arrays: {name: (kind of its numbers, such as np.uint8 or np.floating; sides)}. An array whose name ends with ?
            may be left out.
        advice: what the user can do where the file is damaged.
        content: the bytes of the file, where they have been read.

    Raises:
        UserError: a damaged file, one without such arrays, or one with numbers that are not finite.
    """
    found = _load(path, content, advice)
    wanted = {name.removesuffix("?"): expected for name, expected in arrays.items()
              if not name.endswith("?") or name.removesuffix("?") in found}
    return {name: _checked(path, name, found.get(name), kind, sides, advice) for name, (kind, sides) in wanted.items()}


def _load(path, content, advice):
    """Return the arrays in a file of numpy by name; that of a .npy file is "the array"."""
    content = _read(path, most=math.inf) if content is None else content
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        return dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {"the array": loaded}
    except Exception as error:  # on damaged files numpy raises nearly anything
        why = "it holds Python objects, which could run code" if "allow_pickle" in str(error) else error
        raise damaged(path, why, "a whole file of numpy arrays", advice) from error


def _checked(path, name, array, kind, sides, advice):
    """Return an array, or raise the UserError that it is missing or another one."""
    expected = f"{kind.__name__} [{', '.join('any' if side is None else str(side) for side in sides)}]"
    if array is None:
        raise damaged(path, f"it lacks {name}", expected, advice)
    fits = len(sides) == array.ndim and all(side in (None, own) for side, own in zip(sides, array.shape, strict=True))
    if not fits or not np.issubdtype(array.dtype, kind):
        raise damaged(path, f"{name} is {array.dtype} {list(array.shape)}", expected, advice)
    if not np.isfinite(array).all():
        raise damaged(path, f"{name} holds NaN or infinity", "finite numbers", advice)
    return array


def damaged(path: PathLike, why: BaseException | str, expected: str, advice: str) -> UserError:
    """Return the UserError that a file is damaged: why, what was expected, and what the user can do."""
    reason = why if isinstance(why, str) else " ".join(str(why).split()) or type(why).__name__
    return UserError(f"{path} is damaged or of another kind ({reason[:300]}): expected {expected}; {advice}")


def _read(path, most=MOST_BYTES):
    """Return the bytes of a local file; raises UserError for what is none, such as a folder or a pipe."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path} is no file: expected one; remove it, or give another path")
    if found.st_size > most:
        raise UserError(f"{path} has {found.st_size} bytes, expected {most} at most: restore it, or remove it")
    with open(path, "rb") as file:
        return file.read()
