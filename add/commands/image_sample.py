"""Make samples of a model, of its classes where it knows some.

The same command again continues.
"""
import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from add.commands.shared.class_numbers import choose_classes
from add.commands.shared.sample_job import DrawConfig, Job, as_text, base_settings, begin, draw, in_turn, no_classes
from add.config import MOST_SCALE, option
from add.diffusion import ClassifierFree, DiffusionConfig, ForClasses, GaussianDiffusion
from add.errors import UserError
from add.interfaces import Model
from add.networks import ModelConfig
from add.runtime.given_models import load_given
from add.runtime.options import Options, Parsed
from add.runtime.progress import EvaluationBar, processes_and_bar
from add.runtime.world import World
from add.training import LoadedConfig
from add.transition.from_noise import FromNoise


@dataclasses.dataclass(frozen=True)
class SampleConfig(DrawConfig):
    """Sampling."""

    guidance_scale: float = option(1.0, "guidance without a classifier: 0 leaves the class out, 1 is the model's own, "
                                        "more exaggerates the class; needs a model trained with --class_dropout",
                                   least=-MOST_SCALE, most=MOST_SCALE)
    backend: str = option("torch", "how the network runs", ("torch", "compile", "onnx"))


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, SampleConfig, ModelConfig, DiffusionConfig)


def main(argv: list[str] | None = None) -> None:
    """Make the samples that the command line asks for."""
    parsed = build_options().parse(argv)
    with processes_and_bar(parsed, "sampling") as (world, bar):
        sample_images(parsed, world, bar)


def sample_images(parsed: Parsed, world: World, bar: EvaluationBar) -> None:
    """Make the samples that the output folder still lacks, and what else `SamplesFolder` describes.

    Raises:
        UserError: no usable model, options that it can't serve, or a folder of samples that were made otherwise.
    """
    config, way, folder = begin(parsed, SampleConfig, world, bar)
    given = load_given(config.model_path, parsed, world.device, config.backend, config.precision)
    loaded, classes = given[2], None
    if loaded.model.class_cond:
        classes = choose_classes(config.classes, loaded.model.num_classes, loaded.classes)
        folder.class_names, folder.labels = loaded.classes, in_turn(classes, folder.count)
    elif config.classes:
        raise no_classes(loaded)
    draw(image_job(given, way, config, parsed, classes, folder.labels), folder, config, world, bar)


def image_job(given: tuple[Model, GaussianDiffusion, LoadedConfig], way: FromNoise, config: SampleConfig,
              parsed: Parsed, classes: Sequence[int] | None, labels: np.ndarray | None) -> Job:
    """Return the sampling job of an image model.

    Args:
        given: (model, diffusion, its configs), as from `load_given`.
        classes: class numbers, which the images take in turn, or None.
        labels: int64 [n], the class numbers of the images, or None; a model without classes isn't told.
    """
    model, diffusion, loaded = given
    scale, size = config.guidance_scale, loaded.model.image_size
    knows_classes = loaded.model.class_cond
    if scale != 1 and not (knows_classes and loaded.model.class_dropout):
        raise UserError(f"--guidance_scale is {scale} and {loaded.path} was trained without class dropout: expected 1; "
                        f"train a model with --class_cond --class_dropout 0.1 to guide it without a classifier")
    settings = base_settings(parsed, way, loaded)
    if classes is not None:
        settings["classes"] = as_text(classes)
    if knows_classes:
        settings["guidance_scale"] = scale

    def model_for(numbers):
        if not knows_classes:
            return model
        assert labels is not None, "a class-conditional model is told every image's class"
        mine = torch.from_numpy(labels[numbers])
        return ForClasses(model, mine) if scale == 1 else ClassifierFree(model, mine, scale, loaded.model.num_classes)

    return Job(way, diffusion, (3, size, size), model_for, settings, {"model": loaded.path},
               (loaded.model,), nfe_per_call=1 if scale == 1 else 2)
