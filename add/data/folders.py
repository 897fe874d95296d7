"""Folders of images: listing, reading, domains and class labels.

One rule for all commands: a folder of images means every image in it and below it, in the subfolders of slides or
patients as well. Hidden files and folders are passed over, and so is what this program itself writes: contact sheets,
and below a folder of images the results of training, translation and evaluation; samples too, where there are other
images.

A CSV file that lists images stands for a folder everywhere (manifest.py), and so do tars of images (tar_shards.py).

Paths are local, or blobfile URLs (gs://, az://, http://, https://). Bad files are found before work begins
and all are named in one message.
"""
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, NoReturn, TypeVar

import numpy as np

from add.data import files
from add.data.image_file import EXTENSIONS, say_reason
from add.data.manifest import classes_of, manifest_of, read_manifest
from add.data.other_files import describe_file, describe_files, say_passed_over
from add.data.packed_texts import PackedTexts
from add.data.tar_shards import class_names_of, images_of, shards_of
from add.errors import UserError
from add.interfaces import PathLike

CONTACT_SHEET = "contact_sheet.png"  # a picture of the images beside it
SHOWN = 5  # names in a message
SAMPLES = "samples"
WRITTEN = {  # by kind: what a folder holds that this program writes, and what to do where one is given as images
    "a training run": "give the images that it was trained on",
    "a translation": "give its subfolder images, or the folder that was translated",
    "an evaluation": "give one of the folders that were compared",
    "a study": "give one of its folders of images, such as train/DOMAIN"}
_SYSTEM_FOLDERS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")  # copies and thumbnails that systems keep beside images

Result = TypeVar("Result")


def list_images(folder: PathLike) -> list[str]:
    """Return the sorted paths of the image files in a folder and all below it; see the top of this module.

    Raises:
        UserError: the folder is missing, is a file, holds no image or is a result of this program, or names
            are not UTF-8.
    """
    return list(pack_images(folder))


def pack_images(folder: PathLike) -> PackedTexts:
    """Return what `list_images` does, without a list of as many strings."""
    folder = os.fspath(folder)
    if (shards := shards_of(folder)) is not None:
        return _pack_shards(folder, shards)
    if (entries := read_manifest(folder)) is not None:
        paths = entries.paths
        if strange := [path for path in paths if not _is_image(os.path.basename(path))]:
            raise UserError(f"{folder} names {len(strange)} files that are no images, such as {strange[0]}: expected "
                            f"files that end in {', '.join(EXTENSIONS)}; correct the table")
        return paths
    _check_folder(folder)
    found = list(_walk(folder))
    if found[0].written in WRITTEN:
        raise UserError(f"{folder} is {found[0].written} that this program wrote, expected a folder of images: "
                        f"{WRITTEN[found[0].written]}")
    paths = _images_in(folder, found, "") or _images_in(folder, found, SAMPLES)
    if not paths:
        raise UserError(f"{folder} holds no images: expected files that end in {', '.join(EXTENSIONS)}; "
                        f"{_hint_for_empty(found)}")
    _check_names(folder, paths)
    return paths


def say_others(folder: PathLike) -> str:
    """Return how many files in a folder and below it are no images, and of which kinds; "" where there are none."""
    if manifest_of(folder) is not None or shards_of(folder) is not None:
        return ""
    return say_passed_over(name for entries in _walk(os.fspath(folder)) if not entries.written
                           for name in entries.names if not _is_image(name))


def list_domains(root: PathLike) -> dict[str, list[str]]:
    """Return {domain name: image paths}, sorted by name: each subfolder of `root` is one domain.

    Raises:
        UserError: there is no subfolder, or one without images.
    """
    return {name: list(paths) for name, paths in pack_domains(root).items()}


def pack_domains(root: PathLike) -> dict[str, PackedTexts]:
    """Return what `list_domains` does, without a list of as many strings."""
    root = os.fspath(root)
    if (shards := shards_of(root)) is not None:
        names = class_names_of(shards)
        if not names:
            raise UserError(f"{root} holds tars whose images have no class: expected KEY.cls, or KEY.json with a "
                            f"class, beside KEY.png, or a folder of tars for each domain; write them so")
        return {name: _pack_shards(root, shards._replace(domain=name)) for name in names}
    if manifest_of(root) is not None:
        return classes_of(root)
    _check_folder(root)
    names = _scan(root).subfolders
    if not names:
        raise UserError(f"{root} has no subfolders: expected one folder of images per domain; "
                        f"sort the images into folders named after their domains")
    return {name: pack_images(files.join(root, name)) for name in names}


def in_order(domains: dict[str, Result], names: Sequence[str] | None, root: PathLike) -> dict[str, Result]:
    """Return the domains of a folder in the order of `names`, or as they are where that is None.

    Raises:
        UserError: other names than the folder's.
    """
    if names is None:
        return domains
    if set(names) != set(domains) or len(names) != len(domains):
        raise UserError(f"{root} holds the domains {', '.join(domains)}: expected {', '.join(names)}; give all of "
                        f"them, in the order of the label vectors, with --domains")
    return {name: domains[name] for name in names}


def holds_domains(root: PathLike) -> bool:
    """Return whether a folder has subfolders and no image of its own: of domains, or of the slides of one domain."""
    root = os.fspath(root)
    if (shards := shards_of(root)) is not None:
        return not shards.domain and len(class_names_of(shards)) > 1
    if (entries := read_manifest(root)) is not None:
        return len(np.unique(entries.domains[entries.domains >= 0])) > 1
    _check_folder(root)
    entries = _scan(root)
    return bool(entries.subfolders) and not entries.written and not any(map(_is_image, entries.names))


def list_named_classes(folder: PathLike) -> tuple[list[str], np.ndarray, list[str]]:
    """Return (paths, labels int64 [n], class names) of a folder of images whose file names begin with their classes.

    Raises:
        UserError: see `list_images` and `labels_from_names`, or there are subfolders of images beside images.
    """
    paths = list_images(folder)
    names = [files.relative_name(folder, path) for path in paths]
    if 0 < sum("/" in name for name in names) < len(names):
        raise UserError(f"{folder} holds {say_subfolders(names)}: expected either a subfolder of images per class, or "
                        f"images named CLASS_NAME.png and no subfolders; move one or the other away")
    return paths, *labels_from_names(paths)


def labels_from_names(paths: Iterable[PathLike]) -> tuple[np.ndarray, list[str]]:
    """Return (labels int64 [n], class names): guided-diffusion's naming, CLASS_rest.png.

    The class is the file name before its first underscore; classes are numbered in sorted order.
    """
    names = [os.path.basename(path) for path in paths]
    unnamed = [name for name in names if "_" not in name]
    if unnamed:
        raise UserError(f"{len(unnamed)} file names tell no class, the first is {unnamed[0]}: "
                        f"expected CLASS_NAME.png; rename the files, or train without --class_cond")
    classes = [name.split("_")[0] for name in names]
    class_names = sorted(set(classes))
    number_of = {name: number for number, name in enumerate(class_names)}
    return np.array([number_of[name] for name in classes], dtype=np.int64), class_names


def say_subfolders(names: Sequence[str]) -> str:
    """Return how many of some images, named relative to their folder, lie in its subfolders; "" where none does."""
    counts = Counter(name.partition("/")[0] for name in names if "/" in name)
    if not counts:
        return ""
    subfolders = list(counts)
    share = "all" if counts.total() == len(names) else str(counts.total())
    return f"{len(names)} images, {share} of them in its subfolders {say_few(subfolders)}"


def say_few(names: Sequence[str]) -> str:
    """Return the first of some names with commas, and how many more there are."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


class _Entries(NamedTuple):
    """A folder's files and subfolders by name, without hidden ones, and what it is if this program wrote it, or ""."""

    folder: str
    names: PackedTexts
    subfolders: list[str]
    written: str


def _walk(folder: str, above: tuple[str, ...] = ()) -> Iterator[_Entries]:
    """Yield the entries of a folder and, where it is no result of this program, of all below it."""
    here = folder if files.is_url(folder) else os.path.realpath(folder)
    if here in above:  # a link leads back up
        return
    entries = _scan(folder)
    yield entries
    if not entries.written:
        for name in entries.subfolders:
            yield from _walk(files.join(folder, name), (*above, here))


def _scan(folder):
    """Return the _Entries of a folder."""
    names, subfolders = _list(folder)
    return _Entries(folder, names, subfolders, _kind_written(folder, names, subfolders))


def _kind_written(folder, names, subfolders):
    """Return what a folder is if this program wrote it: a key of WRITTEN, SAMPLES, or "" for all others."""
    def has(name):
        return names.find(name) >= 0

    if has("config.json") and has("progress.csv"):
        return "a training run"
    if has("evaluation.json"):
        return "an evaluation"
    if has("study.json"):
        return "a study"
    if "records" in subfolders and has("settings.json"):
        return SAMPLES
    if {"records", "images"} <= set(subfolders) and _list(files.join(folder, "records"))[0].find("settings.json") >= 0:
        return "a translation"
    return ""


def _list(folder):
    """Return (sorted names of files, sorted names of subfolders) in a folder; hidden ones are passed over."""
    subfolders: list[str] = []

    def names_of(entries, is_folder, is_file):
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _SYSTEM_FOLDERS:
                continue
            if is_folder(entry):
                subfolders.append(entry.name)
            elif is_file(entry):
                yield entry.name

    if files.is_url(folder):
        names = PackedTexts.of(names_of(_ask_blobfile(folder), lambda entry: entry.is_dir, lambda entry: entry.is_file))
    else:
        try:
            with os.scandir(folder) as entries:
                names = PackedTexts.of(names_of(entries, os.DirEntry.is_dir, os.DirEntry.is_file))
        except OSError as error:
            _refuse_unreadable(error)
    return names.sorted(), sorted(subfolders)


def _images_in(folder, found, written):
    """Return the sorted paths of the images in those entries of a folder that are of a kind of WRITTEN, or ""."""
    paths = (files.join(entries.folder, name) for entries in found if entries.written == written
             for name in entries.names if _is_image(name))
    return PackedTexts.of(paths, folder).sorted()


def _pack_shards(folder, shards):
    """Return the sorted paths of the images in tars."""
    paths = PackedTexts.of((path for path, _, _ in images_of(shards) if _is_image(os.path.basename(path))),
                           os.path.commonprefix([shards.tars[0], shards.tars[-1]])).sorted()
    if not paths:
        raise UserError(f"{folder} holds no images{f' of the class {shards.domain}' if shards.domain else ''} in its "
                        f"{len(shards.tars)} tars: expected files that end in {', '.join(EXTENSIONS)}; look into them")
    _check_names(folder, paths)
    return paths


def _is_image(name):
    return name != CONTACT_SHEET and os.path.splitext(name)[1][1:].lower() in EXTENSIONS


def _check_folder(folder):
    if files.is_url(folder):
        return  # object stores have no folders; listing says what is there
    if os.path.isfile(folder):
        if _is_image(folder):
            raise UserError(f"{folder} is a file, one image: expected a folder of images; give the one that holds it")
        what, do = describe_file(os.path.basename(folder)) or ("a file", "give the folder that holds the images")
        raise UserError(f"{folder} is {what}: expected a folder of images; {do}")
    if not os.path.isdir(folder):
        raise UserError(f"folder {folder} does not exist: expected a folder of images; check the path")


def _check_names(folder, paths):
    """Refuse names that are not UTF-8, which no table or message could hold."""
    strange = [path for path in paths if not _is_utf8(path)]
    if strange:
        first = os.fsencode(files.relative_name(folder, strange[0])).decode("utf-8", "backslashreplace")
        raise UserError(f"{len(strange)} of {len(paths)} image names are not UTF-8, the first is {first}: expected "
                        f"names in UTF-8, as tables list them; rename the files, for example with convmv -f latin1 -t "
                        f"utf8 -r --notest FOLDER")


def _is_utf8(path):
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _hint_for_empty(found):
    """Return what to do about entries without an image."""
    written = [os.path.basename(entries.folder) for entries in found if entries.written]
    if written:
        return (f"this program wrote {say_few(written)} in it, and results are not taken for images; give a folder of "
                f"images")
    return describe_files([name for entries in found for name in entries.names]) or "check the path"


def _refuse_unreadable(error: OSError) -> NoReturn:
    raise UserError(f"cannot list {error.filename} ({error.strerror}): expected a folder that can be read; "
                    f"check its rights") from error


def _ask_blobfile(folder):
    """Return blobfile's entries of a folder."""
    try:
        import blobfile as bf

        return list(bf.scandir(folder))
    except Exception as error:  # blobfile's own errors, and those of the network
        raise UserError(f"cannot list {folder} ({say_reason(error)}): expected a folder that can be read; "
                        f"check the address and the credentials") from error
