"""Which images a run was trained on: training_images.json in its folder, with a SHA-256 for each file.

A run that started from another's weights has learned from that one's images, too: its file holds that run's whole file.
"""
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from add.data.files import file_size, read_bytes, write_atomically
from add.data.in_threads import map_in_threads
from add.data.read_back import read_json
from add.errors import UserError
from add.interfaces import Note, PathLike, Row
from add.training.checkpoints import find_checkpoint

IMAGES_NAME = "training_images.json"
TRAINED_ON, HELD_OUT, STARTED_FROM = "trained_on", "held_out", "started_from"
LIST: Row = {TRAINED_ON: {str: str}, f"{HELD_OUT}?": {str: str}}  # what the file holds
LIST[f"{STARTED_FROM}?"] = LIST
THREADS = 8
MANY = 5000  # images whose reading is told of


def write_training_images(run_dir: PathLike, images: Mapping[str, Sequence[str]], note: Note = lambda text: None,
                          before: Row | None = None) -> None:
    """Write training_images.json unless it is there: {"trained_on": {path: SHA-256 of its bytes}, "held_out": {...}}.

    A run goes on with the same images only, so that it is written once.

    Args:
        images: {TRAINED_ON: paths, HELD_OUT: paths}; empty for a run on points, which has no such file.
        note: called with a sentence where that takes a while, or where the run that this one started from was trained
            on images that are held out here.
        before: the list of that run, as `read_training_images` gives it, kept as "started_from"; None: there is none.
    """
    path = Path(run_dir) / IMAGES_NAME
    if not images or path.exists():
        return
    if (count := sum(map(len, images.values()))) > MANY:
        note(f"taking the SHA-256 of {count} images, which are kept in {IMAGES_NAME}")
    known = frozenset() if before is None else _digests_trained_on(before)
    seen = 0

    def write(file):
        """Write as `save_json` does, image by image, for there may be a million."""
        nonlocal seen
        start = b"{"
        for use, paths in images.items():
            file.write(start + f'\n  "{use}": {{'.encode())
            before_image = b"\n"
            for name, digest in zip(paths, map_in_threads(_digest, paths, THREADS), strict=True):
                file.write(before_image + f'    {json.dumps(_shown(name), ensure_ascii=False)}: "{digest}"'.encode())
                before_image = b",\n"
                seen += use == HELD_OUT and digest in known
            file.write(b"\n  }" if len(paths) else b"}")
            start = b","
        if before is not None:
            text = json.dumps(before, indent=2, ensure_ascii=False, allow_nan=False).replace("\n", "\n  ")
            file.write(f',\n  "{STARTED_FROM}": {text}'.encode())
        file.write(b"\n}\n")

    write_atomically(path, write)
    if seen:
        note(f"{seen} of {len(images[HELD_OUT])} held-out images were trained on by the run that this one starts from: "
             f"val_loss is too good on them; give that run's --seed, --val_fraction and --group_pattern, or start "
             f"from a run that was not trained on them")


def read_training_images(run_dir: PathLike) -> Row | None:
    """Return the content of a run's training_images.json, or None where it has none.

    Raises:
        UserError: it is damaged.
    """
    path = Path(run_dir) / IMAGES_NAME
    if not path.exists():
        return None
    return dict(read_json(path, LIST, "restore it, or remove it and start the same training again, which writes it "
                                      "anew"))


def read_training_digests(run_dir: PathLike) -> frozenset[str]:
    """Return the SHA-256 of the files that a run was trained on, as hexadecimal digits; none where it doesn't say.

    Those of the run whose weights it started from are among them.

    Raises:
        UserError: the run's training_images.json is damaged.
    """
    content = read_training_images(run_dir)
    return frozenset() if content is None else _digests_trained_on(content)


def read_own_digests(run_dir: PathLike) -> frozenset[str]:
    """Return the SHA-256 of a run's own images, trained on or held out, without those of the run it started from.

    Raises:
        UserError: the run's training_images.json is damaged.
    """
    content = read_training_images(run_dir) or {}
    return frozenset(digest for use in (TRAINED_ON, HELD_OUT) for digest in content.get(use, {}).values())


def digests_of(paths: Sequence[PathLike]) -> list[str]:
    """Return the SHA-256 of the bytes of files, or of what URLs hold, as hexadecimal digits."""
    return list(map_in_threads(_digest, paths, THREADS))


def _digests_trained_on(content):
    """Return the digests trained on in the content of a training_images.json, and in those that it holds."""
    own = frozenset(content[TRAINED_ON].values())
    return own | _digests_trained_on(content[STARTED_FROM]) if STARTED_FROM in content else own


def copies_of(known: Sequence[PathLike], paths: Sequence[PathLike]) -> list[bool]:
    """Return for each of some files whether its bytes are those of a known file.

    Args:
        known, paths: files, or their URLs. Only files of a known file's size are read.
    """
    sizes = set(map(file_size, known))
    digests = set(digests_of(known))
    return list(map_in_threads(lambda path: file_size(path) in sizes and _digest(path) in digests, paths, THREADS))


def trained_on(model_path: PathLike, paths: Sequence[PathLike]) -> list[str]:
    """Return those of some files whose bytes are among those that a model was trained on, in the order given.

    There are none to tell where the run keeps no list of its images: one of an earlier version or another program.

    Args:
        model_path: checkpoint or run folder.
        paths: image files, or their URLs.

    Raises:
        UserError: there is no checkpoint, or the run's training_images.json is damaged.
    """
    known = read_training_digests(find_checkpoint(model_path).parent)
    if not known:
        return []
    return [str(path) for path, digest in zip(paths, digests_of(paths), strict=True) if digest in known]


def say_trained_on(results_dirs: Iterable[PathLike], paths: Sequence[PathLike], which: str) -> list[str]:
    """Return a sentence for each model that made images of some folders and was trained on some of these files.

    Args:
        results_dirs: folders whose run.json names checkpoints, such as translations; others have none to tell.
        which: what the files are, such as "validation".
    """
    models = dict.fromkeys(model for folder in results_dirs for model in _models_of(folder))
    sentences = []
    for model in (model for model in models if Path(model).exists()):
        if seen := trained_on(model, paths):
            sentences.append(f"{len(seen)} of {len(paths)} {which} images were trained on by {Path(model).parent}, "
                             f"which made generated images here: scores on them are too good; keep some in a folder "
                             f"that no model is trained on")
    return sentences


def _models_of(results_dir):
    try:
        told = read_json(Path(results_dir) / "run.json", {"checkpoints": {str: {"path": str}}})
        return [checkpoint["path"] for checkpoint in told["checkpoints"].values()]
    except (OSError, UserError):
        return []


def _shown(path):
    """Return a path as text that UTF-8 can hold, also where the file system's bytes are none."""
    return str(path).encode(errors="backslashreplace").decode()


def _digest(path):
    return hashlib.sha256(read_bytes(path)).hexdigest()
