"""A run that a signal stopped, and that was started again, has the rows and pictures of an unbroken one."""
import csv

import pytest

from add.errors import UserError
from tests.baselines.test_adversarial import start as start_rival
from tests.tiny import make_images
from tests.training.runs import start

CLOCKED = {"sec_per_step", "images_per_sec", "minutes"}
OPTIONS = {"max_steps": 7, "log_interval": 3, "save_interval": 4, "val_interval": 5, "val_fraction": 0.4,
           "num_preview": 2, "preview_steps": 2, "preview_kid": 8, "diffusion_steps": 20, "dropout": 0.3,
           "schedule_sampler": "loss-second-moment", "learn_sigma": True}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A folder of 24 images of 16 pixels."""
    return make_images(tmp_path_factory.mktemp("images"), count=24)


def mean_distance(real):
    """Return a scorer that tells how far the mean of samples is from that of real images."""
    return lambda made: 1000 * (made.mean() - real.mean()).abs().item()


def begin(run, many, **options):
    return start(run, many, scorer_against=mean_distance, **OPTIONS | options)


def stop_at(trainer, step):
    """Run a trainer until a signal is there as the step ends."""
    trainer.run(lambda: trainer.step >= step)


def rows(run):
    """Return the rows of progress.csv without what a clock tells."""
    with open(run / "progress.csv") as file:
        return [{name: text for name, text in row.items() if name not in CLOCKED} for row in csv.DictReader(file)]


def pictures(run):
    return {path.name: path.read_bytes() for path in (run / "samples").glob("*")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, many):
    run = tmp_path_factory.mktemp("whole")
    begin(run, many).run()
    assert [row["step"] for row in rows(run)] == ["3", "4", "5", "6", "7"]
    assert [bool(row["kid_x1000"]) for row in rows(run)] == [False, True, False, False, True]
    assert [bool(row["val_loss"]) for row in rows(run)] == [False, False, True, False, True]
    assert sorted(pictures(run)) == ["samples000004.png", "samples000007.png"]
    return run


@pytest.mark.parametrize("steps", [[1, 2], [3, 4], [5, 6], [7]], ids=str)
def test_a_stop_leaves_no_trace(tmp_path, many, whole, steps):
    """Between rows, at a row, at a save and at the end."""
    run = tmp_path / "run"
    for step in steps:
        trainer = begin(run, many)
        stop_at(trainer, step)
        assert trainer.saved_step == step and trainer.run_folder.steps()[0] == step
    begin(run, many).run()
    assert rows(run) == rows(whole) and pictures(run) == pictures(whole)


def test_what_a_kill_behind_a_checkpoint_left_out_is_made_up_for(tmp_path, many, whole, monkeypatch):
    run, trainer = tmp_path / "run", begin(tmp_path / "run", many)
    monkeypatch.setattr(trainer, "_save_picture", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.run()
    assert trainer.step == 4 and not (run / "samples").exists()
    begin(run, many).run()
    assert rows(run) == rows(whole) and pictures(run) == pictures(whole)


def test_a_stop_keeps_no_weights_that_broke(tmp_path, many):
    trainer = begin(tmp_path / "run", many)
    trainer.parameters[0].register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(UserError, match="grad_norm.*nothing is saved"):
        stop_at(trainer, 1)
    assert not list((tmp_path / "run").glob("*.pt"))


def test_the_means_of_other_processes_are_not_taken_for_ones_own(tmp_path, many):
    trainer = begin(tmp_path / "run", many)
    stop_at(trainer, 2)
    resumed = begin(tmp_path / "run", many)
    assert len(resumed.kept_windows) == 1
    resumed.kept_windows *= 2  # of a run in two processes: the row is of the steps from here on
    stop_at(resumed, 3)
    (row,) = rows(tmp_path / "run")
    assert row["step"] == "3" and row["loss"]


def test_a_run_goes_on_from_a_named_checkpoint_without_pictures_of_its_own(tmp_path, many):
    begin(tmp_path / "a", many, max_steps=4).run()
    other = begin(tmp_path / "b", many, resume_checkpoint=str(tmp_path / "a" / "model000004.pt"))
    stop_at(other, 5)
    assert other.step == 5 and not (tmp_path / "b" / "samples").exists()


@pytest.mark.parametrize("step", [3, 4])
def test_a_rivals_stop_leaves_no_trace(tmp_path, step):
    options = {"max_steps": 6, "log_interval": 4, "num_preview": 2}
    start_rival(tmp_path / "whole", **options).run()
    stopped = start_rival(tmp_path / "parts", **options)
    stop_at(stopped, step)
    resumed = start_rival(tmp_path / "parts", **options)
    resumed.restore(resumed.run_folder.newest_good(print), resumed.run_folder.path)
    resumed.run()
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    assert pictures(tmp_path / "parts") == pictures(tmp_path / "whole")
