"""The label tables of a finished translation: its images, their places in the series and their soft labels.

`labels.csv` is what the translation wrote. Other label rules stand beside it as `labels_RULE.csv`, with the same header
and the same rows, so that nothing is ever overwritten. `labels_reviewed.csv`, after an expert's review, lacks the rows
of the images that were rejected.

The series may be a chain of legs through more than two domains: then m runs on over the legs, and `source` and
`target` are its ends. Of more than MOST_COLUMNS domains only these two have a column p_k, any other that some image has
a share of, and the last one, which tells their number; the rest are 0.
"""
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from add.config import MOST_DOMAINS, split_names
from add.data.dataset import ImageSet
from add.data.files import save_csv
from add.data.folders import list_domains
from add.data.read_back import damaged, read_json, read_rows
from add.errors import UserError
from add.interfaces import PathLike

DEPTH_RULE = "depth"  # the rule of labels.csv
REVIEWED_RULE = "reviewed"  # what `add review score` writes
MOST_COLUMNS = 100
TYPES: dict[str, type] = {"image": str, "source_image": str, "source": int, "target": int, "m": int, "depth": int}
COLUMNS = tuple(TYPES)
MAKE_AGAIN = "remove it, and make it again with the same command"


@dataclasses.dataclass(frozen=True)
class Series:
    """The rows of a label file, source image by source image, then by m.

    Args:
        folder: the translation folder.
        images: paths relative to it, [n].
        source_images: names of the images translated from, [n].
        source, target: domain numbers.
        m: place in the series, 1..N, int64 [n].
        depths: in training timesteps, int64 [n].
        labels: float64 [n, K], rows sum to 1.
        amount: the number of progressive images per source image, N; of a chain those of all legs. Of a part of the
            rows, too, it is that of the translation.
    """

    folder: Path
    images: list[str]
    source_images: list[str]
    source: int
    target: int
    m: np.ndarray
    depths: np.ndarray
    labels: np.ndarray
    amount: int

    def __len__(self) -> int:
        return len(self.images)

    @property
    def is_chain(self) -> bool:
        """Whether the series leads through other domains than its ends."""
        return bool(np.delete(self.labels, [self.source, self.target], axis=1).any())

    @property
    def groups(self) -> np.ndarray:
        """The number of each image's source image, int64 [n]."""
        numbers = {name: i for i, name in enumerate(dict.fromkeys(self._series_names))}
        return np.array([numbers[name] for name in self._series_names])

    @property
    def _series_names(self):
        return [image.rsplit("_m", 1)[0] for image in self.images]  # two source images may share their file name

    def source_digests(self) -> list[str]:
        """Return the SHA-256 of each image's source pixels, as the translation recorded it; "" where it did not."""
        known = {name: _recorded_digest(self.folder / "records" / f"{Path(name).name}.json")
                 for name in dict.fromkeys(self._series_names)}
        return [known[name] for name in self._series_names]

    def subset(self, rows: np.ndarray) -> "Series":
        """Return the rows where `rows`, bool [n], is true."""
        chosen = np.flatnonzero(rows).tolist()
        return dataclasses.replace(self, images=[self.images[i] for i in chosen],
                                   source_images=[self.source_images[i] for i in chosen], m=self.m[chosen],
                                   depths=self.depths[chosen], labels=self.labels[chosen])

    def image_set(self, image_size: int) -> ImageSet:
        """Return the `ImageSet` of the progressive images, row by row."""
        return ImageSet.from_paths([str(self.folder / image) for image in self.images], image_size)


def read_series(folder: PathLike, rule: str = DEPTH_RULE) -> Series:
    """Return the `Series` of a translation folder, with the labels of one rule.

    Raises:
        UserError: no finished translation, no labels of that rule, or a damaged table.
    """
    path = label_path(folder, rule)
    if not path.exists():
        if not label_path(folder, DEPTH_RULE).exists():
            raise UserError(f"{folder} is no finished translation: expected labels.csv in it; give a folder such as "
                            f"results/translation_0_1, or run the same translation command again to finish it")
        if read_series(folder).is_chain:
            raise UserError(f"{folder} is a chain through more than two domains, and has no soft labels by the rule "
                            f"{rule}: expected the rule {DEPTH_RULE}, the only one for a chain; give --label_rule "
                            f"{DEPTH_RULE}")
        made_by = ("add review score --out_dir REVIEW --answers FILES" if rule == REVIEWED_RULE else
                   f"add soft_labels --rule {rule} --translations {folder} --data_dir REAL_IMAGES")
        raise UserError(f"{folder} has no soft labels by the rule {rule}: expected {path.name} in it; make them with "
                        f"{made_by}, or give --label_rule {DEPTH_RULE}")
    rows = read_rows(path, TYPES, MAKE_AGAIN)
    own = label_path(folder, DEPTH_RULE)
    written = read_rows(own, TYPES, MAKE_AGAIN) if rule == REVIEWED_RULE and own.exists() else rows
    try:
        labels = _labels_of(rows, len(written))
    except (TypeError, ValueError) as error:
        raise damaged(path, error, f"rows with the columns {', '.join(COLUMNS)}, p_0, ... and shares from 0 to 1 in "
                                   f"the latter", MAKE_AGAIN) from error
    return Series(Path(folder), [row["image"] for row in rows], [row["source_image"] for row in rows],
                  rows[0]["source"], rows[0]["target"], np.array([row["m"] for row in rows]),
                  np.array([row["depth"] for row in rows]), labels, max(row["m"] for row in written))


def _labels_of(rows, highest):
    """Return the soft labels float64 [n, K] of rows of a label file, whose m goes up to `highest` at most.

    Raises ValueError for what is none.
    """
    columns = {int(name[2:]): name for row in rows[:1] for name in row if name and name.startswith("p_")}
    if not columns or not 0 <= min(columns) <= max(columns) < MOST_DOMAINS:
        raise ValueError(f"{len(rows)} rows with labels of {len(columns)} domains")
    labels = np.zeros((len(rows), max(columns) + 1))
    for number, name in columns.items():
        labels[:, number] = [float(row[name]) for row in rows]
    if not ((labels >= 0) & (labels <= 1)).all():  # NaN is neither
        raise ValueError("a label that is no share")
    if wrong := [row for row in rows if not (0 <= row["source"] < labels.shape[1] and 0 <= row["target"]
                                             < labels.shape[1] and 1 <= row["m"] <= highest)]:
        raise ValueError(f"source {wrong[0]['source']}, target {wrong[0]['target']}, m {wrong[0]['m']}")
    return labels


def read_domain_names(folder: PathLike) -> tuple[str, ...] | None:
    """Return the names of a translation's domains by number, as its run.json says; None where it does not say all."""
    try:
        return tuple(read_json(Path(folder) / "run.json", {"domains": [str]})["domains"])
    except (OSError, UserError):
        return None


def domain_order(given: str, translations: str, data_dir: PathLike) -> tuple[str, ...] | None:
    """Return the names of a folder's domains in the order of the label vectors, or None for the sorted one.

    Translations know the order that they were made with; another one would turn their labels around.

    Args:
        given: the option --domains. translations: folders with commas. data_dir: with a subfolder per domain.

    Raises:
        UserError: a translation numbers the domains otherwise.
    """
    order = tuple(split_names(given)) if given else None
    for folder in filter(None, translations.split(",")):
        recorded = read_domain_names(folder)
        if recorded is None or set(recorded) != set(list_domains(data_dir)):
            continue
        if order is not None and order != recorded:
            raise UserError(f"{folder} numbers the domains {', '.join(recorded)}, and here they are "
                            f"{', '.join(order)}: its soft labels would be turned around; give --domains "
                            f"{','.join(recorded)}")
        order = recorded
    return order


def _recorded_digest(path):
    try:
        return str(read_json(path, {"source_sha256": str})["source_sha256"])
    except (OSError, UserError):
        return ""


def write_labels(path: PathLike, series: Series, labels: np.ndarray) -> None:
    """Write a label file with the rows of `series` and other labels, float [n, K]."""
    rows = zip(series.images, series.source_images, series.m, series.depths, labels, strict=True)
    write_rows(path, ([image, source_image, series.source, series.target, m, depth, *label]
                      for image, source_image, m, depth, label in rows), len(labels[0]))


def write_rows(path: PathLike, rows: Iterable[Sequence[Any]], num_domains: int) -> None:
    """Write rows (image, source_image, source, target, m, depth, p_0, p_1, ...) under the header of a label file."""
    rows = list(rows)
    columns = list(range(num_domains))
    if num_domains > MOST_COLUMNS:
        ends = {row[COLUMNS.index(end)] for row in rows for end in ("source", "target")} | {num_domains - 1}
        columns = [k for k in columns if k in ends or any(row[len(COLUMNS) + k] for row in rows)]
    save_csv(path, [[*COLUMNS, *(f"p_{k}" for k in columns)],
                    *([*row[:len(COLUMNS)], *(f"{row[len(COLUMNS) + k]:.6f}" for k in columns)] for row in rows)])


def label_path(folder: PathLike, rule: str) -> Path:
    """Return the label file of a rule in a translation folder."""
    return Path(folder) / ("labels.csv" if rule == DEPTH_RULE else f"labels_{rule}.csv")
