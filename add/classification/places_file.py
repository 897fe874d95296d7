"""The places that classifiers give to test images, in a file, for intervals over images: places.npz."""
import zipfile
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from add.classification.classifier_runs import TestSet
from add.classification.grading import DomainSeverities
from add.data.files import write_atomically
from add.data.read_back import read_npz
from add.interfaces import PathLike

PLACES = "places.npz"
AGAIN = "remove it, and the same command makes it again"


class Places(NamedTuple):
    """Places that the classifiers of a comparison give to the images of one test set.

    by_method: {method: float32 [seeds, n] in [0, 1]}, by the link, or these by a `Shrinkage`. truth: float64 [n], the
        true ones. groups: int64 [n]; images that belong together, such as those of a patient, share a number, and no
        others do.
    """

    by_method: dict[str, np.ndarray]
    truth: np.ndarray
    groups: np.ndarray


def places_name(test: str, method: str, shrunk: bool = False) -> str:
    """Return the name of a method's places on a test set, by the link, or those drawn towards the middle."""
    return f"{test}/{'shrunk' if shrunk else 'place'}/{method}"


def truths_of(test: TestSet, known: DomainSeverities | None) -> dict[str, np.ndarray]:
    """Return {name: array} of a test set's true places, where severities are known, and of its groups."""
    labels = np.arange(len(test.paths)) if test.groups is None else np.unique(test.groups, return_inverse=True)[1]
    found = {f"{test.name}/groups": labels.astype(np.int64)}
    if known is not None and test.severity is not None:
        found[f"{test.name}/truth"] = known.positions(test.severity)
    return found


def write_places(path: PathLike, places: dict[str, np.ndarray]) -> None:
    """Write {name: array} as an .npz file."""
    write_atomically(path, lambda file: np.savez_compressed(file, allow_pickle=False, **places))


def lacks_shrunk(path: PathLike) -> bool:
    """Return whether a file is there and whole, but of an earlier version that kept the places by the link alone."""
    try:
        with np.load(path) as found:
            return not any("/shrunk/" in name for name in found.files)
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def read_places(path: PathLike, test: str, methods: Sequence[str], shrunk: bool = False) -> Places | None:
    """Return the `Places` of a test set, or None where its images' true places are not known.

    Args:
        shrunk: whether to read those drawn towards the middle.

    Raises:
        UserError: a damaged file, or one that lacks a method.
    """
    truth, groups = f"{test}/truth", f"{test}/groups"
    names = {method: places_name(test, method, shrunk) for method in methods}
    wanted = dict.fromkeys(names.values(), (np.floating, (None, None)))
    found = read_npz(path, {**wanted, f"{truth}?": (np.floating, (None,)), groups: (np.integer, (None,))}, AGAIN)
    if truth not in found:
        return None
    return Places({method: found[name] for method, name in names.items()}, found[truth], found[groups])
