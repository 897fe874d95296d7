"""Waiting for a child process, so that whatever ends the parent reaches it, too: none goes on alone, unseen."""
import contextlib
import os
import signal
import subprocess
import threading
from types import FrameType

SIGNALLED = 128  # added to the number of a signal in the exit status of a process that it ended
PASSED_ON = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]  # Windows lacks one


def wait_for(process: subprocess.Popen, leads_group: bool = False) -> int:
    """Wait for a child and return its exit status.

    SIGTERM and SIGHUP, which a terminal does not send to all processes, are passed on to it. SIGHUP stays ignored
    where it was, as nohup has it.

    Args:
        leads_group: whether it was started with `start_new_session`: then its whole group gets them, and a Ctrl-C, too,
            which else it gets from the terminal.

    Raises:
        KeyboardInterrupt: a Ctrl-C came, and the child has ended; it may have saved what it had. At a second one, at
            once.
        SystemExit: one of the others came, and the child has ended.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        _send(process, number, leads_group)

    heeded = [number for number in PASSED_ON if signal.getsignal(number) != signal.SIG_IGN]
    in_main = threading.current_thread() is threading.main_thread()  # no other thread may set what a signal does
    previous = {number: signal.signal(number, note) for number in heeded} if in_main else {}
    try:
        status = _wait(process, leads_group)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if came:
        raise SystemExit(SIGNALLED + came[0])
    return status


def _wait(process, leads_group):
    try:
        return process.wait()
    except KeyboardInterrupt:
        try:
            if leads_group:
                _send(process, signal.SIGINT, leads_group)
            process.wait()
        except KeyboardInterrupt:
            if leads_group:
                _send(process, signal.SIGINT, leads_group)
        raise


def _send(process, number, leads_group):
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        if leads_group and hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
