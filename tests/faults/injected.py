"""Faults at a command's file events: an error, a signal or a kill at one of them, or a disk that takes no more."""
import dataclasses
import errno
import hashlib
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from add.data import leftovers
from tests.faults import workplace
from tests.faults.trials import ACCEPTED, Outcome, attempt, litter

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EMFILE, errno.ENOMEM, errno.EPERM)
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.listdir", "os.scandir"}  # told of as they begin
OUTPUTS = {"translate": ("translations",), "evaluate": ("evaluation",), "image_sample": ("samples",),
           "super_res_sample": ("large",), "image_nll": ("likelihood",), "train": ("runs/trained",),
           "baseline_train": ("runs/rival",), "baseline_sample": ("rival_samples",),
           "synthetic_translation": ("carried",), "convert": ("runs/converted", "runs/lean"), "classify": ("scores",)}
RESULTS = ("*.png", "model*.pt", "ema_*.pt", "opt*.pt", "labels*.csv", "*.npy", "terms.csv")  # without clocks or dates
COMPLETE = "nothing is overwritten"  # of convert, where its folder is whole
TIMED = ("run.json", "curves.png")


class Injector:
    """Counts the file events in a folder, and lets something happen at one of them.

    Args:
        place: the folder.
        at: number of the event, counted from 0; -1: none.
        act: called with the path then.
    """

    def __init__(self, place: Path, at: int = -1, act: Callable[[str], None] = lambda path: None):
        self.place, self.at, self.act, self.count = str(place), at, act, 0
        sys.addaudithook(self._hear)

    def _hear(self, event, given):
        if event in EVENTS and given and isinstance(given[0], (str, os.PathLike)):
            path = os.fspath(given[0])
            if isinstance(path, str) and os.path.abspath(path).startswith(self.place):
                number, self.count = self.count, self.count + 1
                if number == self.at:
                    self.act(path)


@dataclasses.dataclass(frozen=True)
class Fault:
    """A fault and what came of it: of the command that met it, and of the same command afterwards.

    lost: the same command doesn't complete the work, or makes something else of it. litter: temporary files after it.
    """

    name: str
    kind: str
    how: str
    outcome: Outcome
    afterwards: Outcome
    lost: str
    litter: list[str]


class Faults:
    """Faults in the commands of a workplace.

    Args:
        pristine, place: as spoiled_files.prepare returns them.
        thorough: as they were built.
    """

    def __init__(self, pristine: Path, place: Path, thorough: bool = False):
        self.pristine, self.place = pristine, place
        self.readings = [reading for reading in workplace.readings(place, thorough) if reading.name in OUTPUTS]
        self._expected: dict[tuple[str, ...], tuple[int, dict[str, str]]] = {}  # events and results by command

    def try_one(self, seed: int) -> Fault:
        """Return the fault of a seed."""
        rng = random.Random(seed)
        reading = rng.choice(self.readings)
        events, expected = self._unbroken(reading)
        kind, words, begin = self._draw(rng, events)
        self._set_out(reading)

        def broken():
            begin()
            return workplace.run(reading.words)

        outcome = attempt(broken)
        afterwards = attempt(lambda: _as_new_process(reading))
        complete = afterwards.kind == ACCEPTED or COMPLETE in afterwards.said
        lost = "" if complete else afterwards.said or afterwards.kind
        if not lost:
            found = self._results(reading)
            lost = ", ".join(name for name in expected if expected[name] != found.get(name))  # a stop may save more
        return Fault(reading.name, kind, words, outcome, afterwards, lost, litter(self.place))

    def _draw(self, rng, events):
        """Return (the kind of a fault, the fault in words, what a process does to meet it)."""
        kind = rng.choice(["error", "error", "signal", "full"])
        at = rng.randrange(events)
        if kind == "full":
            most = rng.choice([0, 100, 1000, 10_000, 100_000, 1_000_000])
            return (kind, f"files of at most {most} bytes",
                    lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))
        if kind == "signal":
            number = rng.choice(SIGNALS)
            return (kind, f"{number.name} at event {at}",
                    lambda: Injector(self.place, at, lambda path: os.kill(os.getpid(), number)))
        number = rng.choice(ERRORS)
        return kind, f"{errno.errorcode[number]} at event {at}", lambda: Injector(self.place, at, _raising(number))

    def _unbroken(self, reading):
        """Return (file events, results) of a command that meets no fault."""
        if reading.words not in self._expected:
            self._set_out(reading)
            count = self.pristine.parent / "count.txt"

            def counted():
                injector = Injector(self.place)
                status = workplace.run(reading.words)
                with open(count, "w") as file:
                    file.write(str(injector.count))
                return status

            outcome = attempt(counted)
            assert outcome.kind == ACCEPTED, f"{reading.name} without a fault: {outcome.said}"
            self._expected[reading.words] = int(count.read_text()), self._results(reading)
        return self._expected[reading.words]

    def _set_out(self, reading):
        """Bring the workplace to where the command has yet to do its work."""
        if self.place.exists():
            shutil.rmtree(self.place)
        shutil.copytree(self.pristine, self.place)
        for name in (*reading.removed, *OUTPUTS[reading.name]):
            path = self.place / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _results(self, reading):
        """Return {path: SHA-256} of what the command has made that doesn't tell the time."""
        found = {}
        for folder in OUTPUTS[reading.name]:
            for pattern in RESULTS:
                for path in (self.place / folder).rglob(pattern):
                    if path.name not in TIMED and not path.name.endswith(".tmp") and "incomplete" not in path.parts:
                        name = str(path.relative_to(self.place))
                        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found


def _as_new_process(reading):
    """Return the status of a command in what stands for a process that begins now."""
    leftovers.STARTED = time.time()
    leftovers._swept.clear()
    return workplace.run(reading.words)


def _raising(number):
    def act(path):
        if number == errno.ENOMEM:
            raise MemoryError
        raise OSError(number, os.strerror(number), path)

    return act
