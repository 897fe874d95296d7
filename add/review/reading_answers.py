"""The answers that readers saved from the page of a reading, checked: they come by mail, and from other readings."""
import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from add.data.read_back import damaged, read_json
from add.errors import UserError
from add.interfaces import PathLike
from add.review.reading_key import Key

FORMAT = 1
ASK_AGAIN = "ask the reader to save it again from the page, which keeps the answers"
MOST_TEXT = 500  # characters of a reason or a name
_SHAPE = {"format": range(FORMAT, FORMAT + 1), "reading": str, "reader": str, "answers": [
    {"item": str, "real": bool, "place": (float, None), "keep": bool, "reason": str, "seconds": float}]}


class Answer(NamedTuple):
    """What a reader said of an item.

    real: taken for real. place: from 0, the first stage, to 1, the second; None where the image was rejected without.
    keep: not rejected. reason: of the rejection, or "". seconds: for which the item was shown.
    """

    real: bool
    place: float | None
    keep: bool
    reason: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader's answers by item, and the name that the reader gave."""

    name: str
    answers: dict[str, Answer]


def read_readers(paths: Sequence[PathLike], key: Key) -> list[Reader]:
    """Return the `Reader` of each file of answers.

    Raises:
        UserError: a file that is damaged or belongs to another reading, or two of one reader.
    """
    files: dict[str, PathLike] = {}
    readers = []
    for path in paths:
        reader = _read(path, key)
        if reader.name in files:
            raise UserError(f"{files[reader.name]} and {path} both hold answers of the reader {reader.name!r}: "
                            f"expected one file of each reader; leave the older one out, or correct \"reader\" in one "
                            f"of them")
        files[reader.name] = path
        readers.append(reader)
    return readers


def _read(path, key):
    """Return the `Reader` of a file."""
    try:
        content = read_json(path, _SHAPE, ASK_AGAIN)
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there: expected a file of answers that the page of the reading saved; correct "
                        f"--answers") from error
    if content["reading"] != key.reading:
        raise UserError(f"{path} holds answers to the reading {content['reading'][:40]!r}, expected those to "
                        f"{key.reading!r}: give the --out_dir of that reading, or leave the file out")
    answers: dict[str, Answer] = {}
    for row in content["answers"]:
        name, place = row["item"], row["place"]
        if name not in key.items or name in answers:
            raise damaged(path, f"item {name[:40]!r} {'stands there twice' if name in answers else 'is unknown'}",
                          "one answer for each item of the reading", ASK_AGAIN)
        if place is None and row["keep"] or place is not None and not 0 <= place <= 1 or row["seconds"] < 0:
            raise damaged(path, f"item {name}: place {place}, {row['seconds']} seconds", "places from 0 to 1 of images "
                          "that are kept, and times", ASK_AGAIN)
        answers[name] = Answer(row["real"], None if place is None else float(place), row["keep"],
                               _plain(row["reason"]), float(row["seconds"]))
    if not answers:
        raise UserError(f"{path} holds no answers: expected some; {ASK_AGAIN}")
    return Reader(_plain(content["reader"]) or "unnamed", answers)


def _plain(text):
    """Return a reader's words as one line without control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text[:MOST_TEXT]).split())
