"""Tars of images stand for a folder of them: the same images in the same order, with their classes and groups."""
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from add.data import BatchStream, ImageSet, holds_domains, list_domains, list_images, read_image
from add.data.files import file_size, fingerprint, read_bytes, relative_name
from add.data.folders import say_others
from add.data.groups import hint_at_groups, read_groups
from add.data.image_file import read_header
from add.data.parts import divide, write_parts
from add.data.tar_shards import open_shard
from add.errors import UserError

SIZE = 8


def png(number, size=SIZE):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_tar(path, members, **options):
    """Write {name: bytes} in that order, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as file:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def shards(tmp_path):
    """Two shards of six images each, of classes normal and tumour, three to a slide."""
    for number in range(2):
        members = {}
        for i in range(6):
            key = f"{6 * number + i:04d}"
            members[f"{key}.png"] = png(6 * number + i)
            members[f"{key}.json"] = json.dumps({"class": ["normal", "tumour"][i % 2], "slide": i // 3 + 2 * number}
                                                ).encode()
        write_tar(tmp_path / "shards" / f"shard-{number:06d}.tar", members)
    return tmp_path / "shards"


def test_images_are_read_where_they_stand(shards):
    paths = list_images(shards)
    assert [relative_name(shards, path) for path in paths] == [
        f"shard-{i // 6:06d}.tar/{i:04d}.png" for i in range(12)]
    for i, path in enumerate(paths):
        assert read_bytes(path) == png(i) and file_size(path) == len(png(i)) and read_header(path) == (SIZE, SIZE)
        assert np.array_equal(read_image(path), np.asarray(Image.open(io.BytesIO(png(i)))))
    assert say_others(shards) == "" and hint_at_groups(shards, paths) == ""
    with pytest.raises(UserError, match="cannot read .*0099.png as an image .*no such file in the tar"):
        read_image(f"{shards}/shard-000000.tar/0099.png")


@pytest.mark.parametrize("memory_limit", [0, 10**9])
@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_batches_are_those_of_a_folder_bit_for_bit(tmp_path, format, memory_limit):
    """The order in which a tar was written doesn't matter; long names and names in folders neither."""
    names = [f"{'long' * 20}_{i}.png" if i % 3 else f"ä/slide {i}.x/{i}.png" for i in range(10)]
    for i, name in enumerate(names):
        (tmp_path / "folder" / "a.tar" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / "a.tar" / name).write_bytes(png(i, SIZE + i))
    order = np.random.default_rng(0).permutation(10)
    write_tar(tmp_path / "shards" / "a.tar", {names[i]: png(i, SIZE + i) for i in order}, format=format)
    streams = [BatchStream(ImageSet.from_folder(tmp_path / name, SIZE, memory_limit=memory_limit), 4, 3,
                           augment="dihedral") for name in ("folder", "shards")]
    for _ in range(6):
        (x, _), (other, _) = map(next, streams)
        assert x.equal(other)
    assert streams[0].image_set.names == streams[1].image_set.names
    assert len({fingerprint(tmp_path / name, stream.image_set.files)
                for name, stream in zip(("folder", "shards"), streams, strict=True)}) == 1


def test_classes_stand_for_subfolders(shards):
    assert holds_domains(shards) and not holds_domains(shards / "tumour")
    domains = list_domains(shards)
    assert {name: [Path(path).stem for path in own] for name, own in domains.items()} == {
        "normal": ["0000", "0002", "0004", "0006", "0008", "0010"],
        "tumour": ["0001", "0003", "0005", "0007", "0009", "0011"]}
    assert list_images(shards / "tumour") == domains["tumour"] == list_images(f"{shards}/*.tar/tumour")
    assert relative_name(shards / "tumour", domains["tumour"][0]) == "shard-000000.tar/0001.png"
    images = ImageSet.from_domains(shards, SIZE, ["tumour", "normal"])
    assert images.class_names == ["tumour", "normal"] and images.labels.tolist() == [0] * 6 + [1] * 6
    with pytest.raises(UserError, match="no images of the class grey"):
        list_images(shards / "grey")


def test_one_tar_and_a_pattern_stand_for_a_folder_too(shards):
    second = shards / "shard-000001.tar"
    assert [relative_name(second, path) for path in list_images(second)] == [f"{i:04d}.png" for i in range(6, 12)]
    assert list_images(f"{shards}/shard-*1.tar") == list_images(second)
    assert len(list_images(second / "normal")) == 3


def test_groups_are_kept_together(shards):
    paths = list_images(shards)
    assert read_groups(shards, paths) == [str(i // 3) for i in range(12)]
    assert read_groups(shards, paths, r"^(shard-\d+)") == [f"shard-{i // 6:06d}" for i in range(12)]
    parts = divide(shards, {"train": 0.5, "test": 0.5})
    assert not set(parts["train"].groups) & set(parts["test"].groups)


@pytest.mark.parametrize("way", ["tables", "folders"])
def test_parts_of_tars_are_written_as_tables_and_as_folders(shards, tmp_path, way):
    write_parts(divide(shards, {"train": 0.5, "test": 0.5}), tmp_path / "parts", way)
    train = tmp_path / "parts" / ("train.csv" if way == "tables" else "train")
    found = [read_image(path).tobytes() for own in list_domains(train).values() for path in own]
    assert len(found) == 6 and set(found) <= {read_image(path).tobytes() for path in list_images(shards)}


@pytest.mark.parametrize(("beside", "expected"), [(None, ["2", "10"]), (["mild"], ["10", "2"]),
                                                  ([*"abcdefghijk"], ["c", "k"])])
def test_class_numbers_take_names_where_a_file_gives_them(tmp_path, beside, expected):
    write_tar(tmp_path / "a.tar", {"0.png": png(0), "0.cls": b"10\n", "1.png": png(1), "1.cls": b"2"})
    if beside:
        (tmp_path / "domains.json").write_text(json.dumps(beside))
    assert sorted(list_domains(tmp_path)) == sorted(expected)
    if beside is None:
        assert list(list_domains(tmp_path)) == expected


def test_a_tar_among_other_files_is_no_source_of_images(tmp_path):
    write_tar(tmp_path / "backup.tar", {"0.png": png(0)})
    (tmp_path / "a.png").write_bytes(png(1))
    assert [Path(path).name for path in list_images(tmp_path)] == ["a.png"]
    assert "1 .tar (a tar)" in say_others(tmp_path)


def test_folders_of_tars_are_domains(tmp_path):
    for name in ("mild", "severe"):
        write_tar(tmp_path / name / "a.tar", {f"{i}.png": png(i) for i in range(2)})
    assert {name: len(paths) for name, paths in list_domains(tmp_path).items()} == {"mild": 2, "severe": 2}


def test_a_changed_tar_is_read_anew(tmp_path):
    write_tar(tmp_path / "a.tar", {"0.png": png(0)})
    path, = list_images(tmp_path)
    assert read_bytes(path) == png(0)
    write_tar(tmp_path / "a.tar", {"first.png": png(5), "0.png": png(1), "1.png": png(2)})
    assert read_bytes(path) == png(1) and len(list_images(tmp_path)) == 3


@pytest.mark.parametrize(("members", "message"), [
    ({"../out.png": b""}, "leads out of it"), ({"/etc/x.png": b""}, "leads out of it"),
    ({"0.json": b"{", "0.png": b""}, "can't be read as a tar"), ({"0.json": b"3", "0.png": b""}, "no object"),
    ({"0.cls": b"\xff", "0.png": b""}, "can't be read as a tar"), ({"notes.txt": b"x"}, "holds no images"),
])
def test_tars_that_are_no_source_are_refused(tmp_path, members, message):
    write_tar(tmp_path / "a.tar", members)
    with pytest.raises(UserError, match=message):
        list_images(tmp_path)


def test_damaged_and_compressed_tars_are_refused_by_name(tmp_path):
    whole = write_tar(tmp_path / "a.tar", {f"{i}.png": png(i) for i in range(4)}).read_bytes()
    for content in (whole[:3000], b"no tar at all" * 100, b""):
        (tmp_path / "a.tar").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.tar can't be read as a tar"):
            list_images(tmp_path)
    with tarfile.open(tmp_path / "a.tar", "w:gz") as file:
        file.addfile(tarfile.TarInfo("0.png"))
    with pytest.raises(UserError, match="not compressed"):
        list_images(tmp_path)


def test_a_name_that_stands_twice_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        for _ in range(2):
            file.addfile(tarfile.TarInfo("0.png"))
    with pytest.raises(UserError, match="holds 0.png twice"):
        open_shard(str(tmp_path / "a.tar"))
