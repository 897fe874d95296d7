"""Waiting for a child process, so that what asks the parent to stop reaches the child, too, and both end together."""
import contextlib
import os
import signal
import subprocess
import threading
from types import FrameType

SIGNALLED = 128  # added to the number of a signal in the exit status of a process that it ended
PASSED_ON = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]  # Windows lacks one


def wait_for(process: subprocess.Popen, own_session: bool = False, whole_group: bool = False) -> int:
    """Wait for a child and return its exit status.

    SIGTERM and SIGHUP that reach this process are passed on as SIGTERM, for not every program heeds the other. SIGHUP
    stays ignored where it was, as nohup has it. In another thread than the main one nothing is passed on.

    Args:
        own_session: whether it was started with `start_new_session`: a Ctrl-C, which a terminal sends to the processes
            of its own group alone, is passed on, too.
        whole_group: pass signals on to all processes of the child's session that stayed in its group.

    Raises:
        KeyboardInterrupt: a Ctrl-C came, and the child has ended; it may have saved what it had. At a second one, at
            once.
        SystemExit: one of the others came, and the child has ended.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        _send(process, signal.SIGTERM, whole_group)

    heeded = [number for number in PASSED_ON if signal.getsignal(number) != signal.SIG_IGN]
    in_main = threading.current_thread() is threading.main_thread()  # no other thread may set what a signal does
    previous = {number: signal.signal(number, note) for number in heeded} if in_main else {}
    try:
        status = _wait(process, own_session, whole_group)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if came:
        raise SystemExit(SIGNALLED + came[0])
    return status


def _wait(process, own_session, whole_group):
    try:
        return process.wait()
    except KeyboardInterrupt:
        try:
            if own_session:
                _send(process, signal.SIGINT, whole_group)
            process.wait()
        except KeyboardInterrupt:
            if own_session:
                _send(process, signal.SIGINT, whole_group)
        raise


def _send(process, number, whole_group):
    with contextlib.suppress(ProcessLookupError, PermissionError, ValueError):  # just ended; Windows knows no SIGINT
        if whole_group and hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
