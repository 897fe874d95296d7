"""Folders of images: listing, reading, domains and class labels.

Paths are local, or blobfile URLs (gs://, az://, http://, https://). Bad files are found before work begins
and all are named in one message.
"""
import io
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, TypeVar

import numpy as np
from PIL import Image, ImageOps

from add.data import files, transforms
from add.errors import UserError
from add.interfaces import PathLike

EXTENSIONS = ("png", "jpg", "jpeg", "bmp", "tif", "tiff")
CONTACT_SHEET = "contact_sheet.png"  # a picture of the images beside it
_THREADS = 8  # decoding releases the interpreter's lock

AnyPath = TypeVar("AnyPath", bound=PathLike)
Result = TypeVar("Result")


def list_images(folder: PathLike, recursive: bool = False) -> list[str]:
    """Return the sorted paths of the image files in a folder; hidden files and contact sheets are passed over.

    Raises:
        UserError: the folder is missing, is a file, or holds no image.
    """
    folder = os.fspath(folder)
    _check_folder(folder)
    paths = sorted(path for path in _list_files(folder, recursive) if _is_image_name(path))
    if not paths:
        raise UserError(f"{folder} holds no images: expected files that end in {', '.join(EXTENSIONS)}; "
                        f"{_hint_for_empty(folder, recursive)}")
    return paths


def list_domains(root: PathLike) -> dict[str, list[str]]:
    """Return {domain name: image paths}, sorted by name: each subfolder of `root` is one domain.

    Raises:
        UserError: there is no subfolder, or one without images.
    """
    root = os.fspath(root)
    _check_folder(root)
    names = _list_subfolders(root)
    if not names:
        raise UserError(f"{root} has no subfolders: expected one folder of images per domain; "
                        f"sort the images into folders named after their domains")
    return {name: list_images(files.join(root, name), recursive=True) for name in names}


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
    """Return whether a folder has subfolders and no image of its own: a folder of domains."""
    root = os.fspath(root)
    _check_folder(root)
    return bool(_list_subfolders(root)) and not any(map(_is_image_name, _list_files(root, recursive=False)))


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


def read_image(path: PathLike) -> np.ndarray:
    """Return an image file as uint8 [H, W, 3].

    PNG, JPEG, BMP or TIFF (its first page). Grey becomes three equal channels, transparency lies on white,
    EXIF orientation is applied. 16-bit values are scaled by the range of their type: 65535 becomes 255.

    Raises:
        UserError: the file is missing, is no image, is cut off, or its pixels have no known range.
    """
    try:
        return _decode(files.read_bytes(path))
    except Exception as error:  # on damaged files Pillow raises nearly anything
        raise _unreadable(path, error) from error


def read_header(path: PathLike) -> tuple[int, int]:
    """Return the stored (height, width) of an image file without decoding it; raises like `read_image`."""
    try:
        with Image.open(io.BytesIO(files.read_bytes(path)) if files.is_url(path) else path) as image:
            return image.height, image.width
    except Exception as error:
        raise _unreadable(path, error) from error


def read_folder(paths: Sequence[AnyPath], image_size: int, crop: str = "center", skip_bad: bool = False) -> tuple[
        np.ndarray | list[np.ndarray], list[AnyPath], list[tuple[AnyPath, str]]]:
    """Return (images, kept paths, bad): all readable files, in the order of `paths`.

    Args:
        paths: what `list_images` gave.
        image_size: side of the images, in pixels.
        crop: "center" gives images as uint8 [n, image_size, image_size, 3]; "none" gives a list of
            uint8 [H, W, 3], each of its own size.
        skip_bad: leave unreadable files out instead of refusing; `bad` then lists them as (path, reason).

    Raises:
        UserError: naming every unreadable file, or when none can be read.
    """
    if crop not in ("center", "none"):
        raise ValueError(f"crop {crop!r} is unknown: expected center or none")

    def read(path):
        image = read_image(path)
        return transforms.center_crop(image, image_size) if crop == "center" else image

    images, kept, bad = read_all(paths, read, skip_bad)
    return (np.stack(images) if crop == "center" else images), kept, bad


def read_all(paths: Sequence[AnyPath], read: Callable[[AnyPath], Result],
             skip_bad: bool = False) -> tuple[list[Result], list[AnyPath], list[tuple[AnyPath, str]]]:
    """Return (results, kept paths, bad) of read(path) for every path; see `read_folder` for bad files."""
    def attempt(path):
        try:
            return read(path), None
        except UserError as error:
            return None, _reason(error.__cause__ or error)

    with ThreadPoolExecutor(_THREADS) as pool:
        outcomes = list(pool.map(attempt, paths))
    bad = [(path, reason) for path, (_, reason) in zip(paths, outcomes, strict=True) if reason is not None]
    kept = [path for path, (_, reason) in zip(paths, outcomes, strict=True) if reason is None]
    if bad and (not skip_bad or not kept):
        listing = "\n".join(f"  {path}: {reason}" for path, reason in bad)
        advice = "replace or remove them" if skip_bad else "replace or remove them, or pass --skip_bad"
        raise UserError(f"{len(bad)} of {len(paths)} files cannot be read as images:\n{listing}\n"
                        f"expected whole PNG, JPEG, BMP or TIFF files; {advice}")
    return [result for result, reason in outcomes if reason is None], kept, bad


def _decode(content):
    """Return uint8 [H, W, 3] from the bytes of an image file."""
    with Image.open(io.BytesIO(content)) as stored:
        stored.load()
        image = ImageOps.exif_transpose(stored)
    if image.mode.startswith("I;16") or (image.mode == "I" and _was_16_bit(content)):
        grey = np.asarray(image).astype(np.float64) * (255 / 65535)
        return np.repeat(grey.round().clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)
    if image.mode in ("I", "F"):
        raise UserError("its 32-bit or signed pixels have no known range; save it with 8 or 16 bits")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _was_16_bit(content):
    """Return whether a file that Pillow widened to 32 bits holds 16-bit values: older Pillow's PNG."""
    return content.startswith(b"\x89PNG")


def _unreadable(path, error):
    return UserError(f"cannot read {path} as an image ({_reason(error)}): "
                     f"expected a whole PNG, JPEG, BMP or TIFF file; replace or remove it")


def _reason(error):
    """Return an error in a few words, without the memory address that Pillow's message carries."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _is_image_name(path):
    name = os.path.basename(path)
    return not name.startswith(".") and name != CONTACT_SHEET and os.path.splitext(name)[1][1:].lower() in EXTENSIONS


def _check_folder(folder):
    if files.is_url(folder):
        return  # object stores have no folders; listing says what is there
    if os.path.isfile(folder):
        raise UserError(f"{folder} is a file: expected a folder of images; give the folder that holds it")
    if not os.path.isdir(folder):
        raise UserError(f"folder {folder} does not exist: expected a folder of images; check the path")


def _hint_for_empty(folder, recursive):
    subfolders = [] if recursive else _list_subfolders(folder)
    if subfolders:
        return f"give one of its {len(subfolders)} subfolders ({', '.join(subfolders[:5])})"
    return "check the path"


def _list_files(folder, recursive):
    """Return the paths of all files in a folder, unsorted."""
    if files.is_url(folder):
        entries = _ask_blobfile("walk" if recursive else "scandir", folder)
        if recursive:
            return [files.join(parent, name) for parent, _, names in entries for name in names]
        return [entry.path for entry in entries if entry.is_file]
    if recursive:
        walked = os.walk(folder, onerror=_refuse_unreadable, followlinks=True)
        return [os.path.join(parent, name) for parent, _, names in walked for name in names]
    return [entry.path for entry in _scan(folder) if entry.is_file()]


def _list_subfolders(folder):
    """Return the sorted names of a folder's subfolders; hidden ones are passed over."""
    if files.is_url(folder):
        names = [entry.name for entry in _ask_blobfile("scandir", folder) if entry.is_dir]
    else:
        names = [entry.name for entry in _scan(folder) if entry.is_dir()]
    return sorted(name for name in names if not name.startswith("."))


def _scan(folder):
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        _refuse_unreadable(error)


def _refuse_unreadable(error: OSError) -> NoReturn:
    raise UserError(f"cannot list {error.filename} ({error.strerror}): expected a folder that can be read; "
                    f"check its rights") from error


def _ask_blobfile(function, folder):
    """Return blobfile's answer as a list."""
    try:
        import blobfile as bf

        return list(getattr(bf, function)(folder))
    except Exception as error:  # blobfile's own errors, and those of the network
        raise UserError(f"cannot list {folder} ({_reason(error)}): expected a folder that can be read; "
                        f"check the address and the credentials") from error
