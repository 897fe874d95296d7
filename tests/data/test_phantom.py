"""The phantom's pictures show their severity, and nothing but chance besides."""
import csv
import dataclasses
import itertools

import numpy as np
import pytest

from add.data import folders, phantom
from add.errors import UserError

SIZE = 32
BANDS = {"calm": (0.0, 0.2), "middle": (0.4, 0.6), "wild": (0.8, 1.0)}


def draw(severity, seed=0, size=SIZE):
    return phantom.render(severity, size, np.random.default_rng(seed))


def grey(image):
    return image.astype(np.float64).mean(axis=-1)


def correlation(one, other):
    return np.corrcoef(grey(one).ravel(), grey(other).ravel())[0, 1]


@pytest.fixture(scope="module")
def measured():
    """{severity: (share, darkness) [images, 2]} of the same layouts at three severities."""
    return {severity: np.array([phantom.measure_nuclei(draw(severity, seed)) for seed in range(8)])
            for severity in (0.1, 0.5, 0.9)}


@pytest.mark.parametrize("size", [16, 33, 64])
def test_one_seed_is_one_picture_of_any_size(size):
    image = draw(0.4, seed=3, size=size)
    assert image.dtype == np.uint8 and image.shape == (size, size, 3)
    np.testing.assert_array_equal(image, draw(0.4, seed=3, size=size))
    assert (image != draw(0.4, seed=4, size=size)).mean() > 0.5


@pytest.mark.parametrize("severity", [0.1, 0.9])
def test_other_sizes_show_the_same_picture(severity):
    small, large = draw(severity, size=32), draw(severity, size=64)
    shrunk = large.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - shrunk).mean() < 4
    assert correlation(small, shrunk) > 0.99


def test_a_small_step_of_severity_is_a_small_step_of_the_picture():
    """No cell jumps in on the way from 0 to 1: that would change the mean by 5 of 255 or more at once."""
    pictures = [grey(draw(severity, seed=2, size=16)) for severity in np.linspace(0, 1, 81)]
    steps = [np.abs(later - earlier).mean() for earlier, later in itertools.pairwise(pictures)]
    assert max(steps) < 2.5
    assert np.abs(pictures[-1] - pictures[0]).mean() > 30


def test_the_same_numbers_are_drawn_whatever_the_severity():
    states = []
    for severity in (0.0, 0.5, 1.0):
        rng = np.random.default_rng(5)
        phantom.render(severity, SIZE, rng)
        states.append(rng.bit_generator.state)
    assert states[0] == states[1] == states[2]


def test_one_seed_at_two_severities_keeps_the_layout():
    """Ground stays ground, nuclei stay nuclei, and chance alone makes no such likeness."""
    same = np.mean([correlation(draw(0.3, seed), draw(0.7, seed)) for seed in range(3)])
    different = np.mean([correlation(draw(0.3, seed), draw(0.7, seed + 50)) for seed in range(3)])
    assert same > 0.6 and abs(different) < 0.2
    for seed in range(4):
        nuclear, later = (-np.log(draw(severity, seed)[..., 0] / 255) > phantom.NUCLEAR_RED_DENSITY
                          for severity in (0.3, 0.5))
        assert later[nuclear].mean() > 0.9


def test_nuclei_cover_more_and_get_darker_with_severity(measured):
    for column in range(2):
        mild, middle, severe = (measured[severity][:, column] for severity in (0.1, 0.5, 0.9))
        assert mild.mean() < middle.mean() < severe.mean()
        assert (mild < severe).all()
    assert measured[0.9][:, 0].mean() > 3 * measured[0.1][:, 0].mean()


@pytest.mark.parametrize("name, share, darkness", [
    ("cells", 1.5, None), ("nucleus_radius", 2, None), ("nucleus_variation", None, None),
    ("cytoplasm_radius", None, None), ("irregularity", None, None), ("darkness", None, 1.3),
    ("darkness_variation", None, None), ("chromatin_contrast", None, None), ("chromatin_coarseness", None, None),
    ("nucleoli", None, 1.05),
])
def test_every_field_of_the_look_shows_on_its_own(monkeypatch, name, share, darkness):
    """`share` and `darkness` are the least ratios of severity 1 to severity 0 where the field alone differs."""
    alone = dataclasses.replace(phantom.MILDEST, **{name: getattr(phantom.SEVEREST, name)})
    monkeypatch.setattr(phantom, "SEVEREST", alone)
    mild, severe = ([draw(severity, seed) for seed in range(3)] for severity in (0, 1))
    assert all((one != other).any() for one, other in zip(mild, severe, strict=True))
    before, after = (np.mean([phantom.measure_nuclei(image) for image in images], axis=0) for images in (mild, severe))
    assert share is None or after[0] > share * before[0]
    assert darkness is None or after[1] > darkness * before[1]


def test_stains_are_pink_and_blue_on_a_pale_ground():
    image = draw(0.2, seed=1, size=64).astype(np.float64)
    nuclear = -np.log(image[..., 0] / 255) > phantom.NUCLEAR_RED_DENSITY
    red, green, blue = image[nuclear].mean(axis=0)
    assert blue > red > green
    red, green, blue = image[~nuclear & (image[..., 1] < 190)].mean(axis=0)
    assert red > green + 40 and blue > green + 40
    assert np.quantile(image.min(axis=-1), 0.9) > 215


def test_look_is_a_straight_line_between_its_ends():
    assert phantom.look_at(0) == phantom.MILDEST
    assert phantom.look_at(1) == phantom.SEVEREST
    middle = (phantom.MILDEST.nucleus_radius + phantom.SEVEREST.nucleus_radius) / 2
    assert phantom.look_at(0.5).nucleus_radius == pytest.approx(middle)


def test_measure_of_plain_colours():
    image = np.full((4, 4, 3), 255, dtype=np.uint8)
    assert phantom.measure_nuclei(image) == (0, 0)
    image[:2] = 94  # log(255 / 94) = 0.998
    share, darkness = phantom.measure_nuclei(image)
    assert share == 0.5 and darkness == pytest.approx(0.998, abs=1e-3)


def test_severities_fill_their_band():
    drawn = phantom.domain_severities((0.7, 1.0), 500, np.random.default_rng(0))
    assert 0.7 <= drawn.min() < 0.71 and 0.99 < drawn.max() <= 1
    np.testing.assert_array_equal(drawn[:9], phantom.domain_severities((0.7, 1.0), 9, np.random.default_rng(0)))


def test_a_set_is_written_with_its_truth(tmp_path):
    phantom.make_phantom_set(tmp_path, BANDS, num_train=3, num_test=2, size=SIZE, seed=7)
    with open(tmp_path / "severity.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["image", "domain", "split", "severity"]
    assert {row[0] for row in rows} == {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")}
    assert len({(tmp_path / row[0]).read_bytes() for row in rows}) == len(rows) == 15
    for image, domain, split, severity in rows:
        assert image.startswith(f"{split}/{domain}/")
        low, high = BANDS[domain]
        assert low <= float(severity) <= high
    assert {split: {name: len(paths) for name, paths in folders.list_domains(tmp_path / split).items()}
            for split in phantom.SPLITS} == {"train": dict.fromkeys(BANDS, 3), "test": dict.fromkeys(BANDS, 2)}


def test_more_images_of_a_seed_begin_with_the_same(tmp_path):
    band = {"all": (0.0, 1.0)}
    phantom.make_phantom_set(tmp_path / "few", band, num_train=2, num_test=0, size=SIZE, seed=1)
    phantom.make_phantom_set(tmp_path / "many", band, num_train=3, num_test=1, size=SIZE, seed=1)
    few = sorted((tmp_path / "few").rglob("*.png"))
    assert len(few) == 2
    for path in few:
        assert path.read_bytes() == (tmp_path / "many" / path.relative_to(tmp_path / "few")).read_bytes()


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="is not empty: expected a new or empty folder"):
        phantom.make_phantom_set(tmp_path, BANDS, 1, 0, SIZE, 0)
    with pytest.raises(UserError, match="is a file"):
        phantom.make_phantom_set(tmp_path / "mine.txt", BANDS, 1, 0, SIZE, 0)
    with pytest.raises(UserError, match="expected a local folder"):
        phantom.make_phantom_set("gs://bucket/set", BANDS, 1, 0, SIZE, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name, value", [("num_train", 0), ("num_test", -1), ("size", 8), ("seed", -1)])
def test_numbers_that_make_no_set(tmp_path, name, value):
    numbers = {"num_train": 1, "num_test": 1, "size": SIZE, "seed": 0, name: value}
    with pytest.raises(UserError, match=f"{name} is {value}: expected"):
        phantom.make_phantom_set(tmp_path / "out", BANDS, **numbers)
    assert not (tmp_path / "out").exists()


def test_bands_are_read_from_text():
    assert phantom.parse_bands("mild:0:0.3,severe:0.7:1") == phantom.DEFAULT_BANDS
    assert phantom.parse_bands("a:0:.1, b:.2:.2, c:.5:1") == {"a": (0, 0.1), "b": (0.2, 0.2), "c": (0.5, 1)}


@pytest.mark.parametrize("text, message", [
    ("", "expected NAME:LOW:HIGH"), ("mild", "expected NAME:LOW:HIGH"), ("mild:0:low", "expected NAME:LOW:HIGH"),
    ("mild:0:0.3,", "expected NAME:LOW:HIGH"), ("a:0:1,a:0:1", "two bands are named 'a'"),
    ("a:0.5:0.2", "expected 0 <= low <= high <= 1"), ("a:0:30", "expected 0 <= low <= high <= 1"),
    ("a:nan:1", "expected 0 <= low <= high <= 1"), ("../a:0:1", "expected a plain folder name"),
    (":0:1", "expected a plain folder name"),
])
def test_bands_that_make_no_domains(text, message):
    with pytest.raises(UserError, match=message):
        phantom.parse_bands(text)


def test_no_bands_at_all():
    with pytest.raises(UserError, match="no bands of severity"):
        phantom.check_bands({})


@pytest.mark.parametrize("severity", [-0.1, 1.1, float("nan")])
def test_severity_outside_its_range(severity):
    with pytest.raises(ValueError, match="expected 0 <= severity <= 1"):
        draw(severity)


def test_a_size_without_room_for_cells():
    with pytest.raises(ValueError, match="expected 16 pixels or more"):
        draw(0.5, size=8)
