"""Sets of images, with labels or without: read from files, divided, and cut into batches."""
import functools
import hashlib
import os
from array import array
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from add.data import files, folders, transforms
from add.data.groups import hold_out
from add.data.image_file import read_file, read_header, read_image
from add.data.in_threads import reading_threads
from add.data.packed_texts import PackedTexts
from add.data.read_images import read_each
from add.data.value_range import say_ranges
from add.errors import UserError
from add.interfaces import PathLike

MEMORY_LIMIT_BYTES = 2 * 1024**3
_RANGES_READ = 16  # files whose range of values is looked at where only headers are read


class ImageSet:
    """A set of images, with labels or without, that batches are cut from.

    Args:
        images: uint8 [n, S, S, 3]; or a sequence of n uint8 [H, W, 3] of any sizes (a list, or files read
            when asked for), which `batch` crops.
        image_size: side of the batches' images, S; may be left out for an array.
        labels: int64 [n] or None.
        paths: names of the images, for messages and reports; or None.
        class_names: names of the labels, or None.
        crop: how a batch cuts the images by default: "center" or "random".
        bad: files left out when the set, or the one it is a part of, was read, as (path, reason).
        folder: that the paths were listed from, or None; `names` are relative to it.
        sizes: int [n, 2], (height, width) of the images as they are stored, or None where that is not known.
        range_note: a sentence on the range of the values in the files, or "".
        others_note: a sentence on the files of the folder that are no images, or "".
    """

    def __init__(self, images: np.ndarray | Sequence[np.ndarray], image_size: int | None = None,
                 labels: ArrayLike | None = None, paths: Iterable[str] | None = None,
                 class_names: Sequence[str] | None = None, crop: str = "center",
                 bad: Iterable[tuple[str, str]] = (), folder: PathLike | None = None, sizes: ArrayLike | None = None,
                 range_note: str = "", others_note: str = "") -> None:
        check_crop(crop)
        if image_size is None:
            if not isinstance(images, np.ndarray):
                raise ValueError("image_size was left out: expected it, except for images in one array")
            image_size = images.shape[1]
        self.images = images
        self.image_size = image_size
        self.labels = None if labels is None else np.asarray(labels, dtype=np.int64)
        self.paths = None if paths is None else PackedTexts.of(paths)
        self.class_names = class_names
        self.crop = crop
        self.bad = list(bad)
        self.folder = folder
        self.sizes = None if sizes is None else np.asarray(sizes, dtype=np.int64).reshape(-1, 2)
        self.range_note = range_note
        self.others_note = others_note
        for name, value in (("labels", self.labels), ("paths", self.paths), ("sizes", self.sizes)):
            if value is not None and len(value) != len(images):
                raise ValueError(f"{len(value)} {name} were given for {len(images)} images: expected as many")

    @classmethod
    def from_folder(cls, folder: PathLike, image_size: int, class_cond: bool = False, **options: Any) -> Self:
        """Return the set of the images in and below a folder; with class_cond, labelled by file name.

        See `folders.list_images` and `from_paths`.
        """
        if class_cond:
            paths, labels, class_names = folders.list_named_classes(folder)
            return cls.from_paths(paths, image_size, labels, class_names, folder=folder, **options)._beside(folder)
        return cls.from_paths(folders.pack_images(folder), image_size, folder=folder, **options)._beside(folder)

    @classmethod
    def from_domains(cls, root: PathLike, image_size: int, names: Sequence[str] | None = None, **options: Any) -> Self:
        """Return the set of a folder of domains, one subfolder each, labelled 0, 1, ... as `names` go, else sorted."""
        domains = folders.in_order(folders.pack_domains(root), names, root)
        paths = PackedTexts.of((path for names in domains.values() for path in names), os.fspath(root)
                               if all(names.prefix.startswith(os.fspath(root)) for names in domains.values()) else "")
        labels = np.repeat(np.arange(len(domains)), [len(names) for names in domains.values()])
        return cls.from_paths(paths, image_size, labels, list(domains), folder=root, **options)._beside(root)

    @classmethod
    def from_paths(cls, paths: Sequence[str], image_size: int, labels: ArrayLike | None = None,
                   class_names: Sequence[str] | None = None, crop: str = "center", skip_bad: bool = False,
                   memory_limit: float = MEMORY_LIMIT_BYTES, folder: PathLike | None = None) -> Self:
        """Return the set of these image files.

        Below memory_limit (bytes of decoded pixels) all are read now, and every unreadable file is known now.
        Above it only the headers are read; the images are read when asked for.

        Args:
            crop: "center" keeps each image's central square; "random" keeps images at their own size, so that
                every visit can cut another square.
            folder: that the paths were listed from; left out: `names` are file names.
        """
        check_crop(crop)
        headers_read = crop == "random" or len(paths) * image_size**2 * 3 > memory_limit
        bad: list[tuple[str, str]] = []
        num_bytes = 0
        kept = PackedTexts.of(paths)
        places = np.arange(len(kept))  # of those kept, among `paths`
        sizes: Any = array("q")  # height, width, height, ...
        if headers_read:
            places, bad = read_each(kept, read_header, sizes.extend, skip_bad)
            kept = kept.take(places)
            sizes = np.frombuffer(sizes, dtype=np.int64).reshape(-1, 2)
            num_bytes = 3 * (image_size**2 * len(kept) if crop == "center" else int(sizes.prod(axis=1).sum()))
        if num_bytes > memory_limit:
            images: np.ndarray | Sequence[np.ndarray] = _FileImages(kept)
            ranges = [_range_of(path) for path in kept[::max(1, len(kept) // _RANGES_READ)]]
        else:
            found: list[Any] = []
            own, bad_pixels = read_each(kept, functools.partial(_read, image_size, crop), found.append,
                                                skip_bad)
            kept, places = kept.take(own), places[own]
            bad += bad_pixels
            pixels, sizes, ranges = map(list, zip(*found, strict=True))
            images = np.stack(pixels) if crop == "center" else pixels
        if labels is not None:
            labels = np.asarray(labels)[places]
        note = say_ranges([found for found in ranges if found is not None])
        return cls(images, image_size, labels, kept, class_names, crop, bad, folder, sizes, note)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def reads_files(self) -> bool:
        """Whether images are read from their files each time, as they don't fit in memory."""
        return isinstance(self.images, _FileImages)

    @property
    def files(self) -> PackedTexts:
        """The paths of a set whose images come from files."""
        assert self.paths is not None, "these images have no files"
        return self.paths

    @property
    def names(self) -> PackedTexts:
        """The files by their paths in the folder that was read, with forward slashes: a.png, or mild/slide1/a.png."""
        folder = self.folder
        return PackedTexts.of(files.file_name(path) if folder is None else files.relative_name(folder, path)
                              for path in self.files)

    def batch(self, indices: Sequence[int] | np.ndarray, crop: str | None = None,
              uniforms: np.ndarray | None = None) -> np.ndarray:
        """Return uint8 [b, S, S, 3], the images at int `indices` [b], cropped.

        Args:
            crop: "center" or "random"; the set's own when left out.
            uniforms: [b, 3] in [0, 1), what a random crop is placed by.
        """
        crop = crop or self.crop
        if isinstance(self.images, np.ndarray):
            return self.images[np.asarray(indices)]

        def cut(place):
            image = self.images[int(indices[place])]
            if crop == "center":
                return transforms.center_crop(image, self.image_size)
            assert uniforms is not None, "a random crop was asked for without uniforms"
            return transforms.place_random_crop(image, self.image_size, uniforms[place])

        if self.reads_files and reading_threads() > 1:
            with ThreadPoolExecutor(reading_threads()) as pool:
                return np.stack(list(pool.map(cut, range(len(indices)))))
        return np.stack([cut(place) for place in range(len(indices))])

    def sha256(self, index: int) -> str:
        """Return the SHA-256 of one image's pixels, as a centred batch gives them, as hexadecimal digits."""
        return hashlib.sha256(self.batch([index], crop="center").tobytes()).hexdigest()

    def say_bad(self) -> str:
        """Return a sentence on the files that were left out."""
        return f"{len(self.bad)} unreadable images left out: " + ", ".join(str(path) for path, _ in self.bad[:5])

    @property
    def least_side(self) -> int:
        """Shorter side in pixels of the smallest file; the set's where none is smaller, or sizes are unknown."""
        return self.image_size if self.sizes is None or not len(self) else min(self.image_size, int(self.sizes.min()))

    def say_enlarged(self) -> str:
        """Return a sentence on the images that are smaller than the set's and were enlarged, or "" where none was."""
        if self.sizes is None or self.paths is None or not len(self):
            return ""
        sides = self.sizes.min(axis=1)
        count, least = int((sides < self.image_size).sum()), int(sides.argmin())
        if count == 0:
            return ""
        height, width = self.sizes[least].tolist()
        return (f"{count} of {len(self)} images are smaller than {self.image_size} pixels and were enlarged, up to "
                f"{self.image_size / sides[least]:.3g} times: {self.names[least]} is {width} x {height}")

    def sentences(self) -> list[str]:
        """Return what a user should hear of how the files were read: left out, subfolders, enlarged, range, others."""
        nested = "" if self.paths is None or self.class_names else folders.say_subfolders(self.names)
        bad = self.say_bad() if self.bad else ""
        return [sentence for sentence in (bad, nested, self.say_enlarged(), self.range_note, self.others_note)
                if sentence]

    def subset(self, indices: ArrayLike) -> "ImageSet":
        """Return the set of the images at int `indices` [m]; only an array's pixels are copied."""
        indices = np.asarray(indices, dtype=np.int64)
        images: np.ndarray | Sequence[np.ndarray]
        if isinstance(self.images, np.ndarray):
            images = self.images[indices]
        elif isinstance(self.images, _FileImages):
            images = _FileImages(self.images.paths.take(indices))
        else:
            images = [self.images[i] for i in indices]
        labels = None if self.labels is None else self.labels[indices]
        paths = None if self.paths is None else self.paths.take(indices)
        sizes = None if self.sizes is None else self.sizes[indices]
        return ImageSet(images, self.image_size, labels, paths, self.class_names, self.crop, self.bad, self.folder,
                        sizes, self.range_note, self.others_note)

    def _beside(self, folder):
        """Return this set with a sentence on what else its folder holds."""
        self.others_note = folders.say_others(folder)
        return self

    def split(self, val_fraction: float, seed: int, groups: Sequence[str] | None = None
              ) -> tuple["ImageSet", "ImageSet"]:
        """Return (train, validation): disjoint, together everything, the same for the same seed; see `hold_out`.

        Args:
            groups: of each image, such as its patient; none is divided. None: each image on its own.
        """
        if not 0 <= val_fraction < 1:
            raise UserError(f"validation fraction {val_fraction} leaves nothing to train on: "
                            f"expected 0 <= fraction < 1; give a smaller one")
        order = np.random.default_rng([seed, len(self)]).permutation(len(self))
        labels = np.zeros(len(self), dtype=np.int64) if self.labels is None else self.labels
        held_out = hold_out(labels, val_fraction, order, groups)
        train = np.setdiff1d(np.arange(len(self)), held_out)
        return self.subset(train), self.subset(held_out)


class _FileImages(Sequence[np.ndarray]):
    """A sequence of images that are read from their files each time they are asked for."""

    def __init__(self, paths: PackedTexts):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return read_image(self.paths[index])


def _range_of(path):
    """Return the range of a file's values, or None; a damaged file is named when its image is asked for."""
    try:
        return read_file(path).range
    except UserError:
        return None


def _read(image_size, crop, path):
    """Return (pixels, stored size, range) of a file; the pixels of a centre crop are cut now, to save memory."""
    pixels, found = read_file(path)
    cut = transforms.center_crop(pixels, image_size) if crop == "center" else pixels
    return cut, pixels.shape[:2], found


def check_crop(crop: str) -> None:
    """Raise ValueError for a crop that is none."""
    if crop not in ("center", "random"):
        raise ValueError(f"crop {crop!r} is unknown: expected center or random")
