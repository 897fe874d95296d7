"""One training at a time in a run folder."""
import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from add.data.folder_lock import TRAINING, lock_name, locked
from add.errors import UserError
from tests.commands.commands import ROOT

HOLD = "import sys, time\nfrom add.data.folder_lock import locked\n" \
       "with locked(sys.argv[1]):\n    print('held', flush=True)\n    time.sleep(60)\n"


def test_a_second_training_is_refused_and_told_of_the_first(tmp_path):
    run = tmp_path / "runs" / "mild"
    with locked(run):
        with pytest.raises(UserError, match=rf"another training is running in {run} \(process {os.getpid()} on .*"
                                            "--run_dir"), locked(run):
            pass
        with locked(tmp_path / "runs" / "severe"):
            pass
        assert run.is_dir()
    with locked(run):
        (run / "kept").touch()
    assert sorted(path.name for path in run.iterdir()) == ["kept"]


def test_folders_that_stay_empty_are_removed(tmp_path):
    (tmp_path / "there").mkdir()
    with locked(tmp_path / "there" / "a" / "b"):
        pass
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_a_killed_training_leaves_no_lock(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"process {process.pid} on"), locked(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert (tmp_path / lock_name(TRAINING)).exists()
    with locked(tmp_path):
        pass
    assert not (tmp_path / lock_name(TRAINING)).exists()


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch):
    def refuse(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    notes = []
    with locked(tmp_path, notes.append):
        pass
    assert len(notes) == 1 and "can't be locked (No locks available)" in notes[0]


def test_a_lock_file_that_its_owner_removed_meanwhile_does_not_count(tmp_path, monkeypatch):
    """Two processes would each hold a lock, of which one lies on a file that is gone."""
    lock, first = fcntl.flock, []

    def late(handle, operation):
        if not first:
            first.append(handle)
            (tmp_path / lock_name(TRAINING)).unlink()
        lock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(tmp_path):
        assert (tmp_path / lock_name(TRAINING)).exists()


def test_a_folder_that_cannot_be_made_is_the_users_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write .*--run_dir"), locked(tmp_path / "file" / "run"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
