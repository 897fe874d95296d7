"""Pictures of a folder of results, read back: all of one size."""
from collections.abc import Sequence

import numpy as np

from add.data.image_file import read_image
from add.data.read_back import damaged
from add.interfaces import PathLike

MAKE_AGAIN = "remove it, and the same command makes it again"


def read_picture(path: PathLike, like: tuple[int, ...]) -> np.ndarray:
    """Return a picture uint8 [H, W, 3] of the shape `like`; raises UserError for one of another size."""
    image = read_image(path)
    if image.shape != like:
        raise damaged(path, f"{image.shape[1]} x {image.shape[0]} pixels", f"{like[1]} x {like[0]}, as the first has",
                      MAKE_AGAIN)
    return image


def step_evenness(pictures: np.ndarray) -> float | None:
    """Return how far the steps of a series are from equal ones: 0 for equal ones, to below 1 where one does it all.

    The way is the sum of mean absolute differences of pixels from each picture to the next; after m of N even steps
    m / N of it lie behind, and the result is the mean distance from that. None where there are less than two steps, or
    nothing changes.

    Args:
        pictures: uint8 [N + 1, H, W, 3], from the source image on.
    """
    way = np.abs(np.diff(pictures.astype(np.int16), axis=0)).mean(axis=(1, 2, 3)).cumsum()
    if len(way) < 2 or not way[-1]:
        return None
    even = np.arange(1, len(way) + 1) / len(way)
    return round(float(np.abs(way / way[-1] - even)[:-1].mean()), 3)


def read_pictures(paths: Sequence[PathLike]) -> np.ndarray:
    """Return pictures as uint8 [n, H, W, 3]; raises UserError where one is of another size than the first."""
    first = read_image(paths[0])
    return np.stack([first, *(read_picture(path, first.shape) for path in paths[1:])])
