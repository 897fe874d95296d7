"""Work on many files by some threads at a time, such as reading them, which releases the interpreter's lock."""
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

MOST_THREADS = 8
_WAITING = 4096  # calls that are prepared at a time, however many there are
_TOGETHER = 32  # calls at most that a thread is given at once: giving costs as much as reading a header

_most_threads = MOST_THREADS

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item], threads: int = 0) -> Iterator[Result]:
    """Yield function(item) of each item, in order; what it raises passes through.

    Args:
        threads: at a time; 0: as many as `reading_threads` says.
    """
    left = iter(items)
    threads = threads or reading_threads()

    def together(some):
        return [function(item) for item in some]

    with ThreadPoolExecutor(threads) as pool:
        while some := list(itertools.islice(left, _WAITING)):
            length = max(1, min(_TOGETHER, len(some) // (4 * threads)))
            for results in pool.map(together, (some[i:i + length] for i in range(0, len(some), length))):
                yield from results


def reading_threads() -> int:
    """Return how many threads decode images, which releases the interpreter's lock: one per core, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _most_threads)


def set_most_threads(number: int) -> None:
    """Let this process read with so many threads at most, as one of several that read."""
    global _most_threads
    _most_threads = number
