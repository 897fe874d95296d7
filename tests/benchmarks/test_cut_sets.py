"""Cutting public sets into tables: drawn photographs of cells, fields, and knees in the publishers' layouts."""
import csv

import numpy as np
import pytest
from PIL import Image

from add.errors import UserError
from benchmarks.cut_sets import cut, is_negative, main, read_points, repeatability

ROUND, LONG = (20, 20), (24, 12)  # half axes in pixels


def ellipse(pixels, x, y, half_axes, angle=0.0, value=90):
    rows, columns = np.mgrid[:pixels.shape[0], :pixels.shape[1]]
    along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
    across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
    pixels[(along / half_axes[0]) ** 2 + (across / half_axes[1]) ** 2 <= 1] = value


def write_photograph(folder, number, cells, background=210):
    """Write a photograph and its labels; cells: [(x, y, half axes, angle, type)]."""
    pixels = np.full((480, 640, 3), background, np.uint8)
    for x, y, half_axes, angle, _ in cells:
        ellipse(pixels, x, y, half_axes, angle)
    for part in ("Dataset", "Label"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / "Dataset" / f"{number}.jpg", quality=95)
    lines = [f"{x} {y} {kind}" for x, y, _, _, kind in cells]
    (folder / "Label" / f"{number}.txt").write_text("\n".join(lines) + "\n")


def table(folder):
    with open(folder / "table.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def photographs(tmp_path):
    """Of two smears: three with both types, and what is no single whole cell; one with round cells alone."""
    both = [(100, 100, ROUND, 0, 0), (300, 100, LONG, 0.6, 6), (500, 100, LONG, 0, 3)]
    touching = [(100, 300, ROUND, 0, 0), (136, 300, ROUND, 0, 0)]
    cut_off, near_the_edge = (5, 400, ROUND, 0, 0), (30, 200, ROUND, 0, 0)
    for number, background in ((3, 210), (5, 204), (12, 180)):
        write_photograph(tmp_path / "chula", number, [*both, *touching, cut_off, near_the_edge], background)
    write_photograph(tmp_path / "chula", 4, both[:1])
    return tmp_path / "chula"


def test_single_whole_cells_are_cut_and_measured(photographs, tmp_path, capsys):
    main(["--set", "red_cells", "--source", str(photographs), "--out_dir", str(tmp_path / "rbc"), "--test_share", "0.5",
          "--repeat"])
    said = capsys.readouterr().out
    assert " 4 images to train on, 2 to test on" in said or " 2 images to train on, 4 to test on" in said
    assert said.count("| 100.0% |") == 5
    rows = table(tmp_path / "rbc")
    assert [row["type"] for row in rows] == ["normal", "ovalocyte"] * 3
    assert [(row["smear"], row["photograph"]) for row in rows[::2]] == [  # none of one type alone; alike: one smear
        ("smear3", "3"), ("smear3", "5"), ("smear12", "12")]
    assert rows[0]["split"] == rows[2]["split"] != rows[4]["split"]
    for row, ratio, area in zip(rows, (1.0, 0.5) * 3, (np.pi * 400, np.pi * 24 * 12) * 3, strict=True):
        assert float(row["axis_ratio"]) == pytest.approx(ratio, abs=0.02)
        assert float(row["area_px"]) == pytest.approx(area, rel=0.03)
        pixels = np.asarray(Image.open(tmp_path / "rbc" / row["image"]))
        assert pixels.shape == (72, 72, 3) and pixels[36, 36].max() < 120 < pixels[2, 2].min()
    for _, found, _, bias, spread in repeatability(tmp_path / "rbc"):
        assert found == 1 and abs(bias) < 0.03 and spread < 0.03


def test_a_damaged_label_is_told_with_its_line(tmp_path):
    (tmp_path / "3.txt").write_text("1 2 0\n5 6\n")
    with pytest.raises(UserError, match="line 2 is '5 6'"):
        read_points(tmp_path / "3.txt")


def test_nuclei_are_cut_where_the_field_holds_the_square(tmp_path):
    source = tmp_path / "cric"
    source.mkdir()
    pixels = np.full((300, 400, 3), 200, np.uint8)
    pixels[150, 250] = 0
    Image.fromarray(pixels).save(source / "f1.png")
    lines = ["image_id,image_filename,image_doi,cell_id,bethesda_system,nucleus_x,nucleus_y",
             "1,f1.png,d,11,Negative for intraepithelial lesion,250,150", "1,f1.png,d,12,ASC-US,200,100",
             "1,f1.png,d,13,LSIL,20,100", "1,f1.png,d,14,SCC,200,100"]
    (source / "classifications.csv").write_text("\n".join(lines))
    cut("pap_cells", source, tmp_path / "pap", 0, 0)
    rows = table(tmp_path / "pap")
    assert [(row["image"], row["class"], row["split"]) for row in rows] == [
        ("images/f1_11.png", "NILM", "train"), ("images/f1_12.png", "ASC-US", "train")]
    found = np.asarray(Image.open(tmp_path / "pap" / rows[0]["image"]))
    assert found.shape == (96, 96, 3) and (found[48, 48] == 0).all()


def knee():
    """A bright bone, its left edge brighter, in the dark."""
    pixels = np.full((224, 224, 3), 20, np.uint8)
    pixels[:, 40:184] = 170
    pixels[:, 40:60] = 230
    return pixels


def test_knees_become_right_ones_with_bright_bones(tmp_path):
    for name, pixels in {"train/0/9000001R": knee(), "test/3/9000001L": knee()[:, ::-1],
                         "val/4/9000002R": 255 - knee()}.items():
        path = tmp_path / "knees" / f"{name}.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(np.ascontiguousarray(pixels[..., 0])).save(path)
    cut("knees", tmp_path / "knees", tmp_path / "out", 0.5, 0)
    rows = {row["image"]: row for row in table(tmp_path / "out")}
    assert {name: row["grade"] for name, row in rows.items()} == {
        "images/patient9000001_R.png": "0", "images/patient9000001_L.png": "3", "images/patient9000002_R.png": "4"}
    assert len({row["split"] for name, row in rows.items() if "9000001" in name}) == 1  # both knees of a patient
    images = [np.asarray(Image.open(tmp_path / "out" / name)).astype(int) for name in rows]
    assert all(image.shape == (128, 128, 3) and np.abs(image - images[0]).max() == 0 for image in images)
    assert is_negative(255 - knee()) and not is_negative(knee())


def test_a_folder_that_is_there_and_one_without_images_are_refused(tmp_path):
    with pytest.raises(UserError, match="--out_dir .* exists, expected a new folder"):
        cut("knees", tmp_path, tmp_path, 0.3, 0)
    with pytest.raises(UserError, match="holds no images of knees"):
        cut("knees", tmp_path, tmp_path / "out", 0.3, 0)
    assert not (tmp_path / "out").exists()
