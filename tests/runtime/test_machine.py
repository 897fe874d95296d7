"""Threads are chosen by the cores that are free, and memory is told on every system."""
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from add.runtime import machine
from add.runtime.machine import Threads, allowed_cores, busy_cores, choose_threads, peak_memory_mb, usable_cores


@pytest.fixture
def cores(monkeypatch):
    """Return set(number, busy): a machine of so many cores, of which others keep some busy."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def arrange(number, busy):
        monkeypatch.setattr(machine, "usable_cores", lambda: list(range(number)))
        monkeypatch.setattr(machine, "QUOTA", machine.Path("nowhere"))
        monkeypatch.setattr(machine, "busy_cores", lambda cores: busy)
    return arrange


@pytest.mark.parametrize(("number", "busy", "most", "threads"), [
    (2, 0, 2, "2 threads (no other work on 2 cores)"),
    (2, 1, 2, "1 thread (1 of 2 cores is busy)"),
    (2, 2, 2, "1 thread (2 of 2 cores are busy)"),  # one is always taken
    (8, 2, 4, "4 threads (2 of 8 cores are busy)"),  # four physical cores with two threads each
    (8, 6, 4, "2 threads (6 of 8 cores are busy)"),
    (1, 0, 1, "1 thread (no other work on 1 core)"),
])
def test_threads_are_the_free_cores(number, busy, most, threads, cores):
    cores(number, busy)
    assert str(choose_threads(0, most)) == threads


def test_what_the_user_says_comes_first(cores, monkeypatch):
    cores(8, 7)
    assert choose_threads(5, 8) == Threads(5, "as --threads says")
    assert choose_threads(0, 8, local_size=3) == Threads(2, "3 processes share 8 cores")
    assert choose_threads(0, 8, local_size=9).number == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    assert choose_threads(0, 6) == Threads(6, "as OMP_NUM_THREADS says")
    assert choose_threads(5, 6).number == 5


def test_cores_without_an_affinity_are_all_of_the_machine(monkeypatch):
    """As on macOS."""
    monkeypatch.setattr(machine.psutil, "Process", SimpleNamespace)
    monkeypatch.setattr(machine.psutil, "cpu_count", lambda: 3)
    assert usable_cores() == [0, 1, 2]


@pytest.mark.parametrize(("text", "number"), [
    ("max 100000\n", 6), ("200000 100000\n", 2), ("50000 100000\n", 1), ("900000 100000\n", 6)])
def test_a_container_s_quota_counts(text, number, tmp_path, monkeypatch):
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(machine, "QUOTA", tmp_path / "cpu.max")
    assert allowed_cores([2, 3, 5, 7, 11, 13]) == number


def test_work_beside_a_quota_takes_threads_only_where_cores_run_short(cores, tmp_path, monkeypatch):
    cores(6, 3)
    (tmp_path / "cpu.max").write_text("400000 100000")
    monkeypatch.setattr(machine, "QUOTA", tmp_path / "cpu.max")
    assert str(choose_threads(0, 6)) == "3 threads (3 of 6 cores are busy)"
    cores(6, 2)
    monkeypatch.setattr(machine, "QUOTA", tmp_path / "cpu.max")
    assert str(choose_threads(0, 6)) == "4 threads (no other work on 4 cores)"


def test_only_the_cores_that_may_be_used_are_watched(monkeypatch):
    monkeypatch.setattr(machine.psutil, "cpu_percent", lambda interval, percpu: [100.0, 97.0, 3.0, 60.0, 1.0])
    assert busy_cores([0, 1, 2, 3, 4]) == 3 and busy_cores([2, 4]) == 0 and busy_cores([1, 2, 99]) == 1


def test_another_process_makes_a_core_busy():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            assert busy_cores(usable_cores(), seconds=0.3) >= 1
        finally:
            other.kill()


def test_peak_memory_is_in_mib_on_every_system(monkeypatch):
    held = psutil.Process().memory_info().rss / 2**20
    assert held * 0.9 <= peak_memory_mb() <= held + 4096
    fake = SimpleNamespace(getrusage=lambda who: SimpleNamespace(ru_maxrss=3 * 2**20), RUSAGE_SELF=0)
    monkeypatch.setitem(sys.modules, "resource", fake)
    for platform, mib in (("linux", 3 * 1024), ("darwin", 3)):
        monkeypatch.setattr(machine.sys, "platform", platform)
        assert peak_memory_mb() == mib
    monkeypatch.setitem(sys.modules, "resource", None)  # Windows
    assert peak_memory_mb() == pytest.approx(held, rel=0.5)
    windows = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=1, peak_wset=5 * 2**20))
    monkeypatch.setattr(machine.psutil, "Process", lambda: windows)
    assert peak_memory_mb() == 5
