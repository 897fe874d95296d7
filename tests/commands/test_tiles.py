"""tiles: every tile lies where it says and has the class that covers it, on slides drawn here."""
import csv

import numpy as np
import pytest
import tifffile

from add.data import phantom
from add.data.files import save_png
from add.data.folders import list_domains, list_images
from add.data.groups import read_groups
from add.data.image_file import read_image
from add.data.slides import tiling
from add.data.slides.annotations import read_annotations
from add.data.slides.slide_image import open_slide
from add.errors import UserError
from tests.commands.commands import run
from tests.commands.slide_fields import MPP, draw_field, square, write_annotations, write_drawn

openslide, shapely = pytest.importorskip("openslide"), pytest.importorskip("shapely")


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """A slide 20,480 pixels wide: tissue in rows 2 to 5 of 8; tumour left, and in it an island of normal tissue."""
    folder = tmp_path_factory.mktemp("slides")
    field = draw_field(8, 320, lambda row, column: not 2 <= row < 6)
    write_drawn(folder / "wide.tif", field)
    write_annotations(
        folder / "wide.geojson", ("Tumour: grade 2", "Polygon", square(0, 0, 64 * 40, 512)),
        ("Normal", "Polygon", square(64 * 8, 128, 64 * 4, 256)),
        ("Normal", "MultiPolygon", [square(64 * 100, 128, 64 * 20 + 20, 128), square(64 * 200, 128, 64 * 10, 256)]),
        ("", "Polygon", square(0, 0, 64, 64)), ("Necrosis", "Point", [64 * 300 + 32, 64 * 3 + 32]))
    return folder, field


@pytest.fixture(scope="module")
def cut(slides, tmp_path_factory):
    """(folder, rows of tiles.csv) of tiles at the slide's own resolution."""
    out = tmp_path_factory.mktemp("cut") / "out"
    assert run("tiles", "--slides_dir", slides[0], "--mpp", MPP, "--least_tissue", 0.01, "--out_dir", out) == 0
    with open(out / "tiles.csv", newline="") as file:
        return out, list(csv.DictReader(file))


def test_every_tile_lies_where_it_says(slides, cut):
    field, (out, rows) = slides[1], cut
    assert len(rows) == 320 * 4 - 2  # two that an annotation covers in part
    for row in rows[::37]:
        x, y = int(row["x"]), int(row["y"])
        assert np.array_equal(read_image(out / row["image"]), field[y:y + 64, x:x + 64])


def test_every_class_is_that_of_the_annotation_that_covers_the_tile(cut):
    """By hand from the drawing; of nested annotations the inner one, and none for a tile that is covered in part."""
    expected = {}
    for row in range(2, 6):
        for column in range(320):
            label = "Tumour: grade 2" if column < 40 else ""
            if 8 <= column < 12 or 200 <= column < 210 or 100 <= column < 120 and row < 4:
                label = "Normal"
            if not (column == 120 and row < 4):
                expected[column * 64, row * 64] = label
    found = {(int(row["x"]), int(row["y"])): row["class"] for row in cut[1]}
    assert found == expected


def test_tiles_are_sorted_into_folders_and_a_table_that_stands_for_one(cut):
    out, rows = cut
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == [
        "Normal", "Tumour_ grade 2", "thumbnails", "tiles.csv", "unlabelled"]
    domains = list_domains(out / "tiles.csv")
    assert {name: len(paths) for name, paths in domains.items()} == {"Normal": 96, "Tumour: grade 2": 144}
    assert set(read_groups(out / "tiles.csv", list_images(out / "tiles.csv"))) == {"wide"}
    assert {row["mpp"] for row in rows} == {"0.25"} and all(0 < float(row["tissue"]) <= 1 for row in rows)


def test_a_coarser_resolution_takes_more_of_the_slide(slides, tmp_path):
    """At 0.5 micrometres a tile of 64 pixels covers 128 of the slide, averaged in fours."""
    assert run("tiles", "--slides_dir", slides[0], "--mpp", 0.5, "--least_tissue", 0.01,
               "--out_dir", tmp_path / "out") == 0
    with open(tmp_path / "out" / "tiles.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {int(row["x"]) % 128 for row in rows} == {0} and 300 < len(rows) <= 320
    row = next(row for row in rows if int(row["y"]) == 128)
    region = slides[1][128:256, int(row["x"]):int(row["x"]) + 128].astype(float)
    expected = region.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(read_image(tmp_path / "out" / row["image"]) - expected).max() <= 1


def test_points_count_as_far_as_their_radius(slides):
    areas = read_annotations(slides[0] / "wide.geojson", point_radius=100)
    assert list(areas) == ["Necrosis", "Normal", "Tumour: grade 2"]
    assert areas["Necrosis"].area == pytest.approx(np.pi * 100**2, rel=0.02)
    assert "Necrosis" not in read_annotations(slides[0] / "wide.geojson")


def test_the_same_command_cuts_nothing_twice_and_other_options_are_refused(slides, cut, monkeypatch, capsys):
    out, rows = cut
    options = ["--slides_dir", slides[0], "--least_tissue", 0.01, "--out_dir", out]
    before = (out / "tiles.csv").read_bytes()
    monkeypatch.setattr("add.commands.tiles.cut_slide", None)
    assert run("tiles", *options, "--mpp", MPP) == 0 and (out / "tiles.csv").read_bytes() == before
    assert run("tiles", *options, "--mpp", 1) == 2
    assert "tiles that were cut otherwise (mpp)" in capsys.readouterr().err


def test_a_broken_slide_does_not_stop_the_others(slides, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name in ("wide.tif", "wide.geojson"):
        (tmp_path / "in" / name).symlink_to(slides[0] / name)
    (tmp_path / "in" / "broken.svs").write_bytes(b"no slide")
    options = ["--slides_dir", tmp_path / "in", "--mpp", 1, "--out_dir", tmp_path / "out"]
    assert run("tiles", *options) == 2
    assert "broken.svs" in capsys.readouterr().err
    assert run("tiles", *options, "--skip_bad") == 0
    printed = capsys.readouterr().out
    assert "left out: " in printed and "broken.svs" in printed and (tmp_path / "out" / "tiles.csv").exists()


def test_several_processes_cut_the_same(slides, tmp_path):
    for name in ("one", "two"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / f"{name}.tif").symlink_to(slides[0] / "wide.tif")
    for processes in (1, 2):
        assert run("tiles", "--slides_dir", tmp_path / "in", "--mpp", 2, "--processes", processes, "--out_dir",
                   tmp_path / str(processes)) == 0
    assert (tmp_path / "1" / "tiles.csv").read_bytes() == (tmp_path / "2" / "tiles.csv").read_bytes()


def test_a_picture_of_a_field_needs_its_resolution(tmp_path, capsys):
    save_png(tmp_path / "in" / "field.png", draw_field(3, 3, lambda row, column: False))
    options = ["--slides_dir", tmp_path / "in", "--out_dir", tmp_path / "out"]
    assert run("tiles", *options) == 2
    assert "does not tell how large its pixels are" in capsys.readouterr().err
    assert run("tiles", *options, "--source_mpp", 0.5, "--least_tissue", 0.01) == 0
    assert len(list_images(tmp_path / "out" / "tiles.csv")) == 9


@pytest.mark.parametrize("method", ["macenko", "reinhard"])
def test_stains_become_those_of_the_reference(slides, tmp_path, method):
    """A slide whose colours were shifted comes nearer to the reference than it was."""
    from skimage import data

    tissue = data.immunohistochemistry()[:256, :256]
    save_png(tmp_path / "reference.png", tissue[:128, :128])
    shifted = (tissue.astype(float) * (0.8, 0.9, 1.0)).astype(np.uint8)
    save_png(tmp_path / "in" / "a.png", shifted)
    options = ["--slides_dir", tmp_path / "in", "--source_mpp", 0.5, "--tile_size", 128, "--least_tissue", 0.1]
    means = {}
    for name, further in (("none", []), (method, ["--normalize", method, "--reference", tmp_path / "reference.png"])):
        assert run("tiles", *options, *further, "--out_dir", tmp_path / name) == 0
        tiles = [read_image(path) for path in list_images(tmp_path / name / "tiles.csv")]
        means[name] = np.mean(tiles, axis=(0, 1, 2))
    wanted = tissue[:128, :128].mean(axis=(0, 1))
    assert np.abs(means[method] - wanted).sum() < 0.8 * np.abs(means["none"] - wanted).sum()


def test_blurred_and_pen_marked_tiles_are_known():
    cell = phantom.render(0.5, 64, np.random.default_rng(0))
    smooth = np.full((64, 64, 3), (180, 120, 160), np.uint8)
    inked = cell.copy()
    inked[:20] = (20, 60, 200)
    assert tiling.sharpness(cell) > 5 > tiling.sharpness(smooth)
    assert tiling.pen_share(inked) > 0.3 and tiling.pen_share(cell) < 0.02


def test_a_blank_slide_has_no_tissue(tmp_path):
    save_png(tmp_path / "blank.png", np.full((256, 256, 3), 245, np.uint8))
    assert not tiling.find_tissue(open_slide(tmp_path / "blank.png")).mask.any()


@pytest.mark.parametrize(("content", "message"), [
    ("{", "GeoJSON"), ('{"features": 3}', "is no GeoJSON"), ("[]", "holds no area with a class"),
    ('[{"geometry": {"type": "Polygon", "coordinates": [[1]]}, "properties": {"class": "a"}}]', "damaged Polygon of a"),
])
def test_damaged_annotations_are_one_sentence(tmp_path, content, message):
    (tmp_path / "a.geojson").write_text(content)
    with pytest.raises(UserError, match=message):
        read_annotations(tmp_path / "a.geojson")


def test_two_slides_of_one_name_are_refused(tmp_path, capsys):
    for folder in ("a", "b"):
        save_png(tmp_path / "in" / folder / "same.png", np.zeros((8, 8, 3), np.uint8))
    assert run("tiles", "--slides_dir", tmp_path / "in", "--out_dir", tmp_path / "out") == 2
    assert "have one name" in capsys.readouterr().err


def test_ome_xml_tells_the_resolution(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((64, 64, 3), np.uint8), photometric="rgb",
                     metadata={"axes": "YXS", "PhysicalSizeX": 0.44, "PhysicalSizeXUnit": "µm"})
    assert open_slide(tmp_path / "a.ome.tif").mpp == pytest.approx(0.44)
