"""Lock of an output folder: of two commands that would write to one, the second is refused."""
import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from add.errors import UserError
from add.interfaces import Note, PathLike

TRAINING, TRANSLATION = "training", "translation"  # what is locked
OPTIONS = {TRAINING: "--run_dir", TRANSLATION: "--out_dir"}  # that name the folder
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_LOCKED_BYTE = 2**30  # on Windows a locked byte can't be read, so that it lies behind the text


@contextlib.contextmanager
def locked(out_dir: PathLike, note: Note = lambda text: None, what: str = TRAINING) -> Iterator[None]:
    """Keep others of a kind out of a folder, which is made if missing; the lock ends with the process at the latest.

    The system holds it, so that a process that was killed leaves none behind. Where a network file system has no
    locks, that is noted, and work goes on. Folders that were made are removed again if they stay empty.

    Args:
        what: TRAINING or TRANSLATION.

    Raises:
        UserError: another process of that kind works in the folder, or it can't be written.
    """
    folder = Path(out_dir)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    path = folder / lock_name(what)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _acquire(path, note, what)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; expected a folder that can be written; choose "
                        f"another {OPTIONS[what]} or change its rights") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # on Windows an open file stays
            path.unlink()
        os.close(handle)
        for folder in made:
            with contextlib.suppress(OSError):  # it is in use
                folder.rmdir()


def lock_name(what: str) -> str:
    """Return the name of the lock file of a kind of work."""
    return f".{what}.lock"


def _acquire(path, note, what):
    """Return the descriptor of the lock file, locked."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle)
        except OSError as error:
            if error.errno in _HELD:
                owner = os.read(handle, 200).decode(errors="replace").strip()
                os.close(handle)
                raise UserError(f"another {what} is running in {path.parent} ({owner or 'it has just begun'}): "
                                f"expected one at a time; wait for it, stop it, or give another "
                                f"{OPTIONS[what]}") from error
            note(f"{path.parent} can't be locked ({error.strerror}): see to it that no other {what} writes there")
            break
        if _still_there(handle, path):
            break
        os.close(handle)  # its owner ended, and removed it, while it was opened here
    os.ftruncate(handle, 0)
    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return handle


def _still_there(handle, path):
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(handle):
    """Lock an open file for this process, or raise OSError at once."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(handle, 0, os.SEEK_SET)
        return
    try:
        import fcntl
    except ImportError as error:  # a system that has neither
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP)) from error
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
