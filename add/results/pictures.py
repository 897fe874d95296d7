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


def read_pictures(paths: Sequence[PathLike]) -> np.ndarray:
    """Return pictures as uint8 [n, H, W, 3]; raises UserError where one is of another size than the first."""
    first = read_image(paths[0])
    return np.stack([first, *(read_picture(path, first.shape) for path in paths[1:])])
