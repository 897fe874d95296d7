"""Spoil one file after another of a workplace, and run the command that reads it.

python -m tests.faults.spoiled_files --cases 300 --seed 1   # in an empty folder of its own; prints what went wrong
"""
import argparse
import collections
import contextlib
import io
import random
import shutil
import signal
import tempfile
import time
import traceback
from pathlib import Path

from tests.faults import workplace
from tests.faults.spoil import spoil

PATIENCE = 60.0  # seconds of this process, not of the clock


class Case:
    """One spoiled file and what came of it: `outcome` is the exit status, "hang", or the kind of an exception.

    Args:
        pristine: a workplace as it was built. place: where it is copied to, under the path that it was built in.
        thorough: as it was built.
    """

    def __init__(self, pristine: Path, place: Path, seed: int, thorough: bool = False):
        rng = random.Random(seed)
        self.seed, self.seconds, self.details = seed, 0.0, ""
        self.reading = rng.choice(workplace.readings(place, thorough))
        _copy(pristine, place)
        for name in self.reading.removed:
            path = place / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        files = sorted({path for pattern in self.reading.files for path in place.glob(pattern) if path.is_file()})
        self.file = rng.choice(files)
        self.how = spoil(self.file, rng, files)
        self.outcome = self._run()

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.reading.name}, {self.file} ({self.how}): {self.outcome}"

    def _run(self):
        said, start = io.StringIO(), time.monotonic()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), _limited():
                return workplace.run(self.reading.words)
        except TimeoutError:
            return "hang"
        except Exception as error:
            self.details = traceback.format_exc()
            return type(error).__name__
        finally:
            self.seconds = time.monotonic() - start
            self.details = self.details or said.getvalue()[-600:]


@contextlib.contextmanager
def _limited():
    """Raise TimeoutError where what is inside takes longer than PATIENCE, on systems with such a timer."""
    def stop(number, frame):
        raise TimeoutError

    if not hasattr(signal, "SIGPROF"):
        yield
        return
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _copy(pristine, place):
    if place.exists():
        shutil.rmtree(place)
    shutil.copytree(pristine, place)


def prepare(folder: Path, thorough: bool = False) -> tuple[Path, Path]:
    """Return (a workplace as it was built, the path that it was built in) below a folder."""
    place, pristine = folder / "work", folder / "pristine"
    with contextlib.redirect_stdout(io.StringIO()):
        workplace.build(place, thorough)
    place.rename(pristine)
    return pristine, place


def main() -> None:
    """Run the cases that the command line asks for and print their counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        pristine, place = prepare(Path(folder), thorough=True)
        for seed in range(args.seed, args.seed + args.cases):
            case = Case(pristine, place, seed, thorough=True)
            counts[str(case.outcome)] += 1
            if case.outcome not in (0, 2):
                print(f"{case}\n{case.details}", flush=True)
    print(f"{args.cases} cases: " + ", ".join(f"{count} x {outcome}" for outcome, count in counts.most_common()))


if __name__ == "__main__":
    main()
