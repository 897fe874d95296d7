"""A file that claims too much is refused before it is decoded, and a decoder that hangs is not waited for."""
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from add.config import MAX_PIXELS
from add.data import ImageSet, folders, limits
from add.data.image_file import read_header, read_image
from add.data.read_images import read_folder
from add.errors import UserError


@pytest.fixture
def few_pixels():
    limits.set_max_pixels(50)
    yield
    limits.set_max_pixels(MAX_PIXELS)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.webp", "a.jp2"])
@pytest.mark.parametrize("read", [read_image, read_header])
def test_more_pixels_than_allowed_are_refused(tmp_path, few_pixels, name, read):
    Image.new("RGB", (10, 5)).save(tmp_path / name)
    read(tmp_path / name)
    Image.new("RGB", (10, 6)).save(tmp_path / name)
    with pytest.raises(UserError, match=f"{name}.*has 10 x 6 pixels, expected at most 50.*or raise --max_pixels"):
        read(tmp_path / name)


@pytest.mark.parametrize(("mode", "name"), [("1", "a.png"), ("I;16", "a.tif"), ("L", "a.tif")])
def test_a_small_file_of_very_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch, mode, name):
    """13000 x 13000 pixels took 1.9 to 3.5 GiB; here a decoder that starts would fail."""
    options = {"compression": "tiff_deflate"} if name == "a.tif" else {}
    Image.new(mode, (8000, 6300)).save(tmp_path / name, **options)
    assert (tmp_path / name).stat().st_size < 200_000
    monkeypatch.setattr(Image.core, "new", lambda *given: pytest.fail("memory was taken"))
    with pytest.raises(UserError, match="has 8000 x 6300 pixels"):
        read_image(tmp_path / name)


def test_what_is_refused_is_left_out_by_skip_bad(tmp_path, few_pixels):
    Image.new("RGB", (5, 5)).save(tmp_path / "a.png")
    Image.new("RGB", (50, 50)).save(tmp_path / "b.png")
    images, kept, bad = read_folder(folders.list_images(tmp_path), 4, skip_bad=True)
    assert len(kept) == 1 and bad[0][1].startswith("it has 50 x 50 pixels")
    with pytest.raises(UserError, match="b.png: it has 50 x 50 pixels"):
        ImageSet.from_folder(tmp_path, 4, memory_limit=0)


def test_a_line_is_no_image(tmp_path):
    """Scaled to 64 pixels in height, a line of a million pixels has 4 billion."""
    Image.new("L", (256, 1)).save(tmp_path / "a.png")
    assert ImageSet.from_folder(tmp_path, 4).images.shape == (1, 4, 4, 3)
    Image.new("L", (1_000_000, 1)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="1000000 x 1 pixels, expected a longer side of at most 256 times"):
        ImageSet.from_folder(tmp_path, 64)


def test_a_file_larger_than_any_allowed_image_is_not_read(tmp_path, few_pixels, monkeypatch):
    monkeypatch.setattr(limits, "_HEADER_BYTES", 100)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="more than an image of 50 pixels can have"):
        read_image(tmp_path / "a.png")


def test_pillow_allows_what_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # Pillow refuses more than twice as many
    Image.new("RGB", (9, 6)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="only a whole slide has; cut it into tiles first"):
        read_image(tmp_path / "a.png")
    limits.set_max_pixels(MAX_PIXELS)
    assert read_image(tmp_path / "a.png").shape == (6, 9, 3)


def test_a_decoder_that_hangs_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MOST_SECONDS", 0.1)
    Image.new("RGB", (9, 6)).save(tmp_path / "slow.png")
    assert read_image(tmp_path / "slow.png").shape == (6, 9, 3)
    monkeypatch.setattr(Image, "open", lambda *given, **options: time.sleep(2))
    start = time.monotonic()
    with pytest.raises(UserError, match="slow.png.*not decoded after 0.1 s"):
        read_image(tmp_path / "slow.png")
    assert time.monotonic() - start < 1


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
def test_a_process_that_was_stopped_goes_on_waiting():
    """A shell's Ctrl-Z, or a batch system that makes room: that time is none of the decoder's."""
    program = ("import time; from add.data import limits; limits.MOST_SECONDS = 1.0; print('ready', flush=True); "
               "print(limits.in_time(lambda: [time.sleep(0.01) for _ in range(30)] and 'done'))")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.2)
        process.send_signal(signal.SIGCONT)
        assert process.stdout.read() == "done\n"


def test_what_the_work_raises_comes_through():
    assert limits.in_time(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        limits.in_time(lambda: 1 / 0)


def test_no_pixels_are_no_limit():
    with pytest.raises(UserError, match="--max_pixels is 0, expected 1 or more"):
        limits.set_max_pixels(0)
