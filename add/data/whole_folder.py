"""Folders that are written as a whole: all of it, or nothing."""
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from add.data.leftovers import hold, let_go, sweep, temporary_path
from add.errors import UserError
from add.interfaces import PathLike


@contextlib.contextmanager
def whole_folder(path: PathLike) -> Iterator[Path]:
    """Give a temporary folder beside `path` to fill, which takes that name when all is in it, or is removed."""
    path = Path(path).resolve()
    sweep(path.parent)
    folder = Path(temporary_path(path))
    folder.mkdir(parents=True)
    held = hold(folder)
    try:
        yield folder
        folder.rename(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        let_go(held)


def check_new(folder: PathLike, option: str) -> None:
    """Raise UserError where a folder that the option of a name gives is there already."""
    if Path(folder).exists():
        raise UserError(f"--{option} {folder} exists, expected a new folder: nothing is overwritten; give another")
