"""The ways that --pairs asks for, by numbers and by names."""
import itertools

import pytest

from add.commands.shared.domain_ways import parse_pairs
from add.errors import UserError

NAMES = ("mild", "moderate", "severe")


@pytest.mark.parametrize("text, direction, expected", [
    ("all", "both", list(itertools.permutations(range(3), 2))),
    ("all", "forward", [(0, 1), (0, 2), (1, 2)]), ("all", "backward", [(1, 0), (2, 0), (2, 1)]),
    ("chain", "both", [(0, 1, 2), (2, 1, 0)]), ("chain", "forward", [(0, 1, 2)]), ("chain", "backward", [(2, 1, 0)]),
    ("0-1,2-0", "both", [(0, 1), (2, 0)]), ("mild-severe", "both", [(0, 2)]), ("mild-2, moderate-0", "both",
                                                                               [(0, 2), (1, 0)]),
    ("severe-mild-moderate", "both", [(2, 0, 1)])])
def test_pairs_are_read(text, direction, expected):
    assert parse_pairs(text, NAMES, direction) == expected


def test_names_may_hold_dashes():
    names = ("grade-1", "grade-2", "normal")
    assert parse_pairs("grade-1-grade-2,normal-grade-1", names) == [(0, 1), (2, 0)]
    assert parse_pairs("grade-1-2", names) == [(0, 2)]  # domain 2


def test_numbers_that_are_names_are_names():
    assert parse_pairs("3-1", ("1", "2", "3")) == [(2, 0)]


@pytest.mark.parametrize("text, names, words", [
    ("mild-unknown", NAMES, "0 mild, 1 moderate, 2 severe"), ("mild-3", NAMES, "expected different domains"),
    ("mild", NAMES, "joined by dashes"), ("mild-mild", NAMES, "expected different domains"), ("", NAMES, "joined by"),
    ("mild-severe,0-2", NAMES, "lists the same way twice"), ("0-1", ("1", "2"), "names only"),
    ("a-b-c", ("a", "a-b", "b", "b-c", "c"), "can be read as")])
def test_pairs_that_mean_nothing_are_refused(text, names, words):
    with pytest.raises(UserError, match=words):
        parse_pairs(text, names)
