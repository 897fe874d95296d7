"""export: every format holds the images and the labels that it was made from, read by the libraries that it is for."""
import csv
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from add.data.files import save_json, save_png
from add.results.dataset_export import FORMATS
from add.results.translation_series import write_rows
from tests.commands.commands import ROOT, run

SIZE = 8


def write_translation(folder, source, target, seed):
    """Write a translation of two source images in two steps."""
    rng = np.random.default_rng(seed)
    rows = []
    for name in ("a", "b"):
        for m in (1, 2):
            image = f"images/{name}_m{m}.png"
            save_png(folder / image, rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))
            label = [0.0, 0.0]
            label[source], label[target] = 1 - m / 2, m / 2
            rows.append((image, f"{name}.png", source, target, m, 10 * m, *label))
    write_rows(folder / "labels.csv", rows, 2)
    save_json(folder / "run.json", {"domains": ["normal", "tumour"]})
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """{"translations", "data_dir"}: both directions, and four real images, two of them translated from."""
    root = tmp_path_factory.mktemp("made")
    for k, domain in enumerate(("normal", "tumour")):
        for i, name in enumerate(("a", "c")):
            save_png(root / "real" / domain / f"{name}.png", np.full((SIZE, SIZE, 3), 100 * k + i, np.uint8))
    return {"translations": f"{write_translation(root / 't01', 0, 1, 1)},{write_translation(root / 't10', 1, 0, 2)}",
            "data_dir": root / "real"}


@pytest.fixture(scope="module")
def written(made, tmp_path_factory):
    """{format: folder}, of two samples in a tar file."""
    root = tmp_path_factory.mktemp("out")
    for kind in FORMATS:
        assert run("export", "--translations", made["translations"], "--data_dir", made["data_dir"], "--format", kind,
                   "--shard_size", 5, "--out_dir", root / kind) == 0
    return {kind: root / kind for kind in FORMATS}


def samples_of_folder(folder):
    with open(folder / "labels.csv", newline="") as file:
        for row in csv.DictReader(file):
            yield np.array(Image.open(folder / row["image"])), [float(row["p_0"]), float(row["p_1"])], row


def samples_of_shards(folder):
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as shard:
            members = {member.name: shard.extractfile(member).read() for member in shard}
        for name in (name for name in members if name.endswith(".png")):
            row = json.loads(members[name.replace(".png", ".json")])
            (folder / "one.png").write_bytes(members[name])
            yield np.array(Image.open(folder / "one.png")), row["soft_label"], row


def samples_of_hub_folder(folder):
    for line in (folder / "metadata.jsonl").read_text().splitlines():
        row = json.loads(line)
        yield np.array(Image.open(folder / row["file_name"])), row["soft_label"], row


def samples_of_arrays(folder):
    with np.load(folder / "dataset.npz", allow_pickle=False) as found:
        assert found["domains"].tolist() == ["normal", "tumour"]
        for i in range(len(found["images"])):
            yield found["images"][i], found["soft_labels"][i].tolist(), {
                "group": found["group"][i], "kind": "real" if found["real"][i] else "generated"}


READERS = {"imagefolder-csv": samples_of_folder, "webdataset": samples_of_shards, "hf": samples_of_hub_folder,
           "npz": samples_of_arrays}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_format_holds_what_was_translated_and_the_real_images(made, written, kind):
    found = list(READERS[kind](written[kind]))
    expected = []
    for folder in made["translations"].split(","):
        with open(f"{folder}/labels.csv", newline="") as file:
            expected += [(np.array(Image.open(f"{folder}/{row['image']}")), [float(row["p_0"]), float(row["p_1"])])
                         for row in csv.DictReader(file)]
    for k, domain in enumerate(("normal", "tumour")):
        expected += [(np.array(Image.open(made["data_dir"] / domain / f"{name}.png")), [1 - k, k]) for name in "ac"]
    assert len(found) == len(expected) == 12
    for (pixels, label, _), (true_pixels, true_label) in zip(found, expected, strict=True):
        assert np.array_equal(pixels, true_pixels) and label == true_label
    assert [row["kind"] for *_, row in found] == ["generated"] * 8 + ["real"] * 4


@pytest.mark.parametrize("kind", FORMATS)
def test_images_of_one_source_share_a_group_with_it(written, kind):
    """Sources a and b of either domain; real images a, which were translated from, and c, which were not."""
    groups = [int(row["group"]) for *_, row in READERS[kind](written[kind])]
    assert groups == [0, 0, 1, 1, 2, 2, 3, 3, 0, 4, 2, 5]


def test_a_folder_sorts_images_by_the_likeliest_domain(written):
    for _, label, row in samples_of_folder(written["imagefolder-csv"]):
        likeliest = int(label[1] > label[0])
        assert row["image"].split("/")[0] == ["normal", "tumour"][likeliest] and int(row["label"]) == likeliest


def test_shards_hold_as_many_samples_as_asked_for(written):
    counts = []
    for path in sorted(written["webdataset"].glob("*.tar")):
        with tarfile.open(path) as shard:
            counts.append(len(shard.getnames()) // 2)
    assert counts == [5, 5, 2]


def test_webdataset_reads_the_shards(written):
    webdataset = pytest.importorskip("webdataset")
    paths = sorted(map(str, written["webdataset"].glob("*.tar")))
    dataset = webdataset.WebDataset(paths, shardshuffle=False).decode("torchrgb").to_tuple("png", "json")
    images, rows = zip(*dataset, strict=True)
    assert len(images) == 12 and images[0].shape == (3, SIZE, SIZE) and rows[-1]["soft_label"] == [0.0, 1.0]


def test_datasets_reads_the_folder(written, tmp_path):
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset("imagefolder", data_dir=str(written["hf"]), split="train", cache_dir=str(tmp_path))
    assert len(found) == 12 and found[0]["soft_label"] == [0.5, 0.5] and found[0]["image"].size == (SIZE, SIZE)


def test_the_documented_loop_trains_with_soft_targets(tmp_path, monkeypatch, capsys):
    """The code of docs/elsewhere.md as it stands there, on dark and bright images that its network takes."""
    folder = tmp_path / "results" / "dataset"
    folder.mkdir(parents=True)
    shares = np.linspace(0, 1, 20)
    images = (np.random.default_rng(0).integers(0, 60, (20, 32, 32, 3)) + 190 * shares[:, None, None, None])
    np.savez(folder / "dataset.npz", images=images.astype(np.uint8), group=np.arange(20),
             soft_labels=np.stack([1 - shares, shares], axis=1).astype(np.float32))
    code = (ROOT / "docs" / "elsewhere.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {}
    exec(code, names)
    assert 0 <= float(capsys.readouterr().out.split(": ")[1]) < 1
    first, last = names["network"](names["images"][[0, 19]]).softmax(dim=1)[:, 1]
    assert last > first  # it learnt which way the labels go


def test_an_export_without_real_images_takes_the_recorded_names(made, tmp_path):
    assert run("export", "--translations", made["translations"], "--out_dir", tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "domains.json").read_text()) == ["normal", "tumour"]
    assert len(list(samples_of_folder(tmp_path / "out"))) == 8


def test_nothing_is_overwritten_and_a_failure_leaves_nothing(made, written, tmp_path, capsys, monkeypatch):
    options = ["--translations", made["translations"], "--data_dir", made["data_dir"]]
    assert run("export", *options, "--out_dir", written["npz"]) == 2
    assert "exists, expected a new folder" in capsys.readouterr().err

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("add.results.dataset_export.save_png", fail)
    assert run("export", *options, "--out_dir", tmp_path / "full") == 2
    assert list(tmp_path.iterdir()) == []


def test_translations_are_needed(capsys, tmp_path):
    assert run("export", "--out_dir", tmp_path / "out") == 2
    assert "no translations were named: expected --translations FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize(("changes", "message"), [
    (["--label_rule", "classifier"], "no soft labels by the rule classifier"),
    (["--domains", "tumour,normal"], "numbers the domains normal, tumour"),
])
def test_refusals(made, tmp_path, capsys, changes, message):
    options = {"--translations": made["translations"], "--data_dir": made["data_dir"], "--out_dir": tmp_path / "out"}
    options |= {changes[0]: changes[1]}
    assert run("export", *(word for pair in options.items() for word in pair)) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
