"""Images with class probabilities, read from folders of domains or from finished translations."""
import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from add.data.dataset import ImageSet
from add.data.folders import in_order, list_domains, say_others
from add.data.transforms import to_model_input
from add.errors import UserError
from add.interfaces import Note, PathLike
from add.results.translation_series import Series


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Images float32 [n, 3, H, W] in [-1, 1] and class probabilities float32 [n, K], whose rows sum to 1.

    groups: of each image, such as slides, which no part of a cross-validation divides; or None.
    """

    images: torch.Tensor
    labels: torch.Tensor
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: torch.Tensor) -> "Labelled":
        """Return the images and labels at `indices`, int64 [m] or bool [n], and their groups."""
        groups = None if self.groups is None else self.groups[indices.numpy()]
        return Labelled(self.images[indices], self.labels[indices], groups)


class Domains(NamedTuple):
    """Real images by domain: their names, in the order of the label vectors, and the images with hard labels.

    sentences: what the user should know of the images.
    """

    names: tuple[str, ...]
    data: Labelled
    paths: list[str]
    sentences: tuple[str, ...] = ()

    @property
    def classes(self) -> torch.Tensor:
        """The class number of every image, int64 [n]."""
        return self.data.labels.argmax(dim=1)

    def of(self, number: int) -> torch.Tensor:
        """Return the images [n_k, 3, H, W] of domain k = `number`."""
        return self.data.images[self.classes == number]


def read_domains(root: PathLike, image_size: int, names: Sequence[str] | None = None, skip_bad: bool = False
                 ) -> Domains:
    """Return the `Domains` in a folder with one subfolder each; `names` gives another order than the sorted one.

    Args:
        skip_bad: leave out images that can't be read instead of refusing the folder.
    """
    found = in_order(list_domains(root), names, root)
    names = tuple(found)
    paths = [path for name in names for path in found[name]]
    classes = torch.cat([torch.full((len(found[name]),), k) for k, name in enumerate(names)])
    images = ImageSet.from_paths(paths, image_size, classes.numpy(), skip_bad=skip_bad)
    assert images.labels is not None, "the images were read with their classes"
    labels = one_hot(torch.from_numpy(images.labels), len(names))
    notes = tuple(filter(None, (*images.sentences(), say_others(root))))
    return Domains(names, Labelled(all_images(images), labels), list(images.files), notes)


def all_images(image_set: ImageSet) -> torch.Tensor:
    """Return all images of an ImageSet, float32 [n, 3, H, W] in [-1, 1]."""
    return to_model_input(image_set.batch(range(len(image_set))))


def read_translations(series: Iterable[Series], image_size: int, num_classes: int, note: Note = lambda text: None
                      ) -> tuple[Labelled, Labelled]:
    """Return (full translations with hard labels, all progressive images with their soft labels) of translations.

    Args:
        note: called with what the user should know of the images.
    """
    images, soft, last, targets = [], [], [], []
    for own in series:
        if own.labels.shape[1] != num_classes:
            raise UserError(f"{own.folder} has soft labels of {own.labels.shape[1]} domains: expected {num_classes}, "
                            f"as many as the training images have; translate with --num_domains {num_classes}")
        image_set = own.image_set(image_size)
        for sentence in image_set.sentences():
            note(sentence)
        images.append(all_images(image_set))
        soft.append(torch.from_numpy(own.labels).float())
        last.append(torch.from_numpy(own.m == own.amount))
        targets.append(torch.full((len(own),), own.target))
    pixels, is_last = torch.cat(images), torch.cat(last)
    full = Labelled(pixels[is_last], one_hot(torch.cat(targets)[is_last], num_classes))
    return full, Labelled(pixels, torch.cat(soft))


def one_hot(classes: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Return hard labels float32 [n, K] of class numbers int64 [n]."""
    return F.one_hot(classes, num_classes).float()


def expected_positions(probabilities: torch.Tensor) -> torch.Tensor:
    """Return sum_k p_k k / (K - 1), float [n], of class probabilities [n, K]: the mean grade, in [0, 1]."""
    grades = torch.linspace(0, 1, probabilities.shape[1], dtype=probabilities.dtype)
    return probabilities @ grades
