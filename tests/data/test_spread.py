"""Choice of a few images that show a set: by groups, then by looks."""
import numpy as np
import pytest

from add.data import spread
from add.data.dataset import ImageSet
from add.data.spread import choose_spread


def grey(*levels):
    return ImageSet(np.stack([np.full((16, 16, 3), level, np.uint8) for level in levels]))


@pytest.mark.parametrize("seed", range(4))
def test_images_that_look_different_are_chosen(seed):
    """Of four kinds of twenty near-equal images each, four images are one of each kind."""
    levels = [kind * 60 + i % 3 for kind in range(4) for i in range(20)]
    chosen = choose_spread(grey(*levels), 4, seed)
    assert [levels[i] // 60 for i in chosen] == [0, 1, 2, 3]


def test_groups_are_shown_evenly_before_looks():
    """Group b is one kind of image, but gets as many as a, whose images are all different."""
    chosen = choose_spread(grey(0, 50, 100, 150, 200, 250, 9, 9, 9), 6, groups=list("aaaaaabbb"))
    assert sum(i >= 6 for i in chosen) == 3


def test_a_group_that_is_used_up_leaves_its_place_to_others():
    assert len(choose_spread(grey(0, 50, 100, 150, 9), 4, groups=list("aaaab"))) == 4


def test_the_seed_decides_and_all_images_are_all():
    images = grey(*range(0, 250, 10))
    assert choose_spread(images, 3, 1) == choose_spread(images, 3, 1)
    assert len({tuple(choose_spread(images, 3, seed)) for seed in range(5)}) > 1
    assert choose_spread(images, 25) == choose_spread(images, 99) == list(range(25))


def test_of_a_large_set_every_group_is_among_the_candidates(monkeypatch):
    monkeypatch.setattr("add.data.spread.MOST_CANDIDATES", 4)
    groups = ["common"] * 40 + ["rare"]
    assert 40 in choose_spread(grey(*[5] * 41), 2, groups=groups)


def test_of_as_many_as_are_looked_at_none_is_read(monkeypatch):
    """Thousands of images are not compared in vain: all that were drawn are taken."""
    monkeypatch.setattr(spread, "MOST_CANDIDATES", 4)
    monkeypatch.setattr(spread, "_features", None)
    chosen = choose_spread(grey(*range(20)), 6, groups=["a"] * 17 + ["b"] * 3)
    assert len(set(chosen)) == 6 and chosen == sorted(chosen) and sum(i >= 17 for i in chosen) == 3
