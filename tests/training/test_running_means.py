from types import SimpleNamespace

import pytest
import torch

from add.training.running_means import Window


def test_means_over_steps_and_quarters_of_the_schedule():
    window = Window(1000)
    window.add({"loss": torch.tensor([1.0, 3.0])}, torch.tensor([0, 249]), torch.ones(2), torch.tensor(2.0))
    window.add({"loss": torch.tensor([5.0, 7.0])}, torch.tensor([250, 999]), torch.ones(2), torch.tensor(4.0))
    row = window.summary(SimpleNamespace(size=1))
    assert row.pop("sec_per_step") >= 0
    assert row == {"loss": 4, "loss_q0": 2, "loss_q1": 5, "loss_q3": 7, "grad_norm": 3}


def test_sampler_weights_undo_its_preference():
    """A timestep drawn three times as often counts a third each time: (10/3 * 3 + 2 * 1) / 2 = 6."""
    window = Window(1000)
    window.add({"loss": torch.tensor([10.0, 10, 10, 2])}, torch.tensor([0, 0, 0, 999]),
               torch.tensor([1 / 3, 1 / 3, 1 / 3, 1]), torch.tensor(1.0))
    assert window.summary(SimpleNamespace(size=1))["loss"] == pytest.approx(6)
