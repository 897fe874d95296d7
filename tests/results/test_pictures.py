"""Pictures read back: of one size, and one of another is named."""
import numpy as np
import pytest

from add.errors import UserError
from add.results.pictures import read_picture, read_pictures, step_evenness
from tests.tiny import make_images


def test_pictures_of_one_size_are_stacked(tmp_path):
    paths = sorted(make_images(tmp_path, count=3).glob("*.png"))
    assert read_pictures(paths).shape == (3, 16, 16, 3)
    assert (read_pictures(paths)[1] == read_picture(paths[1], (16, 16, 3))).all()


def test_one_of_another_size_is_named(tmp_path):
    paths = sorted(make_images(tmp_path, count=2).glob("*.png"))
    make_images(tmp_path / "large", count=1, size=32)
    with pytest.raises(UserError, match=r"a0.png is damaged .*32 x 32 pixels.*expected 16 x 16, as the first has"):
        read_pictures([*paths, tmp_path / "large" / "a0.png"])


@pytest.mark.parametrize(("shades", "evenness"), [
    ([0, 10, 20, 30], 0), ([0, 30, 30, 30], 0.5), ([0, 0, 0, 30], 0.5), ([0, 15, 0, 15], 0), ([7, 7, 7], None),
    ([0, 9], None)])
def test_evenness_of_steps(shades, evenness):
    """A step back counts as one: it is the way that is measured, not the distance from the source."""
    assert step_evenness(np.array(shades, np.uint8)[:, None, None, None] * np.ones((2, 2, 3), np.uint8)) == evenness
