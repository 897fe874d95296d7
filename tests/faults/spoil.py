"""Ways to spoil a file: cut short, emptied, of other types, other shapes, or another file altogether."""
import csv
import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

DEEP = "[" * 100_000
VALUES = [None, True, [], {}, [None], {"a": None}, "", "x", "\0", "\ud800", "../..", "9" * 400, -1, 0, 1, 0.5, 7.0,
          10**6, 10**12, 2**63, 10**400, 1e308, float("nan"), float("inf"), "nan", [0] * 300, [[1, 2], [3]], {"": {}}]


def spoil(path: Path, rng: random.Random, others: list[Path]) -> str:
    """Spoil a file and return in words how; `others` are files that may take its place."""
    own = {".json": _spoil_json, ".csv": _spoil_csv, ".npy": _spoil_npy, ".npz": _spoil_npz, ".png": _spoil_png,
           ".pt": _spoil_pt}.get(path.suffix)
    if own is not None and rng.random() < 0.7:
        return own(path, rng)
    return _spoil_bytes(path, rng, others)


def _spoil_bytes(path, rng, others):
    content = path.read_bytes()
    way = rng.choice(["cut short", "emptied", "random bytes", "zeros", "bits flipped", "a folder", "another file",
                      "twice", "removed", "text"])
    if way in ("a folder", "removed"):
        path.unlink()
        if way == "a folder":
            path.mkdir()
        return way
    if way == "another file":
        other = rng.choice(others)
        path.write_bytes(other.read_bytes())
        return f"{other.name} in its place"
    flipped = bytearray(content)
    for _ in range(3 if content else 0):
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes({"cut short": content[:rng.randrange(len(content) + 1)], "emptied": b"",
                      "random bytes": rng.randbytes(len(content)), "zeros": bytes(len(content)),
                      "bits flipped": bytes(flipped), "twice": content * 2, "text": b"not what it was\n"}[way])
    return way


def _spoil_json(path, rng):
    content = json.loads(path.read_text(encoding="utf-8"))
    if rng.random() < 0.15:
        name, text = rng.choice([("deep lists", DEEP), ("deep dicts", '{"a":' * 50_000), ("null", "null"),
                                 ("a number", "7"), ("a list", "[1]"), ("an empty dict", "{}"), ("NaN", "NaN"),
                                 ("its end missing", json.dumps(content)[:-1])])
        path.write_text(text, encoding="utf-8")
        return name
    holders = [(holder, key) for holder, key in _nodes(content)]
    if not holders:
        path.write_text("[]", encoding="utf-8")
        return "a list"
    holder, key = rng.choice(holders)
    if rng.random() < 0.25:
        del holder[key]
        way = f"without {key}"
    else:
        value = rng.choice(VALUES)
        holder[key] = value
        way = f"{key} = {str(value)[:40]!r}"
    path.write_text(json.dumps(content), encoding="utf-8")
    return way


def _nodes(value: Any) -> list[tuple[Any, Any]]:
    """Return every (dict or list, key in it) of a JSON value, those near the top more often."""
    found: list[tuple[Any, Any]] = []
    entries = list(value.items() if isinstance(value, dict) else enumerate(value)
                   if isinstance(value, list) else ())
    for key, part in entries:
        found += [(value, key)] * (3 if isinstance(value, dict) else 1)
        found += _nodes(part)
    return found


def _spoil_csv(path, rng):
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    way = rng.choice(["a cell", "a row cut", "a column away", "a header", "only the header", "a zero byte",
                      "a huge field", "other bytes", "rows away", "a quote"])
    row, column = rng.randrange(len(rows)), rng.randrange(len(rows[0]))
    if way == "a cell":
        rows[row][column] = rng.choice(["", "x", "nan", "inf", "-1", "1e999", "9" * 400, "0.5", "999999", "../x.png"])
    elif way == "a row cut":
        rows[row] = rows[row][:column]
    elif way == "a column away":
        rows = [[cell for i, cell in enumerate(own) if i != column] for own in rows]
    elif way == "a header":
        rows[0][column] = rng.choice(["p_99999999999", "p_-1", "p_x", "", "p_5000", "image"])
    elif way == "only the header":
        rows = rows[:1]
    elif way == "rows away":
        rows = rows[:1] + [own for own in rows[1:] if rng.random() < 0.5]
    elif way == "a huge field":
        rows[row][column] = "a" * 200_000
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    content = text.getvalue().encode()
    place = rng.randrange(len(content))
    added = {"a zero byte": b"\0", "other bytes": b"\xff\xfe", "a quote": b'"'}.get(way, b"")
    path.write_bytes(content[:place] + added + content[place:])
    return f"{way} ({rows[0][column] if column < len(rows[0]) else column}, row {row})"


def _arrays(array, rng):
    """Return (words, an array that was not to be there)."""
    return rng.choice([
        ("objects", np.array([{"a": 1}, None], dtype=object)), ("floats", array.astype(np.float64) + 0.5),
        ("complex", array.astype(np.complex64)), ("text", np.array(["a"])), ("no side", np.array(3)),
        ("one side less", array.reshape(-1)), ("none", np.zeros(0, array.dtype)),
        ("NaN", np.full(array.shape, np.nan)), ("bools", array.astype(bool)), ("one row less", array.reshape(-1)[1:])])


def _spoil_npy(path, rng):
    if rng.random() < 0.3:
        return _lie_in_header(path, rng)
    words, array = _arrays(np.load(path), rng)
    np.save(path, array, allow_pickle=True)
    return words


def _lie_in_header(path, rng):
    """Write another shape than the array's into the header of a .npy file."""
    shape = rng.choice([(10**12,), (10**6, 10**6, 10**6), (-1,), (3, 10**30)])
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
        file.write(bytes(64))
    return f"a header of {shape}"


def _spoil_npz(path, rng):
    with np.load(path) as archive:
        arrays = dict(archive)
    name = rng.choice(list(arrays))
    words, array = rng.choice([("missing", None), _arrays(arrays[name], rng)])
    kept = arrays | {name: array} if array is not None else {k: v for k, v in arrays.items() if k != name}
    np.savez(path, **kept)
    return f"{name}: {words}"


def _spoil_png(path, rng):
    words, image = rng.choice([
        ("1 x 1", Image.new("RGB", (1, 1))), ("wide", Image.new("RGB", (40, 16))), ("grey", Image.new("L", (16, 16))),
        ("transparent", Image.new("RGBA", (16, 16))), ("16 bits", Image.new("I;16", (16, 16))),
        ("black", Image.new("RGB", (16, 16))), ("large", Image.new("1", (9000, 3)))])
    image.save(path)
    return words


def _spoil_pt(path, rng):
    state = torch.load(path, weights_only=True)
    if not isinstance(state, dict) or rng.random() < 0.2:
        words, content = rng.choice([("a list", [1]), ("a number", 3), ("a tensor", torch.zeros(2)), ("nothing", {})])
    else:
        name = rng.choice(list(state))
        value = rng.choice([*VALUES[:8], *VALUES[12:20], torch.zeros(3), {"a": torch.zeros(1)}])
        content = state | {name: value} if rng.random() < 0.7 else {k: v for k, v in state.items() if k != name}
        words = f"{name} = {str(value)[:40]!r}" if name in content else f"without {name}"
    torch.save(content, path)
    return words
