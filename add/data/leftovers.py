"""Temporary files beside results: their names, and the removal of those that killed processes left.

Who writes one holds a lock on it, which the system takes away at the process's end. What can be locked is thus
nobody's any more. On a network file system whose locks another machine doesn't see, the age tells: what is younger than
this process may be a neighbour's.
"""
import contextlib
import os
import re
import shutil
import time
import uuid

from add.interfaces import PathLike

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp", re.DOTALL)
STARTED = time.time()  # of this process, near enough
_SHOWN_CHARACTERS = 40  # of a name, in that of its temporary file; they may take four bytes each
_swept: set[str] = set()  # folders


def temporary_path(path: PathLike) -> str:
    """Return the path of a new temporary file, or folder, beside the one of `path`."""
    folder, name = os.path.split(os.fspath(path))
    return os.path.join(folder or ".", f".{name[:_SHOWN_CHARACTERS]}.{uuid.uuid4().hex}.tmp")


def sweep_once(folder: PathLike) -> None:
    """Sweep a folder unless this process has done so."""
    folder = os.path.realpath(folder)
    if folder not in _swept:
        _swept.add(folder)
        sweep(folder)


def hold(path: PathLike) -> list[int]:
    """Keep others from sweeping a temporary file or folder away; return what `let_go` takes, [] without locks."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # it is gone; or Windows, which opens no folder
        return []
    if _lock(handle):
        return [handle]
    os.close(handle)
    return []


def let_go(held: list[int]) -> None:
    """End what `hold` began."""
    while held:
        os.close(held.pop())


def sweep(folder: PathLike, before: float | None = None, names: re.Pattern[str] = TEMPORARY) -> None:
    """Remove what killed processes left in a folder; what can't be removed stays.

    Args:
        before: time.time() of the last change of what may go, by default this process's start; math.inf where the
            folder is nobody else's.
        names: of the files and folders that may go.
    """
    before = STARTED if before is None else before
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if names.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _remove_if_left(entry, before)


def _remove_if_left(entry, before):
    if entry.is_symlink() or entry.stat().st_mtime >= before:
        return
    if os.name == "nt":  # it removes nothing that is open
        shutil.rmtree(entry.path, ignore_errors=True) if entry.is_dir() else os.unlink(entry.path)
        return
    handle = os.open(entry.path, os.O_RDONLY)
    try:
        if _lock(handle):
            shutil.rmtree(entry.path, ignore_errors=True) if entry.is_dir() else os.unlink(entry.path)
    finally:
        os.close(handle)


def _lock(handle):
    """Return whether this process has got the lock of an open file or folder."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another has it, or the file system has none
        return False
    return True
