"""Whole phantom fields: seamless, reproducible, and as severe where they say so as single images."""
import json

import numpy as np
import pytest
import tifffile

from add.data.phantom import NUCLEAR_RED_DENSITY, measure_nuclei, render
from add.data.phantom_field import PhantomField
from add.data.slides.drawn_slides import areas_of, draw_slides, write_slide

SIZE = 32


@pytest.fixture(scope="module")
def field():
    """(PhantomField, its pixels)."""
    drawn = PhantomField(12, 16, SIZE, 3)
    return drawn, np.concatenate(list(drawn.strips()))


def test_a_field_is_the_same_each_time_and_another_with_another_seed(field):
    drawn, pixels = field
    assert pixels.shape == (*drawn.shape, 3) == (12 * SIZE, 16 * SIZE, 3)
    assert np.array_equal(pixels, np.concatenate(list(PhantomField(12, 16, SIZE, 3).strips())))
    assert not np.array_equal(pixels, np.concatenate(list(PhantomField(12, 16, SIZE, 4).strips())))


def test_severities_cover_all_and_change_smoothly(field):
    severity = field[0].severity
    known = severity[~np.isnan(severity)]
    assert known.min() < 0.1 and known.max() > 0.9 and 0.4 < known.mean() < 0.6
    assert np.nanmean(np.abs(np.diff(severity, axis=1))) < 0.15
    assert np.isnan(severity[0, 0]) and not np.isnan(severity[6, 8])


def test_no_seam_shows_where_squares_meet(field):
    """Differences of neighbouring pixels across borders of squares are those inside squares."""
    rows = np.abs(np.diff(field[1].astype(float), axis=0)).mean(axis=(1, 2))
    columns = np.abs(np.diff(field[1].astype(float), axis=1)).mean(axis=(0, 2))
    for steps in (rows, columns):
        border = np.arange(len(steps)) % SIZE == SIZE - 1
        assert steps[border].mean() < 1.1 * steps[~border].mean()


def test_squares_look_as_severe_as_they_are(field):
    """Share and darkness of the nuclei grow with severity, to what single images have."""
    drawn, pixels = field
    known = np.argwhere(~np.isnan(drawn.severity))
    severity = np.array([drawn.severity[row, column] for row, column in known])
    share = np.array([measure_nuclei(pixels[row * SIZE:(row + 1) * SIZE, column * SIZE:(column + 1) * SIZE])[0]
                      for row, column in known])
    assert np.corrcoef(severity, share)[0, 1] > 0.6
    rng = np.random.default_rng(0)
    for low, high in ((0, 0.2), (0.8, 1)):
        own = share[(severity >= low) & (severity <= high)].mean()
        single = np.mean([measure_nuclei(render(s, SIZE, rng))[0] for s in rng.uniform(low, high, 40)])
        assert own == pytest.approx(single, rel=0.3)


def test_a_square_without_tissue_is_pale(field):
    density = -np.log(np.maximum(field[1][:SIZE // 2, :SIZE // 2, 0], 1) / 255)
    assert density.max() < NUCLEAR_RED_DENSITY


def test_slides_have_levels_a_resolution_areas_and_their_truth(tmp_path):
    pytest.importorskip("shapely")
    draw_slides(tmp_path, 2, (6, 10), SIZE, 0.5, {"mild": (0, 0.3), "severe": (0.7, 1)}, seed=0)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")) == [
        *(f"slides/field_{i}.{ending}" for i in (0, 1) for ending in ("geojson", "tif")),
        *(f"truth/field_{i}.csv" for i in (0, 1))]
    with tifffile.TiffFile(tmp_path / "slides" / "field_0.tif") as file:
        assert [page.shape for page in file.pages] == [(192, 320, 3), (48, 80, 3)]
        assert np.array_equal(file.pages[0].asarray(), np.concatenate(list(PhantomField(6, 10, SIZE, 0).strips())))
        assert file.pages[0].tags["XResolution"].value[0] / file.pages[0].tags["XResolution"].value[1] == 20000
    areas = json.loads((tmp_path / "slides" / "field_0.geojson").read_text())["features"]
    assert [area["properties"]["classification"]["name"] for area in areas] == ["mild", "severe"]


def test_areas_hold_the_squares_of_their_band():
    shapely = pytest.importorskip("shapely")
    drawn = PhantomField(8, 8, SIZE, 1)
    area, = areas_of(drawn, {"severe": (0.7, 1)})["features"]
    shape = shapely.geometry.shape(area["geometry"])
    for row, column in np.argwhere(~np.isnan(drawn.severity)):
        inside = shape.contains(shapely.Point((column + 0.5) * SIZE, (row + 0.5) * SIZE))
        assert inside == (drawn.severity[row, column] >= 0.7)


def test_a_slide_is_whole_or_not_there(tmp_path):
    def broken():
        yield np.zeros((32, 40, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_slide(tmp_path / "a.tif", broken(), (64, 40), 0.5)
    assert not list(tmp_path.iterdir())
