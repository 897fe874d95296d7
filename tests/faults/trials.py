"""One trial: work in a process of its own, forked from this one, and what came of it."""
import contextlib
import dataclasses
import os
import resource
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

REFUSED, ACCEPTED, SIGNALLED = "refused", "accepted", "signalled"
TRACEBACK, HANG, MEMORY = "traceback", "hang", "memory"
OUTCOMES = (REFUSED, ACCEPTED, SIGNALLED, TRACEBACK, HANG, MEMORY)
WRONG = (TRACEBACK, HANG, MEMORY)
PATIENCE = 90.0  # seconds of the clock
MOST_MEMORY = 1.5 * 2**30  # bytes beyond those that the process began with
SIGNALS = (130, 143, 129)  # statuses of commands that a signal ended
_FAILED = 99  # status of a process whose work raised


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a trial: one of OUTCOMES, and the last of what it said."""

    kind: str
    said: str


def attempt(work: Callable[[], int], seconds: float = PATIENCE) -> Outcome:
    """Return what comes of work() -> exit status, as a command's; it may not last longer than some seconds.

    Refused is what ends with status 2 and one sentence.
    """
    reading, writing = os.pipe()  # a file would be full where the trial's disk is
    child = os.fork()
    if child == 0:
        _work(work, writing)
    os.close(writing)
    said: list[bytes] = []
    listener = threading.Thread(target=_listen, args=(reading, said))
    listener.start()
    status = _wait(child, time.monotonic() + seconds)
    listener.join()
    text = b"".join(said).decode(errors="replace")
    if status is None:
        return Outcome(HANG, text[-600:])
    code, memory = status
    if memory > MOST_MEMORY + _peak(resource.RUSAGE_SELF):
        return Outcome(MEMORY, f"{memory / 2**30:.1f} GiB: {text[-300:]}")
    if code < 0 or code in SIGNALS:
        return Outcome(SIGNALLED, text[-600:])
    if code == 0:
        return Outcome(ACCEPTED, text[-600:])
    sentence = code == 2 and "error: " in text and "Traceback" not in text
    return Outcome(REFUSED if sentence else TRACEBACK, text[-3000:])


def _listen(reading, said):
    with open(reading, "rb", buffering=0) as file:
        while part := file.read(65536):
            said.append(part)


def _work(work, said):
    """Do the work in the child, and end it."""
    os.dup2(said, 1)
    os.dup2(said, 2)
    code = _FAILED
    try:
        with _outputs() as flush:
            code = _status_of(work)
            flush()
    finally:
        os._exit(code)


def _status_of(work):
    try:
        return int(work())
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else _FAILED
    except BaseException:
        traceback.print_exc()
        return _FAILED


@contextlib.contextmanager
def _outputs() -> Iterator[Callable[[], None]]:
    """Let print() write to the descriptors 1 and 2, whatever it wrote to before, such as pytest's."""
    with open(1, "w", closefd=False) as out, open(2, "w", closefd=False) as errors, \
            contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        def flush():
            out.flush()
            errors.flush()

        yield flush


def _wait(child, deadline):
    """Return (exit status, or -signal; peak memory in bytes) of a child, or None where it was to be killed."""
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.wait4(child, 0)
            return None
        time.sleep(0.003)


def _peak(who):
    return resource.getrusage(who).ru_maxrss * 1024


def litter(place: Path) -> list[str]:
    """Return the temporary files and folders below a folder."""
    return sorted(str(path.relative_to(place)) for path in place.rglob(".*.tmp"))
