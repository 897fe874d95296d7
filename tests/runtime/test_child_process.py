"""A parent that waits for a child: what ends the one reaches the other, and nobody is left alone."""
import os
import signal
import subprocess
import sys
import time

import pytest

from add.runtime.child_process import wait_for
from add.study.study_steps import own_environment

# The child: notes its number, and each signal that comes; ends at the first with status 5, with `stays` not.
CHILD = """
import pathlib, signal, sys, time
place, stays = pathlib.Path(sys.argv[1]), "stays" in sys.argv
def note(number, frame):
    with open(place / "signals", "a") as file:
        file.write(f"{number}\\n")
    if not stays:
        sys.exit(5)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, note)
(place / "begun").touch()
end = time.monotonic() + 60
while time.monotonic() < end and not (place / "end").exists():
    time.sleep(0.05)
"""
PARENT = """
import subprocess, sys
from add.runtime.child_process import wait_for
own = sys.argv[2] != "same"
sys.exit(wait_for(subprocess.Popen([sys.executable, "-c", CHILD, *sys.argv[1:]], start_new_session=own), own,
                  sys.argv[2] == "group"))
"""


@pytest.fixture
def started(tmp_path):
    """Start a parent with its child; give them when the child has begun."""
    running = []

    def start(*words, ignoring=()):
        def set_signals():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN if number in ignoring else signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)

        command = [sys.executable, "-c", PARENT.replace("CHILD", repr(CHILD)), str(tmp_path), *words]
        running.append(subprocess.Popen(command, env=own_environment(), start_new_session=True,
                                        preexec_fn=set_signals))
        end = time.monotonic() + 60
        while not (tmp_path / "begun").exists() and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.2)  # the parent has begun to wait
        return running[-1]

    yield start
    (tmp_path / "end").touch()
    for process in running:
        process.kill()
        process.wait()


def signals(folder):
    return [int(line) for line in (folder / "signals").read_text().split()]


@pytest.mark.parametrize("kind", ["same", "own", "group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_parent_alone_ends_both(tmp_path, started, kind, number):
    parent = started(kind)
    os.kill(parent.pid, number)
    assert parent.wait(30) == 128 + number
    assert signals(tmp_path) == [signal.SIGTERM]


@pytest.mark.parametrize("kind", ["own", "group"])
def test_a_ctrl_c_reaches_a_child_in_a_session_of_its_own(tmp_path, started, kind):
    parent = started(kind)
    os.killpg(parent.pid, signal.SIGINT)  # as a terminal: the child is not in this group
    assert parent.wait(30) in (130, -signal.SIGINT) and signals(tmp_path) == [signal.SIGINT]


def test_a_second_ctrl_c_does_not_wait_any_longer(tmp_path, started):
    parent = started("group", "stays")
    for count in (1, 2):
        os.kill(parent.pid, signal.SIGINT)
        end = time.monotonic() + 30
        while (not (tmp_path / "signals").exists() or len(signals(tmp_path)) < count) and time.monotonic() < end:
            time.sleep(0.02)
    assert parent.wait(30) in (130, -signal.SIGINT) and signals(tmp_path) == [signal.SIGINT] * 2


def test_what_nohup_ignores_stays_ignored(tmp_path, started):
    parent = started("same", ignoring=(signal.SIGHUP,))
    os.kill(parent.pid, signal.SIGHUP)
    time.sleep(0.3)
    assert parent.poll() is None and not (tmp_path / "signals").exists()
    os.kill(parent.pid, signal.SIGTERM)
    assert parent.wait(30) == 128 + signal.SIGTERM


def test_a_child_that_ends_by_itself_gives_its_status_and_handlers_are_as_before():
    before = signal.getsignal(signal.SIGTERM)
    assert wait_for(subprocess.Popen([sys.executable, "-c", "import sys; sys.exit(7)"])) == 7
    assert signal.getsignal(signal.SIGTERM) == before
