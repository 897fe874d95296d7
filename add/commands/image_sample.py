"""Make samples of a model, of its classes where it knows some. The same command again continues."""
import dataclasses

import torch

from add.commands.shared.class_numbers import choose_classes
from add.commands.shared.sample_job import (
    DrawConfig,
    Job,
    as_text,
    base_settings,
    choose_way,
    draw,
    in_turn,
    no_classes,
    require_model_path,
)
from add.config import option
from add.diffusion import ClassifierFree, DiffusionConfig, ForClasses
from add.errors import UserError
from add.networks import ModelConfig
from add.results.sample_folder import SamplesFolder
from add.runtime.given_models import load_given
from add.runtime.options import Options
from add.runtime.progress import processes_and_bar


@dataclasses.dataclass(frozen=True)
class SampleConfig(DrawConfig):
    """Sampling."""

    guidance_scale: float = option(1.0, "guidance without a classifier: 0 leaves the class out, 1 is the model's own, "
                                        "more exaggerates the class; needs a model trained with --class_dropout")
    backend: str = option("torch", "how the network runs", ("torch", "compile", "onnx"))


def build_options():
    return Options(__doc__, SampleConfig, ModelConfig, DiffusionConfig)


def main(argv=None):
    parsed = build_options().parse(argv)
    with processes_and_bar(parsed) as (world, bar):
        sample_images(parsed, world, bar)


def sample_images(parsed, world, bar):
    """Make the samples that the output folder still lacks, and what else `SamplesFolder` describes.

    Raises:
        UserError: no usable model, options that it can't serve, or a folder of samples that were made otherwise.
    """
    config, way = parsed.take(SampleConfig), choose_way(parsed)
    folder = SamplesFolder(config.out_dir, config.num_samples)
    require_model_path(config)
    given = load_given(config.model_path, parsed, world.device, config.backend, config.precision)
    loaded, classes = given[2], None
    if loaded.model.class_cond:
        classes = choose_classes(config.classes, loaded.model.num_classes, loaded.classes)
        folder.class_names, folder.labels = loaded.classes, in_turn(classes, folder.count)
    elif config.classes:
        raise no_classes(loaded)
    draw(_image_job(given, way, config, parsed, classes, folder.labels), folder, config, world, bar)




def _image_job(given, way, config, parsed, classes, labels):
    """Return the Job of an image model.

    Args:
        given: (model, diffusion, LoadedConfig). way: FromNoise. classes: ints, what the images take in turn, or None.
        labels: int64 [n], those of the images, or None; a model without classes isn't told.
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
        mine = torch.from_numpy(labels[numbers])
        return ForClasses(model, mine) if scale == 1 else ClassifierFree(model, mine, scale, loaded.model.num_classes)

    return Job(way, diffusion, (3, size, size), model_for, settings, {"model": loaded.path},
               nfe_per_call=1 if scale == 1 else 2)
