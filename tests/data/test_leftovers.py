"""Temporary files of processes that were killed go, those of living ones stay."""
import math
import os
import subprocess
import sys
import time

import pytest

from add.data.files import write_atomically, written_together
from add.data.leftovers import hold, let_go, sweep, temporary_path

WRITE = ("import sys, time\nfrom add.data.files import write_atomically\ndef write(file):\n"
         "    file.write(b'half')\n    file.flush()\n    print('begun', flush=True)\n    time.sleep(60)\n"
         "write_atomically(sys.argv[1], write)\n")
needs_locks = pytest.mark.skipif(os.name == "nt", reason="no locks of open files")


def write_and_hang(path):
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", WRITE, str(path)], env=environ, stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def left_in(folder):
    return [path.name for path in folder.glob(".*.tmp")]


@needs_locks
def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    writer = write_and_hang(tmp_path / "a.png")
    sweep(tmp_path, before=math.inf)
    assert len(left_in(tmp_path)) == 1
    writer.kill()
    writer.wait()
    sweep(tmp_path, before=math.inf)
    assert left_in(tmp_path) == []


def test_the_next_process_that_writes_in_a_folder_sweeps_it_once(tmp_path):
    old, new = (tmp_path / f".b.png.{digit * 32}.tmp" for digit in "01")
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))  # before this process began
    write_atomically(tmp_path / "a.png", lambda file: file.write(b"whole"))
    assert left_in(tmp_path) == [new.name] and (tmp_path / "a.png").read_bytes() == b"whole"
    old.touch()
    os.utime(old, (0, 0))
    write_atomically(tmp_path / "c.png", lambda file: file.write(b"whole"))
    assert old.exists()


@needs_locks
def test_files_that_wait_for_others_are_held_until_they_have_their_names(tmp_path):
    with written_together() as write_one:
        for name in ("a", "b"):
            write_one(tmp_path / name, lambda file: file.write(b"whole"))
        sweep(tmp_path, before=math.inf)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@needs_locks
def test_folders_go_as_well_and_other_files_stay(tmp_path):
    folder = temporary_path(tmp_path / "pipeline")
    os.mkdir(folder)
    held = hold(folder)
    for name in ("a.tmp", ".notes.tmp", f".{'0' * 32}.tmp", f".a.{'0' * 31}.tmp"):
        (tmp_path / name).touch()
    (tmp_path / f".link.{'0' * 32}.tmp").symlink_to(tmp_path / "a.tmp")
    sweep(tmp_path, before=math.inf)
    assert os.path.isdir(folder) and len(list(tmp_path.iterdir())) == 6
    let_go(held)
    sweep(tmp_path, before=time.time() - 60)
    assert os.path.isdir(folder)
    sweep(tmp_path, before=math.inf)
    assert not os.path.exists(folder) and len(list(tmp_path.iterdir())) == 5
