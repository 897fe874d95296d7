"""What a reading shows: places spread over the series, and an order that tells nothing."""
from collections import Counter

import numpy as np
import pytest

from add.results.translation_series import read_series
from add.review.reading_items import Item, choose_generated, in_random_order, shares
from tests.review.readings import AMOUNT, write_translation


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return read_series(write_translation(tmp_path_factory.mktemp("translation"), 0, num_sources=4))


@pytest.mark.parametrize("count", [2, 5, 20, 40])
def test_places_and_source_images_are_spread_evenly(series, count):
    rows = choose_generated(series, count, np.random.default_rng(0))
    assert len(set(rows)) == count
    places, sources = Counter(series.m[rows].tolist()), Counter(series.groups[rows].tolist())
    assert {1, AMOUNT} <= set(places) and max(places.values()) - min(places.values()) <= 1
    assert len(places) == min(count, AMOUNT)
    assert max(sources.values()) - min(sources.get(i, 0) for i in range(4)) <= 2


def test_more_than_there_are_gives_all(series):
    assert sorted(choose_generated(series, 99, np.random.default_rng(0))) == list(range(len(series)))


def test_shares_add_up():
    assert shares(10, 4) == [3, 3, 2, 2] and shares(1, 2) == [1, 0]


def items(count):
    return [Item("", "", "real", 0, f"{i}.png", 0, "") for i in range(count)]


def test_repeats_come_a_third_of_the_reading_later():
    for seed in range(20):
        shown = in_random_order(items(30), 10, np.random.default_rng(seed))
        assert [item.item for item in shown] == [f"{i:03}" for i in range(1, 41)]
        assert sorted({item.image for item in shown}) == sorted(item.image for item in items(30))
        again = [(int(item.item), item) for item in shown if item.repeat_of]
        assert len(again) == 10
        for place, item in again:
            assert shown[int(item.repeat_of) - 1].image == item.image and place - int(item.repeat_of) > 10


def test_the_seed_decides_the_order():
    first, same, other = (in_random_order(items(12), 3, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == same != other
    assert [item.image for item in first if not item.repeat_of] != [item.image for item in items(12)]
