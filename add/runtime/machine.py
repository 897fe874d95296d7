"""The machine that a process runs on: cores it may use, how many of them are free, its memory, threads to take.

More threads than free cores can cost far more than they bring: at the end of every parallel part of a network the
threads wait for the last one, which waits for a core, and OpenMP's threads burn their own core meanwhile.
"""
import os
import sys
from pathlib import Path
from typing import NamedTuple

import psutil

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a Linux container: microseconds per period, or max
WATCHED_SECONDS = 0.2


class Threads(NamedTuple):
    """A number of CPU threads, and why it was chosen, in words."""

    number: int
    reason: str

    def __str__(self) -> str:
        return f"{self.number} thread{'s' if self.number > 1 else ''} ({self.reason})"


def usable_cores() -> list[int]:
    """Return the numbers of the CPU cores that this process may run on."""
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # not on macOS
        return list(process.cpu_affinity())
    return list(range(psutil.cpu_count() or 1))


def allowed_cores(cores: list[int]) -> int:
    """Return how many of its cores this process may use at a time, by the quota of its container."""
    try:
        quota, period = QUOTA.read_text(encoding="utf-8").split()
        return min(len(cores), max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # another system, or "max"
        return len(cores)


def busy_cores(cores: list[int], seconds: float = WATCHED_SECONDS) -> int:
    """Return how many of these cores other processes keep busy, watched for some seconds in which this one rests."""
    shares = psutil.cpu_percent(interval=seconds, percpu=True)
    return min(len(cores), round(sum(shares[core] for core in cores if core < len(shares)) / 100))


def choose_threads(given: int, most: int, local_size: int = 1) -> Threads:
    """Return the CPU threads of this process.

    Args:
        given: by the user; 0 leaves the choice to OMP_NUM_THREADS, else to the cores that are free now.
        most: what the library takes by itself, not more than the physical cores.
        local_size: processes of the run on this machine, which share the cores; what others do is then not watched.
    """
    if given > 0:
        return Threads(given, "as --threads says")
    if "OMP_NUM_THREADS" in os.environ:
        return Threads(most, "as OMP_NUM_THREADS says")
    cores = usable_cores()
    allowed = allowed_cores(cores)
    if local_size > 1:
        return Threads(max(1, allowed // local_size), f"{local_size} processes share {_cores(allowed)}")
    busy = busy_cores(cores)
    free = len(cores) - busy
    reason = (f"no other work on {_cores(allowed)}" if free >= allowed else
              f"{busy} of {_cores(len(cores))} {'is' if busy == 1 else 'are'} busy")
    return Threads(max(1, min(most, allowed, free)), reason)


def _cores(number):
    return f"{number} core{'s' if number > 1 else ''}"


def peak_memory_mb() -> float:
    """Return the peak memory of this process in MiB; where the system keeps no peak, what it holds now."""
    memory = psutil.Process().memory_info()
    if (peak := getattr(memory, "peak_wset", None)) is not None:  # Windows
        return peak / 2**20
    try:
        import resource
    except ImportError:
        return memory.rss / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
