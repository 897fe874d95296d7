"""Checksums of a checkpoint's files: its state file keeps them, and each file is compared with its own before use.

The state file keeps none of itself: its archive has a CRC-32 of each part, which torch.load doesn't look at. It is
looked at here, and so are those of checkpoints from before there were checksums.
"""
import contextlib
import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from add.errors import UserError, shortage
from add.interfaces import PathLike, Row


class DamagedCheckpoint(UserError):
    """A file of a checkpoint is missing, cut short or not what was written; an earlier checkpoint may be whole."""


class HashedFile:
    """A binary file being written, and the SHA-256 of what was to be written, as hexadecimal digits."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self._digest = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        """Write bytes."""
        self._digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        """Hand on what was written."""
        self.file.flush()

    @property
    def sha256(self) -> str:
        """The SHA-256 so far."""
        return self._digest.hexdigest()


def check_listed(folder: PathLike, name: str, state: Row) -> None:
    """Raise DamagedCheckpoint unless a file is as the state of its checkpoint lists it.

    Args:
        state: content of the state file: {"files": {name: bytes}, "sha256": {name: digits}}; earlier versions wrote no
            "sha256".
    """
    path, size = Path(folder) / name, state["files"][name]
    if not path.is_file() or path.stat().st_size != size:
        raise DamagedCheckpoint(f"{path} is missing or not {size} bytes long")
    digest = state.get("sha256", {}).get(name)
    if digest is None:
        check_archive(path)
    else:
        check_digest(path, digest)


def check_digest(path: PathLike, digest: str) -> None:
    """Raise DamagedCheckpoint unless a file has this SHA-256."""
    with damage_told(path), open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise DamagedCheckpoint(f"{path} is damaged: its SHA-256 is {found[:16]}..., expected {digest[:16]}..., which "
                                f"its checkpoint was written with; copy it again, or use an earlier one")


def check_archive(path: PathLike) -> None:
    """Raise DamagedCheckpoint where a part of a file that torch.save wrote has another CRC-32; other files pass."""
    with damage_told(path):
        if not zipfile.is_zipfile(path):
            return  # torch's older format; torch.load refuses what is none at all
        with zipfile.ZipFile(path) as archive:
            part = archive.testzip()
    if part is not None:
        raise DamagedCheckpoint(f"{path} is damaged: the checksum of {part} in it is another one; expected the file "
                                f"as it was written; copy it again, or use an earlier one")


@contextlib.contextmanager
def damage_told(path: PathLike, expected: str = "a file saved by torch.save") -> Iterator[None]:
    """Turn what reading a damaged file raises, which may be nearly anything, into DamagedCheckpoint.

    A file that may not be read, and too little memory, are no damage: those errors pass.

    Args:
        expected: what the file should be.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (UserError, PermissionError)) or shortage(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise DamagedCheckpoint(f"checkpoint {path} can't be read, it is truncated, damaged or not {expected} "
                                f"({reason}): expected a whole one; copy it again, or use an earlier one") from error
