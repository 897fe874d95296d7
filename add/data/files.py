"""Writing files whole or not at all, and their bytes and sizes.

A writer fills a temporary file beside the final one; only when it is complete and on disk does it take the
final name. A run that is killed half-way leaves either the old file or none, never half of a new one; what it left of
a temporary one goes when a later process first writes in that folder, see `leftovers`.

Paths with a scheme (gs://, az://, http://, https://) go through blobfile, which is imported when the first
one is met; its uploads appear under their name only once complete.
"""
import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import posixpath
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from PIL import Image

from add.data.leftovers import hold, let_go, sweep_once, temporary_path
from add.data.manifest import manifest_of
from add.data.packed_texts import PackedTexts
from add.data.read_back import read_json
from add.data.tar_shards import ENDING, member_of, member_size, read_member
from add.errors import UserError, shortage
from add.interfaces import PathLike, Row

_SAMPLED_FILES = 16
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DISK_BROKEN = (errno.EIO, errno.EROFS, errno.ESTALE)
_TORCH_WRITER = ("PytorchStreamWriter", "inline_container")  # in what torch.save says of a file that it can't write


def is_url(path: PathLike) -> bool:
    """Return whether the path names a remote file or folder."""
    return "://" in str(path)


def require_local(out_dir: PathLike) -> None:
    """Raise UserError where --out_dir is a URL: results are written to a local folder."""
    if is_url(out_dir):
        raise UserError(f"--out_dir {out_dir} is a URL, expected a local folder: copy the results afterwards")


def write_atomically(path: PathLike, write: Callable[[IO[bytes]], Any]) -> None:
    """Write one file whole or not at all; its folder is made if missing.

    Args:
        path: local path or blobfile URL.
        write: called as write(file) with a binary file open for writing. What it raises passes through;
            nothing is then left behind and an older file of that name is kept.

    Raises:
        UserError: the folder cannot be made or written, or the disk is full.
    """
    if is_url(path):
        _write_remote(str(path), write)
        return
    with written_together() as write_one:
        write_one(path, write)


@contextlib.contextmanager
def written_together() -> Iterator[Callable[[PathLike, Callable[[IO[bytes]], Any]], int]]:
    """Give write_one(path, write) -> bytes written; at the end all the local files take their names, last one first.

    So the last one can tell of the others, and none of them is ever there without it. Until then they are temporary
    files beside them. Where anything fails, none takes its name, those that had taken it lose it, and nothing is left;
    an older file of that name is kept until it is replaced. `write` and what is raised are as in `write_atomically`.
    """
    waiting: list[tuple[str, str]] = []  # (temporary file, final name)
    named = []  # final names that are taken, and that no older file had
    held: list[int] = []  # locks of the temporary files

    def write_one(path, write):
        path = os.fspath(path)
        with _failure_explained(path), _open_beside(path) as file:
            waiting.append((file.name, path))
            held.extend(hold(file.name))
            write(file)
            file.flush()
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_size

    try:
        yield write_one
        while waiting:
            path = waiting[-1][1]
            new = not os.path.lexists(path)
            with _failure_explained(path):
                os.replace(*waiting[-1])
            waiting.pop()
            if new:
                named.append(path)
        named.clear()
    finally:
        for name in [*(name for name, _ in waiting), *reversed(named)]:
            with contextlib.suppress(OSError):  # what failed before is the news
                os.unlink(name)
        let_go(held)


@contextlib.contextmanager
def _failure_explained(path):
    """Turn what the disk refuses into a UserError that names the file; what names another folder's file passes."""
    try:
        yield
    except IsADirectoryError as error:
        raise UserError(f"cannot write {path}: a folder of that name exists; expected a file name; remove the folder "
                        f"or write elsewhere") from error
    except OSError as error:
        if short := shortage(error):
            raise UserError(f"cannot write {path}: {short}") from error
        if error.errno in _DISK_FULL:
            raise UserError(f"cannot write {path}: {error.strerror}; expected room for the whole file; free some "
                            f"space or write elsewhere") from error
        if error.errno in _DISK_BROKEN:
            raise UserError(f"cannot write {path}: {error.strerror}; expected a disk that takes it; see to the disk, "
                            f"or write elsewhere") from error
        if error.filename is not None and _folder_of(error.filename) != _folder_of(path):
            raise
        raise UserError(f"cannot write {path}: {error.strerror or error}; expected a file and a folder that can be "
                        f"written; change their rights, or write elsewhere") from error


def _folder_of(path):
    return os.path.dirname(os.path.abspath(path))


def append_text(path: PathLike, text: str) -> None:
    """Append text to a local file; raises UserError where the disk is full or can't be written."""
    with _failure_explained(path), open(path, "a", encoding="utf-8", newline="") as file:
        file.write(text)


def save_png(path: PathLike, image: ArrayLike) -> None:
    """Write uint8 image [H, W, 3] (or [H, W]) as PNG."""
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise ValueError(f"image for {path} has dtype {image.dtype}: expected uint8; convert with to_uint8")
    write_atomically(path, lambda file: Image.fromarray(image).save(file, format="PNG", optimize=True))


def save_json(path: PathLike, content: Any) -> None:
    """Write content as indented JSON, UTF-8; NaN and infinity are refused because JSON has none."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def save_csv(path: PathLike, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows, the header first, as a CSV file in UTF-8."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def changed_settings(path: PathLike, given: Row, ignored: Container[str] = (), defaults: Row | None = None
                     ) -> list[str]:
    """Return the names whose values in the dict `given` differ from those in a JSON file; [] without a file.

    A text that is empty is as good as none: what an earlier version wrote lacks the options that came since.

    Args:
        ignored: names that may differ.
        defaults: values of names that the file, or a dict in it, lacks.
    """
    if not os.path.exists(path):
        return []
    saved = _filled(read_json(path, {str: object}, "restore it, or give another --out_dir"), defaults or {})
    old, new = ({name: value for name, value in values.items() if value != ""} for values in (saved, given))
    return [name for name in dict.fromkeys([*new, *old]) if name not in ignored and old.get(name) != new.get(name)]


def _filled(values, defaults):
    """Return a dict with the entries of `defaults` that it lacks, and so with the dicts in it."""
    return defaults | {name: _filled(value, defaults.get(name) or {}) if isinstance(value, dict) else value
                       for name, value in values.items()}


def save_npy(path: PathLike, array: ArrayLike) -> None:
    """Write a numpy array; the path should end in .npy."""
    write_atomically(path, lambda file: np.save(file, array, allow_pickle=False))


def write_npy_rows(file: IO[bytes], dtype: DTypeLike, shape: Sequence[int], rows: Iterable[ArrayLike]) -> None:
    """Write the .npy file of an array of `shape` into a binary file, row by row, so that it need not fit in memory."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, header)
    for row in rows:
        file.write(np.ascontiguousarray(row, dtype=dtype).tobytes())


def save_torch(path: PathLike, content: Any) -> None:
    """Write a state dict or a checkpoint with torch.save."""
    write_atomically(path, torch_writer(content))


def torch_writer(content: Any) -> Callable[[IO[bytes]], None]:
    """Return write(file) that writes a checkpoint with torch.save, and raises what the disk said where it refused.

    torch.save itself makes of a full disk a RuntimeError that doesn't say so.
    """
    def write(file):
        import torch

        heard: Any = _HearingFile(file)
        try:
            torch.save(content, heard)
        except RuntimeError as error:
            if heard.error is not None:
                raise heard.error from None
            if not any(words in str(error) for words in _TORCH_WRITER):
                raise
            raise OSError(errno.EIO, str(error).splitlines()[0][:120]) from error

    return write


class _HearingFile:
    """A binary file that keeps the error with which writing failed."""

    def __init__(self, file):
        self.file, self.error = file, None

    def write(self, data):
        return self._heard(self.file.write, data)

    def flush(self):
        self._heard(self.file.flush)

    def _heard(self, act, *given):
        try:
            return act(*given)
        except (OSError, MemoryError) as error:
            self.error = error
            raise


def read_bytes(path: PathLike) -> bytes:
    """Return the content of a local or remote file, or of one in a tar, as bytes."""
    if is_url(path):
        import blobfile as bf

        with bf.BlobFile(str(path), "rb") as file:
            return file.read()
    if member := member_of(path):
        return read_member(*member)
    with open(path, "rb") as file:
        return file.read()


def fingerprint(folder: PathLike, paths: Iterable[PathLike]) -> str:
    """Return a SHA-256 that tells sets of files apart without reading all of them, as hexadecimal digits.

    It covers every name inside `folder` and every size, and the whole content of a few files spread over the set:
    uncompressed images of one shape have one size. The order of `paths` doesn't matter, nor where the folder lies.
    """
    names = PackedTexts.of(map(str, paths)).sorted()
    prefix = join(folder, "")
    digest = hashlib.sha256()
    for path in names:
        digest.update(f"{path.removeprefix(prefix)}\0{file_size(path)}\0".encode(errors="surrogateescape"))
    for path in names[::max(1, len(names) // _SAMPLED_FILES)]:
        digest.update(read_bytes(path))
    return digest.hexdigest()


def file_size(path: PathLike) -> int:
    """Return how many bytes a local or remote file has, or one in a tar."""
    if is_url(path):
        import blobfile as bf

        return bf.stat(str(path)).size
    if member := member_of(path):
        return member_size(*member)
    return os.stat(path).st_size


def join(folder: PathLike, *names: str) -> str:
    """Return the path of `names` inside a local or remote folder."""
    joiner = posixpath.join if is_url(folder) else os.path.join
    return joiner(os.fspath(folder), *names)


def _open_beside(path):
    """Return a new, open temporary file in the folder of `path`, which is swept before."""
    folder = os.path.dirname(path) or "."
    try:
        os.makedirs(folder, exist_ok=True)
        sweep_once(folder)
        return open(temporary_path(path), "xb")
    except OSError as error:
        if error.errno in (*_DISK_FULL, *_DISK_BROKEN) or shortage(error):
            raise
        raise UserError(f"cannot write {path}: {error.strerror} ({folder}); expected a folder that can be "
                        f"written; choose another or change its rights") from error


def _write_remote(url, write):
    """Fill a buffer first, so that a failing writer uploads nothing."""
    import blobfile as bf

    buffer = io.BytesIO()
    write(buffer)
    with bf.BlobFile(url, "wb") as file:
        file.write(buffer.getvalue())


def file_name(path: PathLike) -> str:
    """Return the last part of a path or URL."""
    return str(path).rsplit("/", 1)[-1]


def relative_name(folder: PathLike, path: PathLike) -> str:
    """Return the name of a file in a local or remote folder: its path from there, with forward slashes.

    Of images in tars it begins with the name of the tar, unless that is the folder. Of a manifest, FILE.csv or
    FILE.csv/CLASS, it is the path from the file's folder, without the way up where the image
    lies elsewhere.
    """
    manifest = manifest_of(folder)
    if manifest is None:
        text, prefix = str(path), join(folder, "")
        if f"{ENDING}/" in text and not text.startswith(prefix):  # of one class of tars, or of a pattern of them
            prefix = join(os.path.dirname(text[:text.index(f"{ENDING}/")]), "")
        return text.removeprefix(prefix).replace(os.sep, "/")
    way = os.path.relpath(path, manifest[0].parent).replace(os.sep, "/")
    return "/".join(part for part in way.split("/") if part != "..")
