"""The end of a command: its exit status, and one message in place of a traceback for what a user can cause."""
import errno
import os
import stat
import sys
import traceback
from collections.abc import Callable

from add.errors import UserError, shortage

EARLY_SETTINGS = {  # of the environment, read when torch is imported
    "TORCH_CPP_LOG_LEVEL": "ERROR",  # else lost peers print C++ stacks
    "GOMP_SPINCOUNT": "1000",  # threads that wait for another soon give their core away: it may be what that one needs
}
BROKEN_PIPE_STATUS = 141  # as of a program that SIGPIPE ends
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM}


def run(main: Callable[[], object]) -> int:
    """Run `main()` and return the exit status: 2 with one message, and no traceback, for what a user can cause.

    Where the reader of the output has gone, as `head` does, it ends without a word.
    """
    try:
        try:
            return _status_of(main)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _writes_to_a_pipe():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        return BROKEN_PIPE_STATUS


def _writes_to_a_pipe():
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except OSError:  # a test's or a notebook's
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _status_of(main):
    for name, value in EARLY_SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        main()
    except UserError as error:
        return _complain(error)
    except (OSError, MemoryError, RuntimeError) as error:
        message = shortage(error) or _disk_error(error)
        if message is None:
            raise
        return _complain(message)
    except KeyboardInterrupt:
        print("stopped by Ctrl-C; the same command goes on with all that was finished", file=sys.stderr)
        return 130
    return 0


def _disk_error(error):
    """Return the sentence of an OSError that names a file or can only be a disk's, else None."""
    if not isinstance(error, OSError) or isinstance(error, BrokenPipeError):
        return None
    if error.filename is None and error.errno not in DISK_ERRORS:
        return None
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror}; check the path, its permissions and the free space"


def _complain(message):
    if os.environ.get("ADD_TRACEBACK"):
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr, flush=True)
    return 2
