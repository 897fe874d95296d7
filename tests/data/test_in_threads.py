"""Work on files by several threads comes back in order, and is not prepared all at once."""
import os
import threading

import pytest

from add.data import in_threads
from add.data.in_threads import map_in_threads


@pytest.mark.parametrize("count", [0, 1, 7, 10_000])
def test_results_come_in_order_from_several_threads(count):
    names = set()

    def double(number):
        names.add(threading.current_thread().name)
        return 2 * number

    assert list(map_in_threads(double, iter(range(count)), 3)) == [2 * number for number in range(count)]
    assert len(names) <= 3


def test_items_are_taken_as_they_are_needed():
    taken = []

    def items():
        for number in range(10**6):
            taken.append(number)
            yield number

    results = map_in_threads(lambda number: number, items(), 2)
    assert [next(results) for _ in range(5000)] == list(range(5000)) and len(taken) < 10_000


def test_an_error_passes_through():
    def refuse(number):
        if number == 50:
            raise ValueError("fifty")
        return number

    with pytest.raises(ValueError, match="fifty"):
        list(map_in_threads(refuse, range(100), 2))


def test_threads_are_no_more_than_the_cores(monkeypatch):
    for cores, threads in ((2, 2), (64, 8)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cores=cores: set(range(cores)), raising=False)
        assert in_threads.reading_threads() == threads
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert in_threads.reading_threads() == 3
