"""Where tiles and captions stand in a contact sheet."""
import numpy as np
import pytest
from PIL import ImageFont

from add.results.contact_sheet import CAPTION, FONT_SIZE, contact_sheet
from add.results.overview import MARGIN, PAPER, SMALLEST_TILE, cut_to

STEP = SMALLEST_TILE + MARGIN, SMALLEST_TILE + CAPTION + MARGIN


def images_of(count, size=32):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def tile_at(sheet, row, column, size=SMALLEST_TILE):
    y, x = MARGIN + row * (size + CAPTION + MARGIN), MARGIN + column * (size + MARGIN)
    return sheet[y:y + size, x:x + size]


def caption_at(sheet, row, column):
    y, x = MARGIN + row * STEP[1] + SMALLEST_TILE, MARGIN + column * STEP[0]
    return sheet[y:y + CAPTION + MARGIN, x:x + STEP[0]]


@pytest.mark.parametrize(("count", "columns", "shape"), [
    (1, None, (1, 1)), (5, None, (2, 3)), (9, None, (3, 3)), (5, 5, (1, 5)), (5, 9, (1, 5)), (3, 1, (3, 1))])
def test_images_stand_row_by_row_enlarged_three_times(count, columns, shape):
    images = images_of(count)
    sheet = contact_sheet(images, columns=columns)
    assert sheet.shape == (MARGIN + shape[0] * STEP[1], MARGIN + shape[1] * STEP[0], 3) and sheet.dtype == np.uint8
    for i, image in enumerate(images):
        expected = image.repeat(3, axis=0).repeat(3, axis=1)
        np.testing.assert_array_equal(tile_at(sheet, *divmod(i, shape[1])), expected)


def test_large_images_keep_their_size():
    images = images_of(2, SMALLEST_TILE + 5)
    np.testing.assert_array_equal(tile_at(contact_sheet(images), 0, 1, SMALLEST_TILE + 5), images[1])


def test_wide_images_are_enlarged_by_their_shorter_side():
    sheet = contact_sheet(np.zeros((2, 48, 97, 3), np.uint8), columns=1)
    assert sheet.shape == (MARGIN + 2 * STEP[1], 2 * MARGIN + 194, 3)


def test_captions_stand_below_their_images():
    """Numbers unless told otherwise; the same words look the same, others don't, none leave paper."""
    numbered = contact_sheet(images_of(4))
    named = contact_sheet(images_of(4), ["mild", "severe", "mild", ""])
    np.testing.assert_array_equal(caption_at(named, 0, 0), caption_at(named, 1, 0))
    assert (caption_at(named, 0, 0) != caption_at(named, 0, 1)).any()
    assert (caption_at(named, 1, 1) == PAPER[0]).all()
    np.testing.assert_array_equal(numbered, contact_sheet(images_of(4), "0123"))
    np.testing.assert_array_equal(numbered, contact_sheet(images_of(4), range(4)))


def test_long_captions_do_not_reach_the_next_image():
    sheet = contact_sheet(images_of(2), ["a name that is wider than its image", ""])
    assert (caption_at(sheet, 0, 0)[:, SMALLEST_TILE:] == PAPER[0]).all()
    assert (caption_at(sheet, 0, 1) == PAPER[0]).all()
    font = ImageFont.load_default(FONT_SIZE)
    assert cut_to("short", 96, font) == "short" and cut_to("w" * 50, 1, font) == ""
    cut = cut_to("severe dysplasia of the cervix", 96, font)
    assert cut.endswith("…") and "severe dysplasia of the cervix".startswith(cut[:-1]) and len(cut) > 10


@pytest.mark.parametrize(("images", "options", "message"), [
    (np.zeros((0, 4, 4, 3), np.uint8), {}, "expected uint8"),
    (np.zeros((1, 4, 4, 3)), {}, "images are float64"),
    (np.zeros((1, 4, 4), np.uint8), {}, r"\[1, 4, 4\]: expected uint8 \[n, H, W, 3\]"),
    (np.zeros((2, 4, 4, 3), np.uint8), {"captions": ["one"]}, "1 captions were given for 2 images"),
    (np.zeros((2, 4, 4, 3), np.uint8), {"columns": 0}, "columns is 0: expected 1 or more"),
])
def test_other_input_is_refused(images, options, message):
    with pytest.raises(ValueError, match=message):
        contact_sheet(images, **options)
