"""Work is shared out evenly, and what is shown is what the first process has to do."""
from types import SimpleNamespace

import pytest

from add.runtime.shares import take_share
from add.runtime.world import World


@pytest.fixture
def bar():
    bar = SimpleNamespace(notes=[], total=None)
    bar.note = bar.notes.append
    return bar


def take(bar, todo, rank=0, size=1, wanted=9):
    return take_share(todo, wanted, lambda number: 10 + number, "samples", World(rank=rank, size=size), bar)


def test_one_process_does_all(bar):
    assert take(bar, range(9)) == list(range(9))
    assert bar.total == 9 * 10 + 36 and bar.notes == []


def test_what_was_finished_before_is_not_counted(bar):
    assert take(bar, [2, 8]) == [2, 8]
    assert bar.total == 12 + 18 and bar.notes == ["7 of 9 samples were finished before"]


def test_processes_take_turns(bar, monkeypatch):
    monkeypatch.setattr(World, "gather", lambda self, value: [value])
    todo = [0, 3, 4, 6, 7]
    assert take(bar, todo) == todo
    shares = [take(bar, todo, rank, 3) for rank in (2, 1, 0)]
    assert sorted(sum(shares, [])) == todo and shares[-1] == [0, 6]
    assert bar.total == 10 + 16
    assert bar.notes[-1] == "3 processes share 5 samples; the progress is of the 2 that the first one does"


def test_nothing_to_do_needs_no_total(bar):
    assert take(bar, []) == []
    assert bar.total is None and bar.notes == ["9 of 9 samples were finished before"]
