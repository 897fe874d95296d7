"""Pictures read back: of one size, and one of another is named."""
import pytest

from add.errors import UserError
from add.results.pictures import read_picture, read_pictures
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
