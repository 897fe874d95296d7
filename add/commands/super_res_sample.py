"""Make large images of small ones with a super-resolution model.

Dhariwal and Nichol 2021 (ADM, arXiv:2105.05233), Sec. 5. The images are numbered PNGs. The same command again
continues.
"""
import dataclasses
import functools
import hashlib

import numpy as np
import torch
from PIL import Image

from add.commands.shared.class_numbers import choose_classes
from add.commands.shared.sample_job import DrawConfig, Job, as_text, base_settings, begin, draw, in_turn, no_classes
from add.config import MOST_IMAGES, max_pixels_option, option, path_option
from add.data import ImageSet
from add.data.files import fingerprint, read_bytes
from add.data.read_back import read_npz
from add.data.transforms import to_model_input
from add.diffusion import DiffusionConfig, ForClasses
from add.errors import UserError
from add.interfaces import PathLike
from add.networks import SuperResConfig
from add.results.sample_folder import LABELS_NAME, read_labels
from add.runtime.given_models import load_given
from add.runtime.options import Options, Parsed
from add.runtime.progress import EvaluationBar, processes_and_bar
from add.runtime.world import World


@dataclasses.dataclass(frozen=True)
class SuperResSampleConfig(DrawConfig):
    """Super-resolution."""

    base_samples: str = path_option("", "small images: a folder, or an npz of `add image_sample` with arr_0 and labels "
                                        "arr_1", "images")
    num_samples: int = option(0, "images to make, each from the next small one, and again from the first; 0: one of "
                                 "each", least=0, most=MOST_IMAGES)
    classes: str = option("", "classes of the small images, numbers or names separated by commas, in turn; left out: "
                              "those of the npz, or of the folder's labels.csv")
    max_pixels: int = max_pixels_option()


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, SuperResSampleConfig, SuperResConfig, DiffusionConfig)


def main(argv: list[str] | None = None) -> None:
    """Make the large images that the command line asks for."""
    parsed = build_options().parse(argv)
    with processes_and_bar(parsed, "enlarging") as (world, bar):
        super_resolve(parsed, world, bar)


def super_resolve(parsed: Parsed, world: World, bar: EvaluationBar) -> None:
    """Make the large images that the output folder still lacks, and what else `SamplesFolder` describes.

    Raises:
        UserError: no usable model or small images, options that they can't serve, or a folder made otherwise.
    """
    config, way, folder = begin(parsed, SuperResSampleConfig, world, bar)
    if not config.base_samples:
        raise UserError("no --base_samples were given: expected a folder of small images, or an npz that "
                        "add image_sample --save_npz wrote")
    model, diffusion, loaded = load_given(config.model_path, parsed, world.device, precision=config.precision,
                                          kind="super_res")
    base, digest = read_base_samples(config.base_samples, loaded.model.small_size)
    for sentence in base.sentences():
        bar.note(sentence)
    folder.count = config.num_samples or len(base)
    settings = base_settings(parsed, way, loaded) | {"base_sha256": digest}
    if loaded.model.class_cond:
        classes = _classes_of(base, config, loaded)
        folder.labels, folder.class_names = in_turn(classes, folder.count), loaded.classes
        settings["classes"] = as_text(classes) if config.classes else "those of the base samples"
    elif config.classes:
        raise no_classes(loaded)

    def model_for(numbers):
        small = to_model_input(base.batch([number % len(base) for number in numbers])).to(world.device)
        told = functools.partial(model, low_res=small)
        return told if folder.labels is None else ForClasses(told, torch.from_numpy(folder.labels[numbers]))

    size = loaded.model.large_size
    job = Job(way, diffusion, (3, size, size), model_for, settings, {"model": loaded.path}, (loaded.model,))
    draw(job, folder, config, world, bar,
         shown=lambda number, image: beside_small(base.batch([number % len(base)])[0], image))


def read_base_samples(path: PathLike, small_size: int) -> tuple[ImageSet, str]:
    """Return the small images, each small_size pixels wide and high, and a digest of all, hexadecimal.

    Raises:
        UserError: no images there, or others than uint8 [n, H, W, 3] in the npz.
    """
    if str(path).endswith(".npz"):
        content = read_bytes(path)
        return _read_npz(path, content, small_size), hashlib.sha256(content).hexdigest()
    base = ImageSet.from_folder(path, small_size)
    labels = read_labels(path)
    if labels is not None:
        unlabelled = [name for name in base.names if name not in labels]
        if unlabelled:
            raise UserError(f"{LABELS_NAME} in {path} tells no class of {len(unlabelled)} images, the first is "
                            f"{unlabelled[0]}: add them, or remove one or the other")
        base.labels = np.array([labels[name] for name in base.names], dtype=np.int64)
    digest = hashlib.sha256(fingerprint(path, base.files).encode())
    digest.update(b"" if base.labels is None else base.labels.tobytes())
    return base, digest.hexdigest()


def beside_small(small: np.ndarray, large: np.ndarray) -> np.ndarray:
    """Return uint8 [H, 2 W, 3]: a small image, enlarged without smoothing, and the large one [H, W, 3]."""
    height, width = large.shape[:2]
    enlarged = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST))
    return np.concatenate([enlarged, large], axis=1)


def _read_npz(path, content, small_size):
    found = read_npz(path, {"arr_0": (np.uint8, (None, None, None, 3)), "arr_1?": (np.integer, (None,))},
                     "give one with images in arr_0, as add image_sample --save_npz writes it", content)
    images, labels = found["arr_0"], found.get("arr_1")
    if 0 in images.shape:
        raise UserError(f"arr_0 in {path} is {images.dtype} {list(images.shape)}: expected one image at least")
    if labels is not None and len(labels) != len(images):
        raise UserError(f"arr_1 in {path} is {labels.dtype} {list(labels.shape)}: expected the images' classes, whole "
                        f"numbers [{len(images)}]")
    return ImageSet(list(images), small_size, labels)


def _classes_of(base, config, loaded):
    """Return the classes that the images take in turn, ints: those given, else those of the small images."""
    if config.classes:
        return choose_classes(config.classes, loaded.model.num_classes, loaded.classes)
    if base.labels is None:
        raise UserError(f"{loaded.path} is class-conditional and {config.base_samples} tells no classes: expected "
                        f"--classes, an npz with arr_1, or a folder with {LABELS_NAME}")
    unknown = base.labels[(base.labels < 0) | (base.labels >= loaded.model.num_classes)]
    if len(unknown):
        raise UserError(f"{config.base_samples} has images of class {unknown[0]}, expected classes from 0 to "
                        f"{loaded.model.num_classes - 1}: give --classes, or use the model of these classes")
    return base.labels.tolist()
