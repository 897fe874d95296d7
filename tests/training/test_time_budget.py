"""Trainings that are planned by time."""
import dataclasses
import json

import pytest

from add.errors import UserError
from add.training import TrainConfig
from add.training.run_config import ClassifierTrainConfig, PointTrainConfig, duration_seconds
from add.training.step_costs import BreakCosts, StepCosts
from add.training.time_budget import fitted, planned_seconds, steps_that_fit, with_saved_plan
from tests.training.runs import start

COSTS = StepCosts(0.5, 0, 0)


def take_for_measured(monkeypatch, step, save=0.0, held_out=0.0):
    """Let these be the seconds that measuring finds."""
    monkeypatch.setattr("add.training.time_budget.measure_steps", lambda loop: StepCosts(step, 0, 0))
    monkeypatch.setattr("add.training.time_budget.measure_breaks", lambda loop: BreakCosts(save, held_out))


@pytest.mark.parametrize("text, seconds", [
    ("30m", 1800), ("2h", 7200), ("90s", 90), ("1h30m", 5400), ("1.5h", 5400), ("1h0m5s", 3605),
    ("30", 1800), ("1.5", 90), (" 10 ", 600), ("0", 0), (".", 0), ("-5", 0), ("1e3", 0),
    ("", 0), ("m", 0), ("30m1h", 0), ("-5m", 0), ("1 day", 0)])
def test_durations(text, seconds):
    assert duration_seconds(text) == seconds


def test_what_is_no_time_is_refused():
    for text, name in (("0m", "budget"), ("soon", "budget"), ("0", "minutes")):
        with pytest.raises(UserError, match=f"^--{name} is '{text}', expected a time such as 30m.*change --{name}"):
            TrainConfig(budget=text)


def test_the_steps_that_fit_are_planned_and_the_rate_falls_over_the_second_half():
    plan = fitted(TrainConfig(budget="100s", lr=1.0), StepCosts(0.5, 0, 0), step=0)
    assert (plan.max_steps, plan.lr_anneal_start, plan.lr_anneal_steps) == (194, 97, 194)
    assert plan.last_step == 194 and plan.learning_rate(97) == 1 and 0 < plan.learning_rate(193) < 0.02
    later = fitted(TrainConfig(budget="100s"), StepCosts(0.5, 0, 0), step=1000)
    assert (later.max_steps, later.lr_anneal_start) == (1194, 1097)
    with pytest.raises(UserError, match="--budget 1s: measuring took 0 s, a step takes 5 s.*give more time"):
        fitted(TrainConfig(budget="1s"), StepCosts(5.0, 0, 0), step=0)


def test_the_warm_up_is_a_tenth_of_the_steps_at_most():
    """Of 194 steps, 200 of warm-up would leave the rate far below the one asked for."""
    costs = StepCosts(0.5, 0, 0)
    assert fitted(TrainConfig(budget="100s", lr_warmup_steps=200), costs, step=0).lr_warmup_steps == 19
    assert fitted(TrainConfig(budget="100s", lr_warmup_steps=5), costs, step=0).lr_warmup_steps == 5


@pytest.mark.parametrize("config", [
    ClassifierTrainConfig(budget="100s", iterations=7, anneal_lr=True, lr=1.0),
    PointTrainConfig(budget="100s", lr=1.0, lr_warmup_steps=0),
    TrainConfig(budget="100s", max_steps=3, lr_anneal_steps=2, lr=1.0)], ids=lambda config: type(config).__name__)
def test_the_plan_is_in_place_of_what_the_config_says_of_steps(config):
    plan = fitted(config, StepCosts(1.0, 0, 0), step=0)
    assert plan.last_step == 97 and plan.learning_rate(47) == 1 and plan.learning_rate(96) < 0.05


def test_saves_held_out_measurements_and_the_time_of_measuring_have_their_part():
    """Of 97 s, 10 are over; 100 steps of 0.5 s, saves of 3 s at 40, 80 and the end and 7 s for the measurement left."""
    config = TrainConfig(budget="100s", save_interval=40, val_interval=500)
    breaks = BreakCosts(save=3.0, held_out=7.0)
    count = steps_that_fit(config, COSTS, 0, breaks, spent=10)
    assert planned_seconds(config, COSTS, breaks, 0, 100) == 50 + 9 + 7
    assert planned_seconds(config, COSTS, breaks, 0, 100, ends=False) == 50 + 6
    assert planned_seconds(config, COSTS, breaks, 30, 10) == 5 + 3 + 7  # the save at 40 is the one at the end
    assert planned_seconds(config, COSTS, breaks, 0, count) <= 0.97 * 90 < planned_seconds(config, COSTS, breaks, 0,
                                                                                         count + 1)
    with pytest.raises(UserError, match="--minutes 0.1: measuring took 1 s, a step takes 0.5 s, a save 3 s and a "
                                        "held-out measurement 7 s: expected time for one of each"):
        fitted(TrainConfig(budget="0.1"), COSTS, 0, breaks, spent=1.0)


def test_a_resumed_run_keeps_its_plan(tmp_path, images, monkeypatch):
    take_for_measured(monkeypatch, 2.0)
    notes = []
    options = {"budget": "20s", "max_steps": -1, "save_interval": 3, "note": notes.append}
    trainer = start(tmp_path / "run", images, **options)
    assert trainer.config.last_step == 9 and "training ends at step 9" in notes[-1]
    saved = json.loads((tmp_path / "run" / "config.json").read_text())["train"]
    assert (saved["budget"], saved["max_steps"], saved["lr_anneal_start"]) == ("20s", 9, 4)
    trainer.run(lambda: trainer.step == 3)
    take_for_measured(monkeypatch, 0.01)
    resumed = start(tmp_path / "run", images, **options)
    assert resumed.step == 3 and resumed.config == trainer.config and "stays: 9 steps" in notes[-1]
    more = start(tmp_path / "run", images, **options | {"budget": "10s"})  # another budget is time from now on
    assert 3 + 960 < more.config.last_step <= 3 + 970 and resumed.plan is None


def test_a_time_in_other_words_is_the_same_plan(tmp_path, images, monkeypatch):
    take_for_measured(monkeypatch, 2.0)
    first = start(tmp_path / "run", images, budget="2m", max_steps=-1)
    again = start(tmp_path / "run", images, budget="2", max_steps=-1)
    assert again.config.last_step == first.config.last_step and again.plan is None and first.plan is not None


@pytest.mark.parametrize("seconds, last, said", [
    (18.0, 19, None),  # as planned
    (18.3, 19, None),  # nearly
    (27.0, 13, "1.5 times the time planned was taken, so that training ends at step 13 in place of 19"),
    (9.0, 39, "0.5 times the time planned"),
    (400.0, 10, "in place of 19")])
def test_the_end_is_corrected_by_the_pace_when_the_rate_begins_to_fall(tmp_path, images, monkeypatch, seconds, last,
                                                                       said):
    """Of 40 s, 19 steps of 2 s were planned, and 9 are done; what is left of the 40 s has room for the others."""
    take_for_measured(monkeypatch, 2.0)
    notes = []
    trainer = start(tmp_path / "run", images, budget="40s", max_steps=-1, lr=1.0, note=notes.append)
    trainer.plan = dataclasses.replace(trainer.plan, spent=0.0)
    planned, notes[:] = trainer.config, []
    for step in (4, 9, 12):  # once only
        trainer.step, trainer.seconds = step, seconds
        trainer.plan.correct(trainer)
    assert (trainer.config.last_step, trainer.config.lr_anneal_steps) == (last, last)
    assert [said in text for text in notes] == ([True] if said else [])
    saved = json.loads((tmp_path / "run" / "config.json").read_text())["train"]
    assert saved["max_steps"] == last and saved["lr_anneal_start"] == planned.lr_anneal_start == 9
    assert all(trainer.config.learning_rate(step) == planned.learning_rate(step) for step in range(10))
    resumed = start(tmp_path / "run", images, budget="40s", max_steps=-1, lr=1.0)
    assert resumed.config == trainer.config


def test_a_folder_without_a_plan_changes_nothing(tmp_path):
    config = TrainConfig(budget="20s")
    assert with_saved_plan(config, tmp_path) is config
    (tmp_path / "config.json").write_text('{"train": {"budget": "30m", "max_steps": 5}}')
    assert with_saved_plan(config, tmp_path) is config


def test_steps_are_really_measured(tmp_path, images):
    trainer = start(tmp_path / "run", images, budget="2s", max_steps=-1)
    assert trainer.step == 0 and trainer.config.last_step >= 1
    assert trainer.config.lr_anneal_steps == trainer.config.last_step
    assert 0 < trainer.seconds_ahead() <= 2.0 and trainer.plan.spent > 0
    trainer.run()
    assert trainer.finished and trainer.seconds < 4
