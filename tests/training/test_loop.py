"""Steps of the loop: what is minimised, what may not change the gradients, when a run ends."""
import math
import os

import pytest
import torch

from add.errors import UserError
from tests.training.runs import gradients, scrambled, start, weights

SHORT = {"diffusion_steps": 50}


@pytest.mark.parametrize("options", [
    {"prediction": "epsilon"},
    {"prediction": "x_start"},
    {"prediction": "v"},
    {"learn_sigma": True},
    {"learn_sigma": True, "rescale_learned_sigmas": True, "prediction": "v"},
    {"use_kl": True, "learn_sigma": True, "lr": 1e-4},
    {"min_snr_gamma": 5.0},
    {"prediction": "v", "zero_terminal_snr": True},
    {"noise_schedule": "cosine"},
    {"schedule_sampler": "loss-second-moment"},
    {"schedule_sampler": "stratified", "augment": "dihedral", "dropout": 0.1},
    {"precision": "bf16"},
    {"precision": "fp16"},
    {"use_fp16": True},
], ids=lambda options: ",".join(f"{name}={value}" for name, value in options.items()))
def test_every_objective_and_precision_trains(tmp_path, images, options):
    rows = []
    trainer = start(tmp_path / "run", images, report=rows.append, **SHORT | {"max_steps": 2} | options)
    before = weights(trainer)
    trainer.run()
    assert [row["step"] for row in rows] == [1, 2]
    assert all(math.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in rows)
    assert ("vb" in rows[0]) == ("learn_sigma" in options and "use_kl" not in options)
    assert not torch.equal(before, weights(trainer)) and weights(trainer).isfinite().all()
    assert trainer.scaler.is_enabled() == (options.get("precision") == "fp16" or "use_fp16" in options)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_three_steps_warn_of_nothing(tmp_path, images, precision):
    start(tmp_path / "run", images, max_steps=3, precision=precision, num_preview=2, preview_steps=2,
          val_fraction=0.3).run()


def test_training_lowers_the_loss(tmp_path, images):
    rows = []
    start(tmp_path / "run", images, report=rows.append, max_steps=60, log_interval=20, lr=2e-3,
          schedule_sampler="stratified").run()
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]


@pytest.mark.parametrize("options", [
    {"microbatch": 3},  # 5 images as 3 and 2: a mean of means would be wrong
    {"microbatch": 1},
    {"use_checkpoint": True},
    {"channels_last": False},
    {"microbatch": 2, "schedule_sampler": "stratified"},
], ids=str)
def test_gradients_do_not_depend_on_how_they_are_computed(tmp_path, images, options):
    common = {"batch_size": 5, "channel_mult": "1,1", "attention_resolutions": "8"}
    sampler = {"schedule_sampler": options.get("schedule_sampler", "uniform")}
    expected = gradients(scrambled(start(tmp_path / "a", images, **common | sampler)))
    actual = gradients(scrambled(start(tmp_path / "b", images, **common | options)))
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("precision, tolerance", [("bf16", 0.05), ("fp16", 0.01)])
def test_mixed_precision_stays_near_the_full_one(tmp_path, images, precision, tolerance):
    expected = gradients(scrambled(start(tmp_path / "a", images)))
    mixed = scrambled(start(tmp_path / "b", images, precision=precision))
    actual = gradients(mixed) / mixed.scaler.get_scale()
    assert (actual - expected).norm() / expected.norm() < tolerance
    assert all(p.dtype == torch.float32 for p in mixed.parameters)


def test_an_overflowing_step_is_skipped_by_the_scaler(tmp_path, images):
    trainer = scrambled(start(tmp_path / "run", images, precision="fp16", max_steps=2))
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=1e38)  # gradients overflow
    before, ema = weights(trainer), trainer.emas["0.9999"]
    ema.copy_from([p + 1 for p in trainer.parameters], updates=5)
    trainer.run()
    assert torch.equal(before, weights(trainer)) and trainer.scaler.get_scale() < 1e38
    assert ema.updates == 5 and torch.equal(ema.parameters[0], trainer.parameters[0] + 1)  # nothing to average


def test_the_loss_scale_of_fp16_grows_as_asked_for_also_on_resuming(tmp_path, images):
    trainer = start(tmp_path / "run", images, precision="fp16", fp16_scale_growth=0.5, max_steps=2)
    before = trainer.scaler.get_scale() or trainer.scaler._init_scale
    trainer.run()
    assert trainer.emas["0.9999"].updates == 2 and trainer.scaler.get_scale() == 2 * before
    resumed = start(tmp_path / "run", images, precision="fp16", fp16_scale_growth=0.1, max_steps=2)
    assert resumed.scaler.get_growth_interval() == 10


def test_gradients_are_clipped(tmp_path, images):
    trainer = scrambled(start(tmp_path / "run", images, grad_clip=1e-3))
    *_, norm = trainer.advance()
    assert norm > 0.1
    clipped = torch.cat([p.grad.flatten() for p in trainer.parameters]).norm()
    assert clipped.item() == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.skipif("ADD_SLOW_TESTS" not in os.environ, reason="compiling takes a minute; set ADD_SLOW_TESTS to run it")
def test_a_compiled_network_has_the_same_gradients(tmp_path, images):
    expected = gradients(scrambled(start(tmp_path / "a", images)))
    actual = gradients(scrambled(start(tmp_path / "b", images, compile=True)))
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-5)


def test_a_run_ends_by_steps_and_saves_at_intervals(tmp_path, images):
    rows = []
    start(tmp_path / "run", images, report=rows.append, max_steps=5, save_interval=2, log_interval=3, num_preview=4,
          preview_steps=2).run()
    names = sorted(path.name for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert [name for name in names if name.startswith("model")] == [f"model00000{step}.pt" for step in (2, 4, 5)]
    assert [name for name in names if name.endswith(".png")] == [f"samples00000{step}.png" for step in (2, 4, 5)]
    assert [row["step"] for row in rows] == [2, 3, 4, 5]  # logged at 3, and wherever it saves


def test_a_run_ends_by_minutes_or_by_request(tmp_path, images):
    by_time = start(tmp_path / "a", images, max_steps=0, max_minutes=1e-6)
    by_time.run()
    assert by_time.step == 1 and (tmp_path / "a" / "model000001.pt").exists() and not by_time.finished
    asked = []
    by_request = start(tmp_path / "b", images, max_steps=0)
    by_request.run(lambda: asked.append(1) or len(asked) == 3)
    assert by_request.step == 3 and (tmp_path / "b" / "state000003.pt").exists()


def test_nothing_is_measured_or_drawn_where_the_user_waits_for_the_end(tmp_path, images):
    notes, steps = [], []
    trainer = start(tmp_path / "run", images, note=notes.append, max_steps=9, num_preview=2, preview_steps=2,
                    val_fraction=0.3)
    trainer.run(lambda: trainer.step == 2, lambda: steps.append(trainer.step))
    assert steps == [1, 2] and (tmp_path / "run" / "state000002.pt").exists()
    assert not (tmp_path / "run" / "samples").exists() and trainer.run_folder.last_measured() is None
    assert "step 2 is written; nothing is measured or drawn" in notes[-1]


def test_progress_rows_agree_with_the_reports(tmp_path, images):
    rows = []
    trainer = start(tmp_path / "run", images, report=rows.append, max_steps=6, log_interval=2, val_fraction=0.3,
                    val_interval=4)
    trainer.run()
    written = trainer.run_folder.read_progress()
    assert [int(row["step"]) for row in written] == [2, 4, 6]
    for row, text in zip(rows, written, strict=True):
        assert float(text["loss"]) == pytest.approx(row["loss"], rel=1e-5) and row["images_per_sec"] > 0
        assert float(text["lr"]) == 1e-3
    assert [bool(row["val_loss"]) for row in written] == [False, True, True]  # at the interval and at the end
    assert trainer.watch.best_step == 4  # the end's measure is shown, the watch keeps to its interval


def test_the_held_out_loss_is_measured_at_its_own_interval(tmp_path, images):
    rows = []
    start(tmp_path / "run", images, report=rows.append, max_steps=5, log_interval=4, val_fraction=0.3,
          val_interval=2).run()
    assert [(row["step"], "val_loss" in row) for row in rows] == [(2, True), (4, True), (5, True)]


@pytest.mark.parametrize("options, steps, idle", [
    ({"max_steps": -1, "lr_anneal_steps": 2}, 2, False), ({"max_steps": 3, "lr_anneal_steps": 2}, 3, True)])
def test_annealing_ends_a_run_and_idle_steps_are_told_of(tmp_path, images, options, steps, idle):
    notes = []
    trainer = start(tmp_path / "run", images, note=notes.append, **options)
    trainer.run()
    assert trainer.step == steps and trainer.finished
    assert any("learning rate is 0 from step 2" in text for text in notes) == idle


def test_a_network_that_cannot_be_compiled_is_reported(tmp_path, images):
    from torch._inductor.exc import InvalidCxxCompiler

    trainer = start(tmp_path / "run", images)

    def forward(*args, **kwargs):
        raise InvalidCxxCompiler()

    trainer.forward = forward
    with pytest.raises(UserError, match="can't be compiled.*install one, or leave out --compile"):
        trainer.run()


def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, images):
    trainer = start(tmp_path / "run", images, max_steps=9, save_interval=2)
    take = trainer.gradients

    def break_at_step_3():
        losses, t, weights = take()
        if trainer.step == 3:
            losses["loss"] = losses["loss"] * math.nan
        return losses, t, weights

    trainer.gradients = break_at_step_3
    with pytest.raises(UserError, match=r"by step 4: loss nan.*step 2 stays.*lower --lr.*--grad_clip"):
        trainer.run()
    assert [path.name for path in (tmp_path / "run").glob("model*.pt")] == ["model000002.pt"]
    assert [row["step"] for row in trainer.run_folder.read_progress()] == ["1", "2", "3"]


def test_an_infinite_gradient_is_never_saved(tmp_path, images):
    """The loss is still finite at the step whose gradient breaks the weights."""
    trainer = start(tmp_path / "run", images, max_steps=1)
    trainer.parameters[0].register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(UserError, match="grad_norm.*nothing is saved"):
        trainer.run()
    assert list((tmp_path / "run").glob("*.pt")) == []


def test_a_huge_learning_rate_is_reported(tmp_path, images):
    with pytest.raises(UserError, match="lower --lr"):
        start(tmp_path / "run", images, max_steps=30, lr=100.0).run()


def test_a_slow_ema_is_told_of_with_advice_that_helps(tmp_path, images):
    notes = []
    start(tmp_path / "a", images, note=notes.append, max_steps=1, ema_warmup=False, ema_rate="0.999,0.001").run()
    slow = [text for text in notes if "EMA" in text]
    assert len(slow) == 1 and "rate 0.999: at the end 100% " in slow[0] and "--ema_warmup" in slow[0]
    notes.clear()
    start(tmp_path / "b", images, note=notes.append, max_steps=1, ema_rate="0.999").run()
    warmed = [text for text in notes if "EMA" in text]
    assert len(warmed) == 1 and "--ema_warmup" not in warmed[0] and "more steps" in warmed[0]
    notes.clear()
    start(tmp_path / "c", images, note=notes.append, max_steps=4, ema_rate="0.999").run()
    assert not [text for text in notes if "EMA" in text]


def test_an_upturn_of_the_held_out_loss_is_noted(tmp_path, images, monkeypatch):
    notes, losses = [], iter([1.0, 1.5, 1.6, 1.7, 1.8])
    monkeypatch.setattr("add.training.learning_tasks.held_out_loss", lambda *args: next(losses))
    start(tmp_path / "run", images, note=notes.append, max_steps=5, val_fraction=0.3, val_interval=1).run()
    assert [text for text in notes if "turned upward: 1 at step 1, 1.7 at step 4" in text]


def test_the_averaged_model_is_lent_and_given_back(tmp_path, images):
    """Weights and averages change places for the while, also where what is done with them fails."""
    trainer = start(tmp_path / "run", images, max_steps=2, ema_rate="0.5,0.9")
    trainer.run()
    own, average = weights(trainer), torch.cat([p.flatten() for p in trainer.emas["0.5"].parameters])
    places = [p.data_ptr() for p in trainer.parameters]
    with pytest.raises(RuntimeError, match="inside"), trainer.averaged_model() as model:
        assert torch.equal(weights(trainer), average) and not torch.equal(own, average)
        assert not model.training
        raise RuntimeError("inside")
    assert torch.equal(weights(trainer), own) and trainer.model.training
    assert torch.equal(torch.cat([p.flatten() for p in trainer.emas["0.5"].parameters]), average)
    assert [p.data_ptr() for p in trainer.parameters] == places
