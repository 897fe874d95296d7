"""benchmarks/budget_training.py: when a training for a budget ends, and what it leaves to sample from."""
import itertools
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.tiny import MODEL, make_images

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import budget_training
from budget_training import BrokeDown, OwnTraining, draw_samples, train_for


class Scripted:
    """A training whose steps cost a second and whose losses are given."""

    finished = False

    def __init__(self, losses):
        self.losses, self.spent = list(losses), []

    def step(self, core_seconds, budget):
        self.spent.append(core_seconds / budget)
        return self.losses[len(self.spent) - 1]


@pytest.fixture
def second_each(monkeypatch):
    """A processor clock that two looks move by a second."""
    ticks = itertools.count()
    monkeypatch.setattr(budget_training, "time", SimpleNamespace(process_time=lambda: float(next(ticks))))


def test_training_stops_at_the_first_step_that_reaches_the_budget(second_each):
    training = Scripted([0.1] * 9)
    assert train_for(training, 2.5) == (3, 3.0)
    assert training.spent == [0, 0.4, 0.8]


def test_a_loss_that_is_no_number_ends_training(second_each):
    with pytest.raises(BrokeDown, match="the loss was nan at step 2"):
        train_for(Scripted([0.1, math.nan, 0.1]), 9.0)


def test_a_recipe_trains_and_gives_its_average_to_sample_from(tmp_path):
    make_images(tmp_path / "images", 4)
    options = {"train": {"batch_size": 2, "lr": 1e-3, "lr_warmup_steps": 200, "ema_rate": "0.999"},
               "model": MODEL, "diffusion": {"prediction": "v"}}
    training = OwnTraining(options, tmp_path / "images", tmp_path / "run", seed=0, budget=0.5)
    steps, spent = train_for(training, 0.5)
    plan = training.trainer.config
    assert spent == pytest.approx(0.5, rel=0.3)
    assert 0 < plan.lr_anneal_start < steps <= plan.last_step
    (weights, model, diffusion), = training.models()
    samples = draw_samples(model, diffusion, 16, 3, 4)
    assert weights == "ema"
    torch.testing.assert_close(samples[:2], draw_samples(model, diffusion, 16, 2, 4))
    average = training.trainer.emas["0.999"].parameters
    for own, kept in zip(model.parameters(), average, strict=True):
        torch.testing.assert_close(own, kept)
