"""Reading lists of image files, several at a time: bad ones are all named in one message before work begins."""
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from add.data import transforms
from add.data.image_file import KINDS, read_image, say_reason
from add.data.in_threads import map_in_threads
from add.errors import UserError
from add.interfaces import PathLike

AnyPath = TypeVar("AnyPath", bound=PathLike)
Result = TypeVar("Result")


def read_folder(paths: Sequence[AnyPath], image_size: int, crop: str = "center", skip_bad: bool = False) -> tuple[
        np.ndarray | list[np.ndarray], list[AnyPath], list[tuple[AnyPath, str]]]:
    """Return (images, kept paths, bad): all readable files, in the order of `paths`.

    Args:
        paths: what `add.data.folders.list_images` gave.
        image_size: side of the images, in pixels.
        crop: "center" gives images as uint8 [n, image_size, image_size, 3]; "none" gives a list of
            uint8 [H, W, 3], each of its own size.
        skip_bad: leave unreadable files out instead of refusing; `bad` then lists them as (path, reason).

    Raises:
        UserError: naming every unreadable file, or when none can be read.
    """
    if crop not in ("center", "none"):
        raise ValueError(f"crop {crop!r} is unknown: expected center or none")

    def read(path):
        image = read_image(path)
        return transforms.center_crop(image, image_size) if crop == "center" else image

    images, kept, bad = read_all(paths, read, skip_bad)
    return (np.stack(images) if crop == "center" else images), kept, bad


def read_all(paths: Sequence[AnyPath], read: Callable[[AnyPath], Result],
             skip_bad: bool = False) -> tuple[list[Result], list[AnyPath], list[tuple[AnyPath, str]]]:
    """Return (results, kept paths, bad) of read(path) for every path; see `read_folder` for bad files."""
    results: list[Result] = []
    places, bad = read_each(paths, read, results.append, skip_bad)
    return results, [paths[place] for place in places.tolist()], bad


def read_each(paths: Sequence[AnyPath], read: Callable[[AnyPath], Result], take: Callable[[Result], object],
              skip_bad: bool = False) -> tuple[np.ndarray, list[tuple[AnyPath, str]]]:
    """Return (places int64 [m] of the paths that could be read, bad), and call take(read(path)) with each, in order.

    Several are read at a time. See `read_folder` for bad files.
    """
    def attempt(path):
        try:
            return read(path), None
        except UserError as error:
            return None, say_reason(error.__cause__ or error)

    readable = np.zeros(len(paths), dtype=bool)
    bad = []
    for place, (result, reason) in enumerate(map_in_threads(attempt, paths)):
        if reason is None:
            readable[place] = True
            take(result)
        else:
            bad.append((paths[place], reason))
    if bad and (not skip_bad or not readable.any()):
        listing = "\n".join(f"  {path}: {reason}" for path, reason in bad)
        advice = "replace or remove them" if skip_bad else "replace or remove them, or pass --skip_bad"
        raise UserError(f"{len(bad)} of {len(paths)} files cannot be read as images:\n{listing}\n"
                        f"expected whole {KINDS} files; {advice}")
    return np.flatnonzero(readable), bad
