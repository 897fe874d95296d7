"""Trainings that are planned by time."""
import json

import pytest

from add.errors import UserError
from add.training import TrainConfig
from add.training.run_config import ClassifierTrainConfig, PointTrainConfig, duration_seconds
from add.training.step_costs import StepCosts
from add.training.time_budget import fitted, with_saved_plan
from tests.training.runs import start


@pytest.mark.parametrize("text, seconds", [
    ("30m", 1800), ("2h", 7200), ("90s", 90), ("1h30m", 5400), ("1.5h", 5400), ("1h0m5s", 3605),
    ("30", 0), ("", 0), ("m", 0), ("30m1h", 0), ("-5m", 0), ("1 day", 0)])
def test_durations(text, seconds):
    assert duration_seconds(text) == seconds


def test_what_is_no_time_is_refused():
    for text in ("30", "0m", "soon"):
        with pytest.raises(UserError, match="budget is .*expected a time such as 30m"):
            TrainConfig(budget=text)


def test_the_steps_that_fit_are_planned_and_the_rate_falls_over_the_second_half():
    plan = fitted(TrainConfig(budget="100s", lr=1.0), StepCosts(0.5, 0, 0), step=0)
    assert (plan.max_steps, plan.lr_anneal_start, plan.lr_anneal_steps) == (190, 95, 190)
    assert plan.last_step == 190 and plan.learning_rate(95) == 1 and 0 < plan.learning_rate(189) < 0.02
    later = fitted(TrainConfig(budget="100s"), StepCosts(0.5, 0, 0), step=1000)
    assert (later.max_steps, later.lr_anneal_start) == (1190, 1095)
    with pytest.raises(UserError, match="budget is 1s and one step takes 5 s"):
        fitted(TrainConfig(budget="1s"), StepCosts(5.0, 0, 0), step=0)


def test_the_warm_up_is_a_tenth_of_the_steps_at_most():
    """Of 190 steps, 200 of warm-up would leave the rate far below the one asked for."""
    costs = StepCosts(0.5, 0, 0)
    assert fitted(TrainConfig(budget="100s", lr_warmup_steps=200), costs, step=0).lr_warmup_steps == 19
    assert fitted(TrainConfig(budget="100s", lr_warmup_steps=5), costs, step=0).lr_warmup_steps == 5


@pytest.mark.parametrize("config", [
    ClassifierTrainConfig(budget="100s", iterations=7, anneal_lr=True, lr=1.0),
    PointTrainConfig(budget="100s", lr=1.0, lr_warmup_steps=0),
    TrainConfig(budget="100s", max_steps=3, lr_anneal_steps=2, lr=1.0)], ids=lambda config: type(config).__name__)
def test_the_plan_is_in_place_of_what_the_config_says_of_steps(config):
    plan = fitted(config, StepCosts(1.0, 0, 0), step=0)
    assert plan.last_step == 95 and plan.learning_rate(46) == 1 and plan.learning_rate(94) < 0.05


def test_a_resumed_run_keeps_its_plan(tmp_path, images, monkeypatch):
    monkeypatch.setattr("add.training.time_budget.measure_steps", lambda loop: StepCosts(2.0, 0, 0))
    notes = []
    options = {"budget": "20s", "max_steps": -1, "save_interval": 3, "note": notes.append}
    trainer = start(tmp_path / "run", images, **options)
    assert trainer.config.last_step == 9 and "training ends at step 9" in notes[-1]
    saved = json.loads((tmp_path / "run" / "config.json").read_text())["train"]
    assert (saved["budget"], saved["max_steps"], saved["lr_anneal_start"]) == ("20s", 9, 4)
    trainer.run(lambda: trainer.step == 3)
    monkeypatch.setattr("add.training.time_budget.measure_steps", lambda loop: StepCosts(0.01, 0, 0))
    resumed = start(tmp_path / "run", images, **options)
    assert resumed.step == 3 and resumed.config == trainer.config and "stays: 9 steps" in notes[-1]
    more = start(tmp_path / "run", images, **options | {"budget": "10s"})  # another budget is time from now on
    assert more.config.last_step == 3 + 950


def test_a_folder_without_a_plan_changes_nothing(tmp_path):
    config = TrainConfig(budget="20s")
    assert with_saved_plan(config, tmp_path) is config
    (tmp_path / "config.json").write_text('{"train": {"budget": "30m", "max_steps": 5}}')
    assert with_saved_plan(config, tmp_path) is config


def test_steps_are_really_measured(tmp_path, images):
    trainer = start(tmp_path / "run", images, budget="2s", max_steps=-1)
    assert trainer.step == 0 and trainer.config.last_step >= 1
    assert trainer.config.lr_anneal_steps == trainer.config.last_step
