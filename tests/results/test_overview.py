import numpy as np
from PIL import ImageFont

from add.results.overview import cut_to, draw_overview, label_text


def pictures(amount, title):
    rng = np.random.default_rng(0)
    sources = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    targets = rng.integers(0, 256, (2, amount, 16, 16, 3), dtype=np.uint8)
    captions = [["depth 7"] * amount] * 2
    picture = draw_overview(sources, targets, captions, ["50 % severe"] * amount, ["a.png", "b.png"], title)
    return picture, sources, targets


def test_sources_and_targets_stand_side_by_side_enlarged():
    picture, sources, targets = pictures(3, "mild to severe")
    assert picture.shape == (2 * 6 + 40 + 2 * (96 + 14 + 6) + 6, 6 + 4 * 102 + 6, 3)
    for row in range(2):
        top = 52 + row * 116
        np.testing.assert_array_equal(picture[top:top + 96:6, 6:102:6], sources[row])
        np.testing.assert_array_equal(picture[top:top + 96:6, 12 + 3 * 102:12 + 3 * 102 + 96:6], targets[row, 2])


def test_a_narrow_picture_is_as_wide_as_its_title():
    """The same title on a wide and on a narrow picture has all of its ink on both."""
    title = "mild to moderate to severe: 12 of 2000 source images"
    wide, narrow = (pictures(amount, title)[0] for amount in (10, 1))
    ink = (wide[:26] < 255).any(axis=(0, 2)).nonzero()[0]
    assert ink[-1] > 2 * 102 + 12  # wider than the images
    np.testing.assert_array_equal(narrow[:26, :ink[-1] + 1], wide[:26, :ink[-1] + 1])
    assert narrow.shape[1] < wide.shape[1]


def test_labels_are_told_in_words_by_the_last_domain_reached():
    way, names = (2, 0, 1), ("normal", "mild", "severe")
    assert label_text([0.3, 0.0, 0.7], way, names) == "30 % mild"
    assert label_text([0.75, 0.25, 0.0], way, names) == "25 % severe"
    assert label_text([0.0, 1.0, 0.0], way, names) == "100 % severe"
    assert label_text([0.3, 0.5, 0.2], way, names) == "20 / 30 / 50 %"
    assert label_text([0.0, 0.5, 0.5], way, names) == "50 / 0 / 50 %"


def test_long_texts_are_cut_where_they_end():
    font = ImageFont.load_default(11)
    assert cut_to("short", 100, font) == "short"
    cut = cut_to("a_very_long_file_name_of_a_tile.png", 100, font)
    assert cut.endswith("…") and 80 < font.getlength(cut) <= 100
