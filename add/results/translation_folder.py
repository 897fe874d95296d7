"""The output folder of a translation: progressive images, labels, overview and the records to continue from.

OUT/translation_0_1/, or OUT/chain_0_1_2/ for a chain of domains as one series, holds images/NAME_mMM.png, labels.csv,
overview.png and run.json, and in sources/NAME.png the source images as the models saw them. While images are made, each
finished source image leaves records/NAME.json; a run that is killed continues with the images that have none.
"""
import hashlib
import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from add.config import MOST_TIMESTEPS
from add.data.files import read_bytes, save_json, save_npy, save_png, write_atomically, write_npy_rows
from add.data.read_back import damaged, read_json, read_npy
from add.errors import UserError
from add.interfaces import PathLike, Row
from add.results.overview import draw_overview
from add.results.pictures import read_pictures
from add.results.translation_series import write_rows

SETTINGS_NAME = "settings.json"
SOURCES = "sources"  # folder of the source images
WITHOUT_PATH = {"path": "depth"}  # what settings mean that were written before there were other paths
RECORD = {"source_image": str, "source_sha256": str, "depths": [range(MOST_TIMESTEPS + 1)], "depth_rule": str,
          "reason": (None, str), "nfe": float, "seconds": float, "images_sha256?": str,
          "weights?": [[float]], "evenness?": (None, float)}
MAKE_AGAIN = "remove it, and the same command makes its images again"


class TranslationFolder:
    """The output folder of one direction, or of one chain.

    Args:
        path: the folder; made where it is missing.
        names: a distinct name for each source image, in output order.
        amount: progressive images per source image, N.
    """

    def __init__(self, path: PathLike, names: Iterable[str], amount: int) -> None:
        self.path, self.names, self.amount = Path(path), list(names), amount

    def check(self, settings: Row) -> None:
        """Raise UserError where the folder holds images made with other settings (JSON values)."""
        if not self._recorded():
            return
        saved = WITHOUT_PATH | read_json(self._settings, {str: object}, "restore it, or give another --out_dir")
        there, given = dict(_flat(saved)), dict(_flat(settings))
        changed = [name for name in sorted(there.keys() | given.keys()) if there.get(name) != given.get(name)]
        if changed:
            retrained = "; a model that was trained further is another one" * any("sha256" in name for name in changed)
            raise UserError("\n".join([
                f"{self.path} holds images made with other options:",
                *(f"  {name}: {_short(there.get(name))} there, {_short(given.get(name))} given" for name in changed),
                f"give the same options to continue, or another --out_dir{retrained}"]))

    def count_others(self) -> int:
        """Return how many finished source images the folder holds beside these: labels.csv won't list them."""
        return len(self._recorded() - set(self.names))

    def _recorded(self):
        """Return the names of all finished source images in the folder."""
        return {path.stem for path in (self.path / "records").glob("*.json")} - {Path(SETTINGS_NAME).stem}

    def open(self, settings: Row) -> None:
        """Make the folder and write records/settings.json, what its images are made with (JSON values)."""
        self.check(settings)
        save_json(self._settings, settings)

    def image_path(self, name: str, m: int) -> Path:
        """Return the path of progressive image m = 1..N, relative to the folder."""
        digits = max(2, len(str(self.amount)))
        return Path("images") / f"{name}_m{m:0{digits}d}.png"

    def is_finished(self, name: str, source_sha256: str, with_latents: bool = False) -> bool:
        """Return whether a source image with this content is done: its images, record and, if asked for, latents.

        Where the record or an image is damaged, that is said in the log, and it is not.
        """
        if not self._record(name).exists():
            return False
        try:
            record = self._read_record(name)
        except UserError:
            _say(f"{self._record(name)} is damaged: the images of {name} are made again")
            return False
        files = [*self._images(name), *([self._latents(name)] if with_latents else [])]
        if record["source_sha256"] != source_sha256 or not all(file.exists() for file in files):
            return False
        if record.get("images_sha256", "") in ("", self._images_sha256(name)):  # earlier versions noted none
            return True
        _say(f"pictures of {name} in {self.path / 'images'} are not as they were written: they are made again")
        return False

    def write_images(self, name: str, targets: np.ndarray, record: Row, latents: np.ndarray | None = None) -> None:
        """Write the images of one source image, and last its record, which also gets the SHA-256 of their files.

        Args:
            targets: uint8 [N, H, W, 3]. record: as in RECORD. latents: uint8 [N, 3, H, W] or None.
        """
        for m, image in enumerate(targets, start=1):
            save_png(self.path / self.image_path(name, m), image)
        if latents is not None:
            save_npy(self._latents(name), latents)
        save_json(self._record(name), record | {"images_sha256": self._images_sha256(name)})

    def write_source(self, name: str, image: np.ndarray) -> None:
        """Write a source image uint8 [H, W, 3], at the size that was translated."""
        save_png(self._source(name), image)

    def without_source(self) -> list[int]:
        """Return the numbers of the source images that no file shows, as earlier versions left them."""
        return [i for i, name in enumerate(self.names) if not self._source(name).exists()]

    def records(self) -> list[Row]:
        """Return the records of all source images, in order."""
        return [self._read_record(name) for name in self.names]

    def write_labels(self, records: Sequence[Row], labels: Sequence[Sequence[float]] | np.ndarray, source: int,
                     target: int) -> None:
        """Write labels.csv: a row per progressive image, in the order of the sources, then m.

        Args:
            records: as from records(). labels: [N, K] soft labels. source, target: domain numbers, the ends.
        """
        write_rows(self.path / "labels.csv",
                   ([self.image_path(name, m).as_posix(), record["source_image"], source, target, m, depth, *label]
                    for name, record in zip(self.names, records, strict=True)
                    for m, (depth, label) in enumerate(zip(record["depths"], labels, strict=True), start=1)),
                   len(labels[0]))

    def write_overview(self, records: Sequence[Row], rows: Sequence[int], sources: np.ndarray, headings: Sequence[str],
                       title: str) -> None:
        """Write overview.png of some source images.

        Args:
            records: as in write_labels. rows: indices of the source images that are shown, [k].
            sources: uint8 [k, H, W, 3], those images.
            headings: N texts above the columns, the labels in words.
        """
        targets = np.stack([self._read_targets(self.names[i]) for i in rows])
        captions = [_captions(records[i]) for i in rows]
        if len(self.names) > len(rows):
            title += f": {len(rows)} of {len(self.names)} source images"
        save_png(self.path / "overview.png", draw_overview(sources, targets, captions, headings, [
            records[i]["source_image"] for i in rows], title))

    def write_arrays(self, records: Sequence[Row], sources: Iterable[np.ndarray]) -> None:
        """Write the published code's arrays: source.npy, latent.npy, target.npy, diffway.npy.

        Args:
            records: as in write_labels.
            sources: gives float32 [3, H, W] in [-1, 1] for each source image, in order.
        """
        first = self._read_targets(self.names[0]).transpose(0, 3, 1, 2)
        shape = (len(self.names), *first.shape)
        targets = (self._read_targets(name).transpose(0, 3, 1, 2) for name in self.names)
        _save_npy_rows(self.path / "source.npy", np.float32, (len(self.names), *first.shape[1:]), sources)
        _save_npy_rows(self.path / "target.npy", np.uint8, shape, targets)
        latents = (read_npy(self._latents(name), np.uint8, shape[1:], MAKE_AGAIN) for name in self.names)
        _save_npy_rows(self.path / "latent.npy", np.uint8, shape, latents)
        save_npy(self.path / "diffway.npy", np.array([record["depths"] for record in records]))

    def _read_targets(self, name):
        return read_pictures(self._images(name))

    def _images(self, name):
        return [self.path / self.image_path(name, m) for m in range(1, self.amount + 1)]

    def _images_sha256(self, name):
        """Return the SHA-256 of the files of a series, one behind the other, as hexadecimal digits."""
        digest = hashlib.sha256()
        for path in self._images(name):
            digest.update(read_bytes(path))
        return digest.hexdigest()

    def _read_record(self, name):
        path = self._record(name)
        record = dict(read_json(path, RECORD, MAKE_AGAIN))
        if len(record["depths"]) != self.amount:
            raise damaged(path, f"{len(record['depths'])} depths", f"{self.amount}", MAKE_AGAIN)
        return record

    @property
    def _settings(self):
        return self.path / "records" / SETTINGS_NAME

    def _source(self, name):
        return self.path / SOURCES / f"{name}.png"

    def _record(self, name):
        return self.path / "records" / f"{name}.json"

    def _latents(self, name):
        return self.path / "records" / f"{name}_latents.npy"


def _captions(record):
    """Return how each image of a record came about, in words: its depth, or the weights of the models."""
    if "weights" not in record:
        return [f"depth {depth}" for depth in record["depths"]]
    return [f"weight {weights[1]:.2f}" if len(weights) == 2 else " / ".join(f"{weight:.2f}" for weight in weights)
            for weights in record["weights"]]


def distinct_names(paths: Sequence[PathLike]) -> list[str]:
    """Return a distinct name for each source image: its stem, or, where that is taken, its file name or a number.

    Args:
        paths: relative to the folder of all; subfolders become a part of the name, PATIENT_TILE.
    """
    flat = [Path("_".join(Path(path).parts)) for path in paths]
    stems = Counter(path.stem for path in flat)
    taken, names = {Path(SETTINGS_NAME).stem}, []
    for path in flat:
        name = path.stem if stems[path.stem] == 1 else path.name.replace(".", "_")
        tries = itertools.chain([name], (f"{name}_{i}" for i in itertools.count(2)))
        names.append(next(candidate for candidate in tries if candidate not in taken))
        taken.add(names[-1])
    return names


def _flat(values, before=""):
    """Yield (dotted name, value) of a dict that holds dicts, so that a message can name what differs alone."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value


def _short(value):
    """Return a value as a message shows it: of a SHA-256 its start."""
    return f"{value[:12]}..." if re.fullmatch("[0-9a-f]{64}", str(value)) else repr(value)


def _say(sentence):
    logging.getLogger(__name__).warning(sentence)


def _save_npy_rows(path, dtype, shape, rows):
    write_atomically(path, lambda file: write_npy_rows(file, dtype, shape, rows))
