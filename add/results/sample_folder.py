"""The output folder of sampling: numbered images, their classes, a contact sheet and the records to continue from.

OUT holds sample_000000.png, ..., settings.json and, once all are made, run.json, contact_sheet.png, labels.csv where
they have classes, and on request guided-diffusion's samples_NxHxWx3.npz. records/ says what each batch has cost.
"""
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from add.data.files import changed_settings, is_url, save_csv, save_json, save_png, write_atomically, write_npy_rows
from add.data.folders import CONTACT_SHEET
from add.data.image_file import read_image
from add.data.read_back import read_json, read_rows
from add.errors import UserError
from add.interfaces import PathLike, Row
from add.results.contact_sheet import contact_sheet
from add.results.pictures import read_picture, read_pictures

LABELS_NAME = "labels.csv"
COLUMNS = ("image", "class", "class_name")
COST = {"images": range(1, 10**9), str: float}  # what a record holds
MOST_SHOWN = 100  # images on the contact sheet


class SamplesFolder:
    """The output folder of one run of sampling.

    Args:
        path: the folder; made where it is missing.
        count: images wanted, n.
        labels: int64 [n], their classes, or None.
        class_names: in the order of labels, or None.

    Raises:
        UserError: the path is a URL.
    """

    def __init__(self, path: PathLike, count: int, labels: np.ndarray | None = None,
                 class_names: Sequence[str] | None = None) -> None:
        if is_url(path):
            raise UserError(f"--out_dir {path} is a URL, expected a local folder: copy the samples afterwards")
        self.path, self.count = Path(path), count
        self.labels, self.class_names = labels, class_names

    def check(self, settings: Row) -> None:
        """Raise UserError where the folder holds samples made with other settings (JSON values)."""
        if changed := changed_settings(self._settings, settings):
            raise UserError(f"{self.path} holds samples made otherwise ({', '.join(changed)}): give the same options "
                            f"to continue, or another --out_dir")

    def open(self, settings: Row) -> None:
        """Make the folder and write settings.json, what its samples are made with."""
        save_json(self._settings, settings)

    def missing(self) -> list[int]:
        """Return the numbers of the images that are still to be made."""
        return [number for number in range(self.count) if not self.image_path(number).exists()]

    def image_path(self, number: int) -> Path:
        """Return the path of an image."""
        return self.path / f"sample_{number:06d}.png"

    def write_images(self, numbers: Sequence[int], images: Iterable[np.ndarray], cost: Mapping[str, float]) -> None:
        """Write images uint8 [b, H, W, 3] under their numbers, and before them what they cost.

        Args:
            cost: {name: total of the batch}, numbers; every image then has a record, and lost images made again leave
                the mean as it was.
        """
        save_json(self.path / "records" / f"{numbers[0]:06d}.json", {"images": len(numbers), **cost})
        for number, image in zip(numbers, images, strict=True):
            save_png(self.image_path(number), image)

    def costs(self) -> dict[str, float]:
        """Return {name: mean per image} of what the batches have cost."""
        records = [read_json(path, COST, "remove it: the cost of its images is then no longer counted")
                   for path in sorted((self.path / "records").glob("*.json"))]
        images = sum(record["images"] for record in records)
        names = dict.fromkeys(name for record in records for name in record if name != "images")
        return {name: sum(record.get(name, 0) for record in records) / images for name in names}

    def write_summary(self, save_npz: bool = False,
                      shown: Callable[[int, np.ndarray], np.ndarray] | None = None) -> None:
        """Write contact_sheet.png and labels.csv, and samples_NxHxWx3.npz if asked for.

        Args:
            shown: shown(number, image uint8 [H, W, 3]) -> the tile that stands for it, all of one size; by default the
                image itself.
        """
        if self.labels is not None:
            self._write_labels(self.labels)
        if save_npz:
            self._write_npz()
        numbers = range(min(self.count, MOST_SHOWN))
        tiles = list(read_pictures([self.image_path(number) for number in numbers]))
        if shown is not None:
            tiles = [shown(number, tile) for number, tile in zip(numbers, tiles, strict=True)]
        captions = None if self.labels is None else [self._class_name(label) or f"class {label}"
                                                     for label in self.labels[:len(tiles)].tolist()]
        save_png(self.path / CONTACT_SHEET, contact_sheet(np.stack(tiles), captions))

    def _class_name(self, label):
        return "" if self.class_names is None else self.class_names[label]

    def _write_labels(self, labels):
        save_csv(self.path / LABELS_NAME, [COLUMNS, *((self.image_path(number).name, label, self._class_name(label))
                                                      for number, label in enumerate(labels.tolist()))])

    def _write_npz(self):
        """Write arr_0 uint8 [n, H, W, 3] and, with classes, arr_1 int64 [n], as np.savez names them."""
        shape = (self.count, *read_image(self.image_path(0)).shape)

        def write(file):
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                with archive.open("arr_0.npy", "w", force_zip64=True) as member:
                    rows = (read_picture(self.image_path(number), shape[1:]) for number in range(self.count))
                    write_npy_rows(member, np.uint8, shape, rows)
                if self.labels is not None:
                    with archive.open("arr_1.npy", "w") as member:
                        write_npy_rows(member, np.int64, self.labels.shape, [self.labels])

        write_atomically(self.path / f"samples_{'x'.join(map(str, shape))}.npz", write)

    @property
    def _settings(self):
        return self.path / "settings.json"


def read_labels(folder: PathLike) -> dict[str, int] | None:
    """Return {file name: class} of a folder of samples that tells classes in labels.csv, or None.

    Raises:
        UserError: the file is of another kind.
    """
    path = Path(folder) / LABELS_NAME
    if not path.is_file():
        return None
    rows = read_rows(path, {"image": str, "class": int}, "remove it, or give --classes and another folder")
    return {row["image"]: row["class"] for row in rows}
