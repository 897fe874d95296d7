"""Processes that watch over each other: what is said of a loss, by whom, and that the living are left alone."""
import os
import socket
import subprocess
import sys
import time

import pytest

from add.runtime import peer_watch
from add.runtime.peer_watch import DIED, ENDED, FAILED, SILENT, UNMET, PeerWatch
from add.runtime.world import World


@pytest.fixture
def watched(monkeypatch):
    """Give watch(rank, timeout=...) -> (PeerWatch of that rank, the other side of its connection to rank 0 or 1)."""
    monkeypatch.setattr(peer_watch, "PATIENCE", 1000.0)  # the watch itself would end the tests
    opened = []

    def watch(rank, timeout=60.0, size=2, hosts=("a", "a")):
        mine, other = socket.socketpair()
        other.settimeout(10)
        opened.append((PeerWatch(World(rank=rank, size=size), {int(rank == 0): mine}, list(hosts), timeout), other))
        return opened[-1]

    yield watch
    for watch, other in opened:
        watch.close()
        other.close()


def wait_for_loss(watch):
    deadline = time.monotonic() + 10
    while watch.loss is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return watch.loss and (watch.loss.rank, watch.loss.how)


def test_a_closed_connection_is_a_death_and_told_of_once(watched, capfd):
    watch, other = watched(0)
    other.close()
    assert wait_for_loss(watch) == (1, DIED)
    said = capfd.readouterr().err
    assert said.startswith("error: process 1 of 2 (counted from 0, on a) died") and said.count("\n") == 1


def test_silence_for_the_timeout_is_a_loss_and_signs_keep_it_off(watched, capfd):
    watch, other = watched(1, timeout=0.5)
    for _ in range(10):
        other.send(b".")
        time.sleep(0.1)
    assert watch.loss is None and b"." in other.recv(100)
    assert wait_for_loss(watch) == (0, SILENT)
    assert "process 0 of 2 (counted from 0, on a) gave no sign for 0.5 seconds (--timeout)" in capfd.readouterr().err
    told = b""
    while SILENT not in told:
        told += other.recv(100)
    assert told.endswith(SILENT + bytes(4))  # so that it hears why, should it go on


@pytest.mark.parametrize("message, loss", [
    (FAILED, (0, FAILED)), (UNMET, (0, UNMET)), (DIED + b"\0\0\0\2", (2, DIED)), (SILENT + b"\0\0\0\1", (1, SILENT))])
def test_what_the_first_process_tells_is_not_said_again(watched, capfd, message, loss):
    watch, other = watched(1, size=3, hosts=("a", "b", "b"))
    for byte in message:  # messages may come in pieces
        other.send(bytes([byte]))
        time.sleep(0.02)
    assert wait_for_loss(watch) == loss and capfd.readouterr().err == ""


def test_without_the_first_process_one_of_each_machine_tells(watched, capfd):
    for rank, speaks in ((1, True), (2, False)):
        watch, other = watched(rank, size=3, hosts=("a", "b", "b"))
        other.close()
        assert wait_for_loss(watch) == (0, DIED) and ("process 0" in capfd.readouterr().err) == speaks


def test_who_ends_well_is_no_loss(watched):
    watch, other = watched(0)
    other.send(ENDED)
    other.close()
    time.sleep(0.2)
    assert watch.loss is None
    watch.end_if_lost(0)  # it would end the tests


def test_a_process_that_stood_still_itself_takes_nobody_for_lost(watched, monkeypatch):
    """As where a whole job is suspended: all clocks go on."""
    watch, other = watched(0, timeout=100.0)
    real = time.monotonic
    monkeypatch.setattr(peer_watch.time, "monotonic", lambda: real() + 3600)
    time.sleep(1.2)
    assert watch.loss is None


@pytest.mark.parametrize("how, status", [(FAILED, 2), (DIED + b"\0\0\0\0", 75)])
def test_work_that_goes_on_is_ended(how, status):
    """Also where it is busy, or waits for something else."""
    code = ("import socket, sys, time\nfrom add.runtime import peer_watch\nfrom add.runtime.world import World\n"
            "peer_watch.PATIENCE = 0.2\nmine, other = socket.socketpair()\n"
            "watch = peer_watch.PeerWatch(World(rank=1, size=2), {0: mine}, ['a', 'a'], 60)\n"
            f"other.send({how!r})\ntime.sleep(30)")
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environ, check=False, timeout=60).returncode == status
