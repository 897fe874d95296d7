import numpy as np

from add.results.overview import draw_overview


def pictures(amount, title):
    rng = np.random.default_rng(0)
    sources = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    targets = rng.integers(0, 256, (2, amount, 16, 16, 3), dtype=np.uint8)
    depths, labels = np.full((2, amount), 7), np.full((amount, 2), 0.5)
    return draw_overview(sources, targets, depths, labels, title), sources, targets


def test_sources_and_targets_stand_side_by_side_enlarged():
    picture, sources, targets = pictures(3, "mild to severe")
    assert picture.shape == (2 * 6 + 40 + 2 * (96 + 14 + 6) + 6, 6 + 4 * 102 + 6, 3)
    for row in range(2):
        top = 52 + row * 116
        np.testing.assert_array_equal(picture[top:top + 96:6, 6:102:6], sources[row])
        np.testing.assert_array_equal(picture[top:top + 96:6, 12 + 3 * 102:12 + 3 * 102 + 96:6], targets[row, 2])


def test_a_narrow_picture_is_as_wide_as_its_title():
    """The same title on a wide and on a narrow picture has all of its ink on both."""
    title = "mild: mild to severe (the first 2 of 20 source images)"
    wide, narrow = (pictures(amount, title)[0] for amount in (10, 1))
    ink = (wide[:26] < 255).any(axis=(0, 2)).nonzero()[0]
    assert ink[-1] > 2 * 102 + 12  # wider than the images
    np.testing.assert_array_equal(narrow[:26, :ink[-1] + 1], wide[:26, :ink[-1] + 1])
    assert narrow.shape[1] < wide.shape[1]
