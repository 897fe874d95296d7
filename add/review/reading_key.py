"""The key of a reading: what each item truly is. It stays with the study's owner.

key.csv has a row for each item; key.json says what they share: the digest of the page, the stages, the folders.
"""
import dataclasses
from pathlib import Path

from add.data.files import save_csv, save_json
from add.data.read_back import damaged, read_json, read_rows
from add.errors import UserError
from add.interfaces import PathLike, Row
from add.review.reading_items import GENERATED, REAL, Item

KEY, FACTS = "key.csv", "key.json"
RESTORE = "restore it, or make the reading again with the same command"
_TYPES: dict[str, type] = {"item": str, "repeat_of": str, "kind": str, "folder": int, "image": str, "m": int,
                          "sha256": str}
_SHAPE = {"reading": str, "stages": [str], "pair": [range(10**9)], "grades": range(10), "translations": [str]}


@dataclasses.dataclass(frozen=True)
class Key:
    """The truth of a reading.

    reading: the digest of its page. stages: names of the ends of the scale. pair: their domain numbers.
    grades: number of grades, or 0. translations: the folders. items: {name: Item}, in the order of their showing.
    """

    reading: str
    stages: tuple[str, str]
    pair: tuple[int, int]
    grades: int
    translations: tuple[str, ...]
    items: dict[str, Item]

    def repeats(self) -> list[tuple[str, str]]:
        """Return (item, the item that showed its image again) of all repeats."""
        return [(own.repeat_of, name) for name, own in self.items.items() if own.repeat_of]


def write_key(folder: PathLike, key: Key, options: Row) -> None:
    """Write key.csv and key.json; `options` are noted beside."""
    save_csv(Path(folder) / KEY, [tuple(_TYPES), *map(dataclasses.astuple, key.items.values())])
    save_json(Path(folder) / FACTS, {"reading": key.reading, "stages": key.stages, "pair": key.pair,
                                     "grades": key.grades, "translations": key.translations, "options": options})


def read_digest(folder: PathLike) -> str:
    """Return the digest of the reading that a folder holds, or "" where it holds none."""
    path = Path(folder) / FACTS
    return str(read_json(path, _SHAPE, RESTORE)["reading"]) if path.exists() else ""


def read_key(folder: PathLike) -> Key:
    """Return the `Key` in a folder.

    Raises:
        UserError: there is none, or it is damaged.
    """
    table, path = Path(folder) / KEY, Path(folder) / FACTS
    for expected in (table, path):
        if not expected.exists():
            raise UserError(f"{folder} holds no reading: expected {expected.name} in it; give the folder that add "
                            f"review make wrote as --out_dir")
    facts = read_json(path, _SHAPE, RESTORE)
    items = {row["item"]: Item(*(row[name] for name in _TYPES)) for row in read_rows(table, _TYPES, RESTORE)}
    folders = {GENERATED: len(facts["translations"]), REAL: len(facts["stages"])}
    if len(facts["stages"]) != 2 or len(facts["pair"]) != 2:
        raise damaged(path, f"{len(facts['stages'])} stages", "two stages", RESTORE)
    for own in items.values():
        if own.kind not in folders or not 0 <= own.folder < folders[own.kind]:
            raise damaged(table, f"item {own.item} is {own.kind} {own.folder}", "generated images of the translations "
                          "and real ones of the stages", RESTORE)
        if own.repeat_of and (own.repeat_of not in items or items[own.repeat_of].repeat_of):
            raise damaged(table, f"item {own.item} repeats {own.repeat_of}", "repeats of items in the table", RESTORE)
    if not items:
        raise damaged(table, "no rows", "a row for each item", RESTORE)
    return Key(facts["reading"], tuple(facts["stages"]), tuple(facts["pair"]), facts["grades"],
               tuple(facts["translations"]), items)
