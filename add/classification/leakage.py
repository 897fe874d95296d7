"""Images on both sides of a comparison: copies, and series that were made from images to be scored.

Either makes a score too good without a sign: the classifier has then seen what it is asked about.
"""
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from add.classification.labelled_images import Labelled
from add.data.dataset import ImageSet
from add.data.image_file import read_header
from add.errors import UserError
from add.interfaces import PathLike
from add.results.translation_series import Series

SHOWN = 5  # names in a message


class SourceWatch:
    """Finds the rows of a translation whose source image is among images that are to be scored.

    They are known by their pixels, which a translation records; where the records are gone, by name and domain.

    Args:
        paths: files of those images, [n].
        classes: domain number of each, [n].
    """

    def __init__(self, paths: Sequence[PathLike], classes: Iterable[int]) -> None:
        self.paths, self.classes = list(map(str, paths)), list(map(int, classes))
        self._digests: dict[int, frozenset[str]] = {}  # by image size

    def finds(self, series: Series) -> np.ndarray:
        """Return bool [n], whether each row's source image is one of these."""
        digests = series.source_digests()
        known = self._known(min(read_header(series.folder / series.images[0]))) if any(digests) else frozenset()
        return np.array([digest in known if digest else self._holds_name(name, series.source)
                         for digest, name in zip(digests, series.source_images, strict=True)])

    def _known(self, image_size):
        if image_size not in self._digests:
            images = ImageSet.from_paths(self.paths, image_size)
            self._digests[image_size] = frozenset(map(images.sha256, range(len(images))))
        return self._digests[image_size]

    def _holds_name(self, name, domain):
        return any(Path(path).as_posix().endswith(f"/{name}") and own == domain
                   for path, own in zip(self.paths, self.classes, strict=True))


def pixel_digests(data: Labelled) -> list[str]:
    """Return the SHA-256 of each image's pixels, which only equal images share."""
    return [hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest() for image in data.images]


def refuse_copies(data: Labelled, others: Labelled, paths: Sequence[PathLike], sets: tuple[str, str]) -> None:
    """Raise UserError where images of one set are those of another, pixel by pixel at the size of the comparison.

    Args:
        paths: of the images in `others`.
        sets: names of both in words, such as ("training", "test").
    """
    known = set(pixel_digests(data))
    same = [path for path, digest in zip(paths, pixel_digests(others), strict=True) if digest in known]
    if same:
        raise UserError(f"{len(same)} of {len(others)} {sets[1]} images are {sets[0]} images as well, such as "
                        f"{', '.join(map(str, same[:SHOWN]))}: expected no image in both, as a score would tell how "
                        f"well they are remembered; take them out of one")


def copies_together(data: Labelled, groups: Sequence[str] | None) -> list[str]:
    """Return the groups of images; where none are given, equal images are one group, and others on their own."""
    return pixel_digests(data) if groups is None else list(groups)


def order_by_class(classes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return a permutation int64 [n]: class by class, in random order."""
    members = [(classes == k).nonzero()[:, 0] for k in range(int(classes.max()) + 1)]
    return torch.cat([own[torch.randperm(len(own), generator=generator)] for own in members])
