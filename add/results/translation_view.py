"""What a results page shows of a translation: its pictures by step, labels, depths or weights, and measures to sort by.

A view is a JSON value that add/results/templates/viewer.js reads. Numbers of every source image and step are packed
into text of fixed width, in base 36, so that the page of a thousand source images stays small.
"""
import os
import posixpath
import re
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from add.data.read_back import read_json
from add.errors import UserError
from add.interfaces import PathLike, Row
from add.results.overview import label_text
from add.results.pictures import read_pictures, step_evenness
from add.results.translation_folder import RECORD, SOURCES
from add.results.translation_series import DEPTH_RULE, Series, read_domain_names, read_series

THOUSANDTHS = 1000  # shares and measures are told to a thousandth
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
PLACE_RULES = (DEPTH_RULE, "power")  # rules of the place in the series, which look at no image
EVENNESS = "evenness"
PICTURE = re.compile(r"images/(?P<stem>.*)_m(?P<digits>\d+)\.png", re.DOTALL)  # of a step, in labels.csv


def translation_view(folder: PathLike, base: PathLike) -> Row:
    """Return the view of a finished translation folder, for a page in the folder `base`.

    "url" is the folder's, relative to the page; "names" are the source images' file names, as `shortened` gives them,
    and "stems" what their pictures are called where that is not plainly the name without its ending, by number;
    "sources" lists the source images whose own picture is missing; "steps" holds the label of every step 0..N in words,
    and the share of each domain of "way"; "places" are tables of depths or weights, "rules" of the labels by other
    rules, as `packed` gives them; "measures" is {name: {"values": a number for each source image or None, "reads": how
    to read it}}.

    Raises:
        UserError: no finished translation, or a damaged table.
    """
    folder = Path(folder)
    series = read_series(folder)
    amount, count = series.amount, len(series) // series.amount
    found = [PICTURE.fullmatch(image) for image in series.images]
    if (len(series) != amount * count or (series.m.reshape(count, amount) != np.arange(1, amount + 1)).any()
            or not all(found) or not series.labels.any(axis=1).all()):
        raise UserError(f"labels.csv of {folder} does not list every source image's steps 1 to {amount} in order, with "
                        f"pictures and labels: expected what the translation wrote; run its command again")
    stems = [match["stem"] for match in found[::amount] if match]
    names = series.source_images[::amount]
    way, records = _way(series), _read_records(folder, stems)
    domains = read_domain_names(folder) or _class_names(folder) or tuple(f"domain {k}" for k in
                                                                         range(series.labels.shape[1]))
    spoken = [domains[k] if k < len(domains) else f"domain {k}" for k in way]
    start = np.eye(series.labels.shape[1])[series.source]
    labels = [start, *series.labels[:amount]]
    return {
        "title": " to ".join(spoken), "url": relative_url(folder, base), "folder": folder.name, "way": spoken,
        "mixture": folder.name.startswith("mixture"),
        "amount": amount, "digits": len(found[0]["digits"]) if found[0] else 0,
        "names": shortened(names),
        "stems": {str(i): stem for i, stem in enumerate(stems) if stem != _plain_stem(names[i])},
        "sources": [i for i, stem in enumerate(stems) if not (folder / SOURCES / f"{stem}.png").is_file()],
        "steps": [{"text": label_text(label.tolist(), way, spoken), "shares": _thousandths(label[way])}
                  for label in labels],
        "places": _places(series, records), "rules": _rules(folder, series),
        "measures": _measures(folder, series, stems, records)}


def packed(values: np.ndarray) -> Row:
    """Return a table of whole numbers from 0 on, [n, N]: {"same": N numbers} where all rows agree, or the rows as text.

    The text holds every number in base 36 with "width" digits, row by row: {"width": digits, "rows": text}.
    """
    if (values == values[:1]).all():
        return {"same": values[0].tolist()}
    width = max(1, len(np.base_repr(int(values.max()), 36)))
    return {"width": width, "rows": "".join(_base36(int(value), width) for value in values.ravel())}


def shortened(names: Sequence[str]) -> Row:
    """Return names as {"before": what all begin with, "after": what all end with, "rest": what is between in each}."""
    before = os.path.commonprefix(list(names))
    rest = [name[len(before):] for name in names]
    after = os.path.commonprefix([name[::-1] for name in rest])[::-1]
    return {"before": before, "after": after, "rest": [name[:len(name) - len(after)] for name in rest]}


def relative_url(path: PathLike, base: PathLike) -> str:
    """Return the URL of a file or folder as a page in the folder `base` writes it, percent-encoded.

    It is relative, so that both can be moved together, but where they lie on different drives.
    """
    try:
        relative = os.path.relpath(path, base)
    except ValueError:  # another drive
        return Path(path).resolve().as_uri()
    return posixpath.join(*(urllib.parse.quote(part, safe="") for part in Path(relative).parts or (".",)))


def _base36(value, width):
    digits = ""
    for _ in range(width):
        value, digit = divmod(value, 36)
        digits = DIGITS[digit] + digits
    return digits


def _plain_stem(name):
    """Return what viewer.js takes for the stem of a source image's pictures where it is told no other."""
    return re.sub(r"\.[^.]*$", "", name.replace("/", "_"))


def _way(series: Series) -> list[int]:
    """Return the domains of a series from the source to the target, those between by their first share."""
    first = {k: int(np.flatnonzero(series.labels[:series.amount, k])[0]) for k in range(series.labels.shape[1])
             if series.labels[:series.amount, k].any()}
    between = sorted(first.keys() - {series.source, series.target}, key=lambda k: (first[k], k))
    return list(dict.fromkeys([series.source, *between, series.target]))


def _class_names(folder):
    """Return the names of the classes of a translation between classes, or None where run.json does not tell any."""
    try:
        return tuple(read_json(folder / "run.json", {"classes": [str]})["classes"])
    except (OSError, UserError):
        return None


def _thousandths(values: np.ndarray) -> list[int]:
    return np.rint(np.asarray(values) * THOUSANDTHS).astype(int).tolist()


def _places(series: Series, records: Sequence[Row]) -> Row:
    """Return how images came about: {"kind": "depth" or "weight", "tables": packed, one for each weight that is told}.

    Weights stand in the records, in thousandths; a translation without records, or by another version, tells depths.
    """
    weights = _recorded_weights(records, series.amount)
    if weights is None:
        return {"kind": "depth", "tables": [packed(series.depths.reshape(-1, series.amount))]}
    told = range(1, 2) if weights.shape[2] == 2 else range(weights.shape[2])
    return {"kind": "weight", "tables": [packed(np.rint(weights[:, :, k] * THOUSANDTHS).astype(int)) for k in told]}


def _read_records(folder, stems):
    """Return the records of source images, {} for one that is missing or damaged."""
    found: list[Row] = []
    for stem in stems:
        try:
            found.append(read_json(folder / "records" / f"{stem}.json", RECORD))
        except (OSError, UserError):
            found.append({})
    return found


def _recorded_weights(records, amount):
    """Return the weights in the records, float64 [n, N, K], or None where some source image has none."""
    found = [record.get("weights") or [] for record in records]
    if {len(weights) for weights in found} != {amount} or len({len(row) for weights in found for row in weights}) != 1:
        return None
    return np.array(found)


def _rules(folder: Path, series: Series) -> Row:
    """Return {rule: packed shares of the target, in thousandths, [n, N]} of the label tables beside labels.csv."""
    return {rule: packed(np.rint(shares * THOUSANDTHS).astype(int)) for rule, shares in _shares(folder, series).items()}


def _shares(folder, series):
    """Return {rule: shares of the target, float64 [n, N]} of the label tables whose rows are those of labels.csv."""
    found = {}
    for path in sorted(folder.glob("labels_*.csv")):
        rule = path.stem.removeprefix("labels_")
        try:
            other = read_series(folder, rule)
        except UserError:  # one that is damaged, or of an earlier choice of images, takes nothing from the page
            continue
        if other.images == series.images:
            found[rule] = other.labels[:, series.target].reshape(-1, series.amount)
    return found


def _measures(folder: Path, series: Series, stems: Sequence[str], records: Sequence[Row]) -> Row:
    """Return the measures of source images: how even their steps are, and what rules that look say of the last one."""
    measures: Row = {}
    if series.amount > 1 and not folder.name.startswith("mixture"):
        measures[EVENNESS] = {
            "values": [_evenness(folder, series, i, *both) for i, both in enumerate(zip(stems, records, strict=True))],
            "reads": "how far the steps are from equal ones, on pixels: 0 where every step changes the picture equally "
                     "much, larger where the change comes early, late or at once"}
    for rule, shares in _shares(folder, series).items():
        if rule not in PLACE_RULES:
            measures[f"{rule}, last step"] = {
                "values": [round(float(share), 3) for share in shares[:, -1]],
                "reads": f"the target's share in the last image by the rule {rule}: 1 where it is taken for a real "
                         f"target image"}
    return measures


def _evenness(folder, series, index, stem, record):
    """Return the evenness in a record, or that of the pictures; None where some are missing."""
    if "evenness" in record:
        return record["evenness"]
    files = [folder / image for image in series.images[index * series.amount:(index + 1) * series.amount]]
    own = folder / SOURCES / f"{stem}.png"
    try:
        return step_evenness(read_pictures([own, *files] if own.is_file() else files))
    except (OSError, UserError):
        return None
