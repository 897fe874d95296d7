"""The file of places: what is read of it, and what is not known."""
import numpy as np
import pytest
import torch

from add.classification import classifier_runs
from add.classification.grading import DomainSeverities
from add.classification.labelled_images import Labelled
from add.classification.places_file import places_name, read_places, truths_of, write_places
from add.errors import UserError

KNOWN = DomainSeverities([0.2, 0.8], [(0.1, 0.3), (0.7, 0.9)])


def four_images(severity=None, groups=None):
    """Return a TestSet."""
    data = Labelled(torch.zeros(4, 3, 2, 2), torch.eye(2)[[0, 0, 1, 1]])
    return classifier_runs.TestSet("all", data, severity, ["a", "b", "c", "d"], groups)


def test_images_of_a_group_share_a_number_and_places_their_truth(tmp_path):
    place = np.float32([[0, 0.5, 0.5, 1], [0, 0.25, 0.75, 1]])
    severity = np.array([0.1, 0.5, 0.5, 0.9])
    write_places(tmp_path / "places.npz", {places_name("all", "full@x+y"): place}
                 | truths_of(four_images(severity, ["p1", "p2", "p1", "p2"]), KNOWN))
    found = read_places(tmp_path / "places.npz", "all", ["full@x+y"])
    assert np.array_equal(found.by_method["full@x+y"], place)
    assert found.truth == pytest.approx([0, 0.5, 0.5, 1])
    assert found.groups.tolist() == [0, 1, 0, 1]


def test_there_are_none_without_severities_and_a_lack_is_named(tmp_path):
    write_places(tmp_path / "places.npz", truths_of(four_images(), KNOWN))
    assert read_places(tmp_path / "places.npz", "all", []) is None
    with pytest.raises(UserError, match="lacks all/place/flips.*same command makes it again"):
        read_places(tmp_path / "places.npz", "all", ["flips"])
