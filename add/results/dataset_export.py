"""Progressive and real images with soft labels, written in formats that other training code reads.

- `imagefolder-csv`: DOMAIN/000000.png, sorted by the likeliest domain, and labels.csv with the soft label of each;
- `webdataset`: shards shard-000000.tar, each sample KEY.png and KEY.json (what WebDataset calls it: `png` and `json`);
- `hf`: images and metadata.jsonl, an ImageFolder of Hugging Face's datasets;
- `npz`: dataset.npz with the arrays images uint8 [n, S, S, 3], soft_labels float32 [n, K], group int64 [n], real bool
  [n] and domains, the K names.

Every sample has a group: images made from one source image share it with that image, and a split must not divide it.
"""
import io
import itertools
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from add.data.dataset import ImageSet
from add.data.files import save_csv, save_png
from add.data.whole_folder import whole_folder
from add.errors import UserError
from add.interfaces import Count, PathLike, Row
from add.results.translation_dataset import TranslationDataset
from add.results.translation_series import DEPTH_RULE, domain_order, read_domain_names

SHARD_SIZE = 1000  # samples of a tar file
REAL, GENERATED = "real", "generated"


class Sample(NamedTuple):
    """An image with its soft label.

    pixels: uint8 [S, S, 3]. soft_label: float32 [K]. row: what is known of it, of JSON values: "kind", "group",
        "source_image", "source", "target", "m", "depth"; of a real image source and target are its domain, m is 0.
    """

    pixels: np.ndarray
    soft_label: np.ndarray
    row: Row


class Samples(NamedTuple):
    """Samples to export: the names of the K domains, their number, and a function that goes through them."""

    names: list[str]
    number: int
    each: Callable[[], Iterator[Sample]]


def gather(translations: Sequence[PathLike], rule: str = DEPTH_RULE, data_dir: PathLike = "",
           names: Sequence[str] | None = None) -> Samples:
    """Return the `Samples` of translation folders and, with data_dir, of real images, which are brought to their size.

    Args:
        rule: whose soft labels. data_dir: a folder with a subfolder for each domain, or "".
        names: the domains in label order; left out: as the translations recorded them, else sorted, else numbers.

    Raises:
        UserError: folders that don't fit together.
    """
    made = TranslationDataset(translations, rule)
    joined = ",".join(str(folder) for folder in translations)
    num_domains = made.soft_labels.shape[1]
    order = domain_order(",".join(names or ()), joined, data_dir) if data_dir else names
    real = ImageSet.from_domains(data_dir, made.image_size, order) if data_dir else None
    recorded = names or read_domain_names(translations[0])
    known = list((real.class_names if real is not None else recorded) or
                 (f"domain_{number}" for number in range(num_domains)))
    if len(known) != num_domains:
        raise UserError(f"the soft labels are of {num_domains} domains, and there are names of {len(known)} "
                        f"({', '.join(known)}): expected as many; check --data_dir and --domains")
    groups: dict[tuple[int, str], int] = {}

    def group_of(domain, name):
        return groups.setdefault((domain, Path(name).name), len(groups))

    def each():
        for i, row in enumerate(made.metadata):
            yield Sample(made.images.batch([i])[0], made.soft_labels[i].numpy(), {
                "kind": GENERATED, "group": group_of(row["source"], row["source_image"]),
                **{name: row[name] for name in ("source_image", "source", "target", "m", "depth")}})
        if real is None:
            return
        assert real.labels is not None, "the images were read with their domains"
        for i, (name, domain) in enumerate(zip(real.names, real.labels.tolist(), strict=True)):
            yield Sample(real.batch([i])[0], np.eye(num_domains, dtype=np.float32)[domain], {
                "kind": REAL, "group": group_of(domain, name), "source_image": name, "source": domain,
                "target": domain, "m": 0, "depth": 0})

    return Samples(known, len(made) + (0 if real is None else len(real)), each)


def export(samples: Samples, kind: str, out_dir: PathLike, shard_size: int = SHARD_SIZE,
           count: Count = lambda number: None) -> None:
    """Write samples to a new folder in a format of FORMATS.

    Args:
        shard_size: samples of a tar file. count: called with 1 for each sample.

    Raises:
        UserError: an unknown format.
    """
    if kind not in FORMATS:
        raise UserError(f"format {kind!r} is unknown: expected one of {', '.join(FORMATS)}; change --format")

    def each():
        for sample in samples.each():
            yield sample
            count(1)

    with whole_folder(out_dir) as folder:
        FORMATS[kind](folder, samples.names, each(), shard_size)


def _write_folder(folder, names, each, shard_size):
    columns = ("kind", "group", "source_image", "source", "target", "m", "depth")
    rows: list[list[Any]] = [["image", "label", *(f"p_{number}" for number in range(len(names))), *columns]]
    for i, sample in enumerate(each):
        label = int(sample.soft_label.argmax())
        image = f"{names[label]}/{i:06d}.png"
        save_png(folder / image, sample.pixels)
        rows.append([image, label, *(f"{share:.6f}" for share in sample.soft_label),
                     *(sample.row[name] for name in columns)])
    save_csv(folder / "labels.csv", rows)
    (folder / "domains.json").write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")


def _write_hub_folder(folder, names, each, shard_size):
    with open(folder / "metadata.jsonl", "w", encoding="utf-8") as file:
        for i, sample in enumerate(each):
            image = f"{i:06d}.png"
            save_png(folder / image, sample.pixels)
            row = {"file_name": image, **_as_json(sample)}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    (folder / "README.md").write_text(_card(names), encoding="utf-8")


def _write_shards(folder, names, each, shard_size):
    numbered = enumerate(each)
    for first in numbered:  # each begins a shard
        with tarfile.open(folder / f"shard-{first[0] // shard_size:06d}.tar", "w") as shard:
            for i, sample in itertools.chain([first], itertools.islice(numbered, shard_size - 1)):
                picture = io.BytesIO()
                Image.fromarray(sample.pixels).save(picture, "PNG")
                _add(shard, f"{i:06d}.png", picture.getvalue())
                _add(shard, f"{i:06d}.json", json.dumps(_as_json(sample), ensure_ascii=False).encode())
    (folder / "domains.json").write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")


def _write_arrays(folder, names, each, shard_size):
    found = list(each)
    with open(folder / "dataset.npz", "wb") as file:
        np.savez_compressed(
            file, allow_pickle=False, images=np.stack([sample.pixels for sample in found]),
            soft_labels=np.stack([sample.soft_label for sample in found]),
            group=np.array([sample.row["group"] for sample in found], dtype=np.int64),
            real=np.array([sample.row["kind"] == REAL for sample in found]), domains=np.array(names))


FORMATS = {"imagefolder-csv": _write_folder, "webdataset": _write_shards, "hf": _write_hub_folder,
           "npz": _write_arrays}


def _as_json(sample):
    """Return a sample's row with its soft label, rounded as label files are, and the number of the likeliest domain."""
    return {"soft_label": [round(float(share), 6) for share in sample.soft_label],
            "label": int(sample.soft_label.argmax()), **sample.row}


def _add(shard, name, content):
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    shard.addfile(entry, io.BytesIO(content))


def _card(names):
    """Return the README of a folder for Hugging Face's datasets."""
    domains = "\n".join(f"- {number}: {name}" for number, name in enumerate(names))
    return (f"# Progressive images with soft labels\n\n`soft_label` holds the shares of these domains, which sum to 1; "
            f"`label` is the likeliest:\n\n{domains}\n\nImages of one `group` come from one source image: split by "
            f"it. `kind` tells real images from generated ones. Not for diagnosis.\n")
