"""A save that fails or is killed at any point: the same command starts again, from the checkpoint before or step 0."""
import contextlib
import errno
import os

import pytest
import torch

from add.data import files
from add.errors import UserError
from tests.training.runs import start

NAMES = 4  # files of a checkpoint: state, optimiser, model, one average
STEPS = {"max_steps": 2, "save_interval": 1}


class Killed(BaseException):
    """Stands for SIGKILL: nothing is tidied up behind it."""


@contextlib.contextmanager
def kill_at(monkeypatch, count, suffix=".pt"):
    """Kill what runs inside before it gives the file number `count` its name, counted from 0."""
    replace, left = os.replace, [count]

    def counted(source, target):
        if str(target).endswith(suffix):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "replace", counted)
        patch.setattr(os, "unlink", lambda *args: None)
        yield


def fail_at(monkeypatch, count, error):
    """Let the writing of the checkpoint file number `count` fail, counted from 0, in the middle of its content."""
    opened, left = files._open_beside, [count]

    def counted(path):
        file = opened(path)
        if not str(path).endswith(".pt"):
            return file
        left[0] -= 1
        return Failing(file, error) if left[0] < 0 else file

    monkeypatch.setattr(files, "_open_beside", counted)


class Failing:
    """An open file that takes a few bytes and fails then."""

    def __init__(self, file, error):
        self.file, self.error, self.name = file, error, file.name

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self.file.close()

    def write(self, data):
        if self.file.tell() > 1000:
            raise self.error
        return self.file.write(data)


def pieces(run):
    return sorted(path.name for path in run.iterdir() if path.name.endswith((".pt", ".tmp")))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, images):
    """The last weights of a run that nothing broke off."""
    run = tmp_path_factory.mktemp("whole")
    start(run, images, **STEPS).run()
    return torch.load(run / "ema_0.9999_000002.pt")


def assert_ends_well(run, images, whole):
    notes = []
    again = start(run, images, note=notes.append, **STEPS)
    before = again.step
    again.run()
    ended = torch.load(run / "ema_0.9999_000002.pt")
    assert all(torch.equal(ended[name], value) for name, value in whole.items())
    assert not list(run.glob("*.tmp"))
    return before, "\n".join(notes)


@pytest.mark.parametrize("count", range(NAMES))
def test_a_first_checkpoint_that_is_killed_half_named_starts_at_step_0(tmp_path, images, monkeypatch, whole, count):
    run = tmp_path / "run"
    with kill_at(monkeypatch, count):
        start(run, images, **STEPS).run()
    assert len(list(run.glob("*.pt"))) == count and len(list(run.glob(".*.tmp"))) == NAMES - count
    step, notes = assert_ends_well(run, images, whole)
    assert step == 0
    assert ("none that is whole: training starts at step 0" in notes) == (count > 0)


@pytest.mark.parametrize("count", range(NAMES))
def test_a_second_checkpoint_that_is_killed_half_named_goes_on_from_the_first(tmp_path, images, monkeypatch, whole,
                                                                              count):
    run = tmp_path / "run"
    with kill_at(monkeypatch, NAMES + count):
        start(run, images, **STEPS).run()
    step, notes = assert_ends_well(run, images, whole)
    assert step == 1 and ("checkpoint of step 2 is passed over" in notes) == (count > 0)


def test_a_half_named_checkpoint_over_a_damaged_one_is_no_mixture_of_both(tmp_path, images, monkeypatch, whole):
    """The files of both have the same sizes."""
    run = tmp_path / "run"
    start(run, images, **STEPS, lr=1e-2).run()
    damaged = run / "opt000002.pt"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    with kill_at(monkeypatch, 2):
        start(run, images, **STEPS, lr=1e-4).run()
    resumed = start(run, images, **STEPS)
    assert resumed.step == 1


@pytest.mark.parametrize("count", range(NAMES))
@pytest.mark.parametrize("error, advice", [
    (OSError(errno.ENOSPC, "No space left on device"), "free some space"),
    (OSError(errno.EIO, "Input/output error"), "see to the disk"),
    (PermissionError(errno.EACCES, "Permission denied"), "change their rights"),
    (MemoryError(), None), (KeyboardInterrupt(), None)], ids=lambda value: type(value).__name__)
def test_a_first_checkpoint_that_cannot_be_written_leaves_nothing(tmp_path, images, monkeypatch, count, error, advice):
    run = tmp_path / "run"
    trainer = start(run, images, **STEPS)
    with monkeypatch.context() as patch, pytest.raises((UserError, type(error)), match=advice) as raised:
        fail_at(patch, count, error)
        trainer.run()
    if isinstance(error, OSError):
        assert isinstance(raised.value, UserError) and "cannot write" in str(raised.value)
    assert pieces(run) == []
    assert start(run, images, **STEPS).step == 0


def test_pieces_that_are_being_set_aside_can_be_killed_too(tmp_path, images, monkeypatch, whole):
    for count in range(NAMES):
        run = tmp_path / str(count)
        with kill_at(monkeypatch, NAMES - 1):
            start(run, images, **STEPS).run()
        with kill_at(monkeypatch, min(count, NAMES - 2)):
            start(run, images, **STEPS)
        assert assert_ends_well(run, images, whole)[0] == 0
