import dataclasses

import pytest

from add.errors import UserError
from add.training import TrainConfig


def test_every_option_has_help():
    assert [f.name for f in dataclasses.fields(TrainConfig) if not f.metadata.get("help")] == []


@pytest.mark.parametrize("options, message", [
    ({"batch_size": 0}, "batch_size is 0, expected 1 or more"),
    ({"lr": float("nan")}, "lr is nan, expected a finite number"),
    ({"grad_clip": float("inf")}, "grad_clip is inf, expected a finite number"),
    ({"max_steps": -2}, "max_steps is -2, expected -1 or more"),
    ({"fp16_scale_growth": 0.0}, "fp16_scale_growth is 0.0, expected a number above 0"),
    ({"val_fraction": 1.0}, "val_fraction is 1.0, expected a number below 1"),
    ({"microbatch": 0}, "microbatch is 0"),
    ({"seed": -1}, "seed is -1, expected 0 or more"),
    ({"weight_decay": -0.1}, "weight_decay"),
    ({"precision": "fp8"}, "precision is 'fp8', expected one of fp32, bf16, fp16"),
    ({"ema_rate": "0.99,fast"}, "ema_rate is '0.99,fast'"),
    ({"ema_rate": "1.0"}, "from 0 to below 1"),
    ({"ema_rate": "1e-2"}, "such as 0.999"),
    ({"lr_anneal_steps": 10, "lr_anneal_start": 10}, "less than lr_anneal_steps"),
    ({"resume_checkpoint": "a", "init_from": "b"}, "keep one"),
    ({"run_dir": "gs://bucket/run"}, "expected a local folder"),
])
def test_values_that_cannot_work_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        TrainConfig(**options)


def test_ema_rates_keep_their_spelling():
    assert TrainConfig(ema_rate="0.9990, .99").ema_rates == ["0.9990", ".99"]


def test_learning_rate_rises_stays_and_falls():
    config = TrainConfig(lr=1.0, lr_warmup_steps=4, lr_anneal_start=6, lr_anneal_steps=10)
    rates = [config.learning_rate(step) for step in range(12)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0])
    assert TrainConfig(lr=0.5).learning_rate(10**6) == 0.5


@pytest.mark.parametrize("options, last", [
    ({}, 20000), ({"max_steps": 7}, 7), ({"max_steps": 0}, 0), ({"lr_anneal_steps": 500}, 500),
    ({"lr_anneal_steps": 500, "max_steps": 7}, 7), ({"lr_anneal_steps": 500, "max_steps": 0}, 0),
])
def test_annealing_ends_the_run_unless_max_steps_says_otherwise(options, last):
    assert TrainConfig(**options).last_step == last


def test_scale_growth_is_guided_diffusions():
    """Its log2 grows by fp16_scale_growth per step, so the scale doubles after the inverse."""
    assert TrainConfig().growth_interval == 1000 and TrainConfig(fp16_scale_growth=0.25).growth_interval == 4
