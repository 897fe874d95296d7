"""Measuring what steps cost leaves no trace in the training."""
import pytest
import torch

from add.baselines.baseline_models import METHODS
from add.baselines.baseline_setup import BaselineConfig, prepare_rival
from add.runtime.processes import World
from add.training.step_costs import (
    MEASURED_STEPS,
    WARM_UP_STEPS,
    BreakCosts,
    mean_seconds,
    measure_breaks,
    measure_steps,
)
from tests.training.runs import start
from tests.training.test_resume import HARD, assert_same, files


@pytest.mark.parametrize("options", [HARD, {"precision": "fp16", "microbatch": 3}], ids=["hard", "fp16"])
@pytest.mark.parametrize("begun", [0, 2])
def test_a_run_goes_on_bit_for_bit(tmp_path, images, options, begun):
    for name in ("plain", "measured"):
        if begun:
            start(tmp_path / name, images, **options | {"max_steps": begun}).run()
        trainer = start(tmp_path / name, images, **options | {"max_steps": 4})
        if name == "measured":
            costs = measure_steps(trainer)
            assert trainer.step == begun and trainer.saved_step == (begun or None)
        trainer.run()
    assert_same(files(tmp_path / "measured", 4), files(tmp_path / "plain", 4))
    written = sum(path.stat().st_size for path in (tmp_path / "plain").glob("*000004.pt"))
    assert costs.parameters == sum(p.numel() for p in trainer.parameters)
    assert 0.5 * written < costs.checkpoint_bytes < written and costs.seconds > 0


def test_measuring_what_steps_wait_for_leaves_no_trace(tmp_path, images):
    options = {"num_preview": 2, "preview_steps": 2, "val_fraction": 0.3, "val_interval": 1, "dropout": 0.3}
    trainers = [start(tmp_path / name, images, **options | {"max_steps": 2}) for name in ("plain", "measured")]
    breaks = measure_breaks(trainers[1])
    assert breaks.save > 0 and breaks.held_out > 0 and not (tmp_path / "measured" / "samples").exists()
    for trainer in trainers:
        trainer.run()
    assert_same(files(tmp_path / "measured", 2), files(tmp_path / "plain", 2))
    assert measure_breaks(start(tmp_path / "none", images)).held_out == 0


def test_others_wait_for_what_the_main_process_does(tmp_path, images):
    class Other(World):
        is_main = False

        def gather(self, value):
            return [(5.0, 2.0), value]

    trainer = start(tmp_path / "run", images)
    trainer.world = Other()
    assert measure_breaks(trainer) == BreakCosts(5.0, 2.0)


def test_so_does_a_baseline(tmp_path, images):
    for name in ("plain", "measured"):
        config = BaselineConfig(data_dir=str(images), run_dir=str(tmp_path / name), image_size=32, batch_size=4,
                                max_steps=2, num_preview=0, tensorboard=False, device="cpu")
        trainer = prepare_rival(config, METHODS["progan"][0](), World())
        if name == "measured":
            measure_steps(trainer)
        trainer.run()
    assert_same(files(tmp_path / "measured", 2), files(tmp_path / "plain", 2))


def test_the_first_step_does_not_count(tmp_path, images, monkeypatch):
    trainer = start(tmp_path / "run", images)
    clock = [0.0]
    monkeypatch.setattr("add.training.step_costs.time.monotonic", lambda: clock[0])
    take = iter([50.0] * WARM_UP_STEPS + [2.0, 3.0, 4.0])

    def advance():
        clock[0] += next(take)

    monkeypatch.setattr(trainer, "advance", advance)
    assert measure_steps(trainer).seconds == 9 / MEASURED_STEPS


@pytest.mark.parametrize(("device", "waits"), [("mps", 2), ("cpu", 0)])
def test_the_time_is_taken_when_the_device_is_done(monkeypatch, device, waits):
    waited = []
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append(device))
    mean_seconds(lambda: None, torch.device(device))
    assert len(waited) == waits


def test_the_slowest_process_counts_in_all_of_them(tmp_path, images):
    class Two(World):
        def gather(self, value):
            return [value, 7.0] if isinstance(value, float) else super().gather(value)

    assert measure_steps(start(tmp_path / "run", images, world=Two())).seconds == 7
