"""Manifests: a table in place of a folder, wherever images are read, with classes, groups and severities."""
import csv

import numpy as np
import pytest

from add.data import manifest
from add.data.dataset import ImageSet
from add.data.files import relative_name, save_png
from add.data.folders import holds_domains, list_domains, list_images, say_others
from add.data.groups import read_groups
from add.data.manifest import manifest_of
from add.data.read_back import each_row
from add.data.severity_table import read_severity
from add.errors import UserError
from tests.commands.commands import run


def write_images(folder, names):
    for i, name in enumerate(names):
        save_png(folder / name, np.full((16, 16, 3), 20 * i, np.uint8))


def write_table(path, *rows, header="image,class,group,severity"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]))
    return path


@pytest.fixture
def table(tmp_path):
    """A manifest of four images in two folders, one beside the table and one above it."""
    write_images(tmp_path, ["tables/s1/a.png", "tables/s1/b.png", "slides/s2/a.png", "slides/s2/c.png"])
    write_images(tmp_path / "tables" / "s1", ["left_out.png"])
    return write_table(tmp_path / "tables" / "tiles.csv", "s1/a.png,mild,s1,0.1", "s1/b.png,severe,s1,0.9",
                       "../slides/s2/a.png,mild,s2,0.2", "../slides/s2/c.png,severe,s2,0.8")


def test_a_table_lists_the_images_it_names(table):
    names = [relative_name(table, path) for path in list_images(table)]
    assert sorted(names) == ["s1/a.png", "s1/b.png", "slides/s2/a.png", "slides/s2/c.png"]
    assert [relative_name(table / "mild", path) for path in list_images(table / "mild")] == [
        "slides/s2/a.png", "s1/a.png"]
    assert say_others(table) == "" and holds_domains(table)


def test_classes_are_its_domains(table):
    domains = list_domains(table)
    assert list(domains) == ["mild", "severe"]
    for name, paths in domains.items():
        assert paths == list_images(table / name)
    images = ImageSet.from_domains(table, 16)
    assert images.labels.tolist() == [0, 0, 1, 1] and images.names == [
        "slides/s2/a.png", "s1/a.png", "slides/s2/c.png", "s1/b.png"]


def test_groups_and_severities_are_its_columns(table):
    paths = list_images(table)
    assert read_groups(table, paths) == ["s2", "s2", "s1", "s1"]
    assert read_groups(table, paths, r"([ab])\.png|c") == ["a", "c", "a", "b"]
    assert read_severity(table, paths).tolist() == [0.2, 0.8, 0.1, 0.9]
    assert read_severity(table / "severe", list_images(table / "severe")).tolist() == [0.8, 0.9]


def test_a_table_of_tiles_has_slides(tmp_path):
    write_images(tmp_path, ["a.png"])
    table = write_table(tmp_path / "t.csv", "a.png,mild,slide7,10,20", header="image,class,slide,x,y")
    assert read_groups(table, list_images(table)) == ["slide7"] and read_severity(table, list_images(table)) is None


def test_columns_may_be_left_out(tmp_path):
    write_images(tmp_path, ["a.png", "b.png"])
    table = write_table(tmp_path / "t.csv", "a.png", "b.png", header="image")
    assert len(list_images(table)) == 2 and read_groups(table, list_images(table)) is None and not holds_domains(table)
    with pytest.raises(UserError, match="names no class for its 2 images"):
        list_domains(table)
    with pytest.raises(UserError, match="no column class, or an empty one, so there is no mild in it"):
        list_images(table / "mild")


@pytest.mark.parametrize(("rows", "message"), [
    (["a.png,mild,,", "a.png,severe,,"], "names 1 images twice"),
    (["a.png,mild,,", "notes.txt,mild,,"], "names 1 files that are no images, such as .*notes.txt"),
    (["a.png,mild,,high"], "the severity 'high': expected a number"),
    ([], "t.csv has no rows"),
])
def test_what_a_table_can_have_wrong_is_told(tmp_path, rows, message):
    write_images(tmp_path, ["a.png"])
    with pytest.raises(UserError, match=message):
        list_images(write_table(tmp_path / "t.csv", *rows))


def test_a_class_or_a_group_that_is_not_there_is_told(table, tmp_path):
    with pytest.raises(UserError, match="has no images of the class normal: expected one of mild, severe"):
        list_images(table / "normal")
    table.write_text(table.read_text().replace(",s2,0.8", ",,0.8"))
    with pytest.raises(UserError, match="names no group for 1 of its images, such as .*c.png"):
        read_groups(table, list_images(table))


def test_a_folder_called_csv_is_a_folder(tmp_path):
    write_images(tmp_path / "set.csv", ["a.png"])
    assert manifest_of(tmp_path / "set.csv") is None and len(list_images(tmp_path / "set.csv")) == 1


def test_a_missing_image_is_told_of(table):
    (table.parent / "s1" / "a.png").unlink()
    with pytest.raises(UserError, match="1 of 4 files cannot be read as images"):
        ImageSet.from_folder(table, 16)


def test_training_keeps_the_groups_of_a_table_together(table, tmp_path, capsys):
    """A domain of it by FILE.csv and --domain; half of the images are held out, by slide."""
    tiny = ["--image_size", 16, "--num_channels", 32, "--num_res_blocks", 1, "--channel_mult", 1, "--batch_size", 2,
            "--attention_resolutions", "", "--max_steps", 1, "--num_preview", 0, "--log_to", "none", "--device", "cpu"]
    assert run("train", *tiny, "--data_dir", table, "--domain", "mild", "--val_fraction", 0.5, "--run_dir",
               tmp_path / "run") == 0
    assert "1 training images, 1 held out" in capsys.readouterr().out


def test_a_translation_of_a_table_names_its_images(table, tmp_path):
    options = ["--amount", 1, "--source_model_path", tmp_path / "mild"]
    tiny = ["--image_size", 16, "--num_channels", 32, "--num_res_blocks", 1, "--channel_mult", 1, "--batch_size", 2,
            "--attention_resolutions", "", "--max_steps", 1, "--num_preview", 0, "--log_to", "none", "--device", "cpu"]
    for name in ("mild", "severe"):
        assert run("train", *tiny, "--data_dir", table / name, "--run_dir", tmp_path / name) == 0
    assert run("translate", *options, "--target_model_path", tmp_path / "severe", "--data_dir", table / "mild",
               "--direction", "forward", "--encode_steps", 3, "--decode_steps", 3, "--out_dir", tmp_path / "out") == 0
    with open(tmp_path / "out" / "translation_0_1" / "labels.csv", newline="") as file:
        assert [row["source_image"] for row in csv.DictReader(file)] == ["slides/s2/a.png", "s1/a.png"]


def test_a_table_is_read_once_until_it_changes(table, monkeypatch):
    read = []
    monkeypatch.setattr(manifest, "each_row", lambda *args: read.append(args) or each_row(*args))
    paths = list_images(table)
    assert holds_domains(table) and list_domains(table) and list_images(table / "mild")
    assert read_groups(table, paths) and read_severity(table, paths) is not None and len(read) == 1
    write_table(table, "s1/a.png,mild,s9,0.5")
    assert read_groups(table, list_images(table)) == ["s9"] and len(read) == 2
