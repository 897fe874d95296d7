"""A small share of the campaign, and what its trials tell."""
import os
import signal
import sys
import time

import pytest

from add.runtime import exit_status
from tests.faults import trials
from tests.faults.campaign import NAMES, cases, table, wrong
from tests.faults.trials import attempt

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="trials are forked")
FAULTS, INPUTS = 4, 40


@pytest.mark.parametrize("case", cases(FAULTS, INPUTS, seed=0), ids=str)
def test_a_share_of_the_campaign(campaign, case):
    found = campaign.try_one(*case)
    assert not wrong(found), found


def refuse():
    return exit_status.run(lambda: open("/nowhere/at/all"))


@pytest.mark.parametrize(("work", "kind"), [
    (lambda: 0, "accepted"), (refuse, "refused"), (lambda: 2, "traceback"), (lambda: 1 // 0, "traceback"),
    (lambda: sys.exit(143), "signalled"), (lambda: os.kill(os.getpid(), signal.SIGKILL), "signalled"),
    (lambda: time.sleep(60), "hang")])
def test_a_trial_tells_what_came_of_it(work, kind):
    assert attempt(work, seconds=0.5 if kind == "hang" else 60).kind == kind


def test_a_trial_that_takes_much_memory_is_told(monkeypatch):
    monkeypatch.setattr(trials, "MOST_MEMORY", -(2**62))
    assert attempt(lambda: 0).kind == "memory"


def test_a_fault_that_costs_results_or_leaves_litter_is_seen(campaign, monkeypatch):
    faults = campaign.faults
    reading = next(reading for reading in faults.readings if reading.name == "image_sample")
    monkeypatch.setattr(faults, "readings", [reading])
    monkeypatch.setattr(faults, "_draw", lambda rng, events: ("signal", "none", lambda: left.write_text("")))
    left = campaign.place / f".a.{'0' * 32}.tmp"
    assert faults.try_one(0).litter == [left.name]
    expected = faults._expected[reading.words]
    faults._expected[reading.words] = expected[0], expected[1] | {"samples/other.png": "0"}
    assert faults.try_one(0).lost == "samples/other.png"
    faults._expected[reading.words] = expected
    assert faults.try_one(0).lost == ""


def test_the_table_counts_by_kind_and_names_what_is_wrong():
    found = {"kind": "injected", "seed": 0, "group": NAMES["full"], "outcome": "refused", "litter": [], "lost": ""}
    bad = found | {"outcome": "traceback", "litter": ["a"]}
    assert wrong(found) == [] and wrong(bad) == ["traceback", "litter"]
    assert table([found, bad]).splitlines()[-1] == "| a disk that takes no more | 2 | 1 | 0 | 0 | 1 | 0 | 0 | 1 | 0 |"
    assert len(cases(1000, 10_000, 0)) == 11_000 and len(set(cases(10, 100, 5))) == 110
