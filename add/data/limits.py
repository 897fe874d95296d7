"""What reading one image file may cost, checked before its pixels are decoded.

A file of some kilobytes can claim a billion pixels, and a damaged one can keep a decoder busy for ever. So the pixels
are counted from the header, and decoding has to end in time.
"""
import threading
from collections.abc import Callable
from typing import TypeVar

from PIL import Image

from add.config import MAX_PIXELS
from add.data import files
from add.errors import UserError
from add.interfaces import PathLike

LONGEST = 256  # times its shorter side: an image's longer one; the shorter is scaled to the model's image size
MOST_SECONDS = 300.0  # to decode a file; the largest that are allowed take some seconds, or a minute on a busy machine
_WAITS = 100
_BYTES_PER_PIXEL = 32  # at most: four values in double precision
_HEADER_BYTES = 64 * 1024**2

Result = TypeVar("Result")

_max_pixels = MAX_PIXELS
_timed_elsewhere = False


def set_max_pixels(number: int) -> None:
    """Let this process read images of up to so many pixels; --max_pixels of the commands."""
    global _max_pixels
    if number < 1:
        raise UserError(f"--max_pixels is {number}, expected 1 or more")
    _max_pixels = number
    if Image.MAX_IMAGE_PIXELS is not None:  # Pillow's own limit is for twice as many
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, number)


def leave_time_to_others() -> None:
    """Let this process decode without threads of their own: another one watches how long it takes.

    On a busy machine, waiting for a thread takes longer than decoding a small image.
    """
    global _timed_elsewhere
    _timed_elsewhere = True


def max_pixels() -> int:
    """Return how many pixels an image may have in this process."""
    return _max_pixels


def check_size(height: int, width: int) -> None:
    """Raise UserError where an image of so many pixels is not to be decoded."""
    if height * width > _max_pixels:
        raise UserError(f"it has {width} x {height} pixels, expected at most {_max_pixels}: so many has only a whole "
                        f"slide; cut it into tiles first, or raise --max_pixels")
    if max(height, width) > LONGEST * min(height, width):
        raise UserError(f"it has {width} x {height} pixels, expected a longer side of at most {LONGEST} times the "
                        f"shorter one; cut it into pieces")


def check_bytes(path: PathLike) -> None:
    """Raise UserError for a local file that is larger than any image of as many pixels as are allowed."""
    most = _max_pixels * _BYTES_PER_PIXEL + _HEADER_BYTES
    if not files.is_url(path) and (size := files.file_size(path)) > most:
        raise UserError(f"it has {size / 1024**3:.1f} GiB, more than an image of {_max_pixels} pixels can have: cut it "
                        f"into tiles first, or raise --max_pixels")


def in_time(work: Callable[[], Result]) -> Result:
    """Return work(), done in a thread of its own.

    A decoder can't be stopped from outside. One that takes too long is left to itself, and ends with the process.

    Raises:
        UserError: it takes longer than MOST_SECONDS.
    """
    if _timed_elsewhere:
        return work()
    outcome: list[tuple[Result | None, BaseException | None]] = []

    def attempt():
        try:
            outcome.append((work(), None))
        except BaseException as error:  # raised again below
            outcome.append((None, error))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    for _ in range(_WAITS):  # short ones, so that a process that was stopped for a while goes on waiting
        thread.join(MOST_SECONDS / _WAITS)
        if not thread.is_alive():
            break
    if not outcome:
        raise UserError(f"it is not decoded after {MOST_SECONDS:g} s; save it anew with another program")
    result, error = outcome[0]
    if error is not None:
        raise error
    return result  # type: ignore[return-value]
