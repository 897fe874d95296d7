"""Samples of a model as numbered PNGs, each with a seed of its own: of its classes, or guided by a classifier."""
import dataclasses

import torch

from add.config import option
from add.data.samples_folder import SamplesFolder
from add.diffusion import ClassifierFree, ForClasses, class_gradient
from add.errors import UserError
from add.runtime.classes import choose_classes
from add.runtime.drawing import (
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
from add.runtime.guidance import GuidanceConfig, load_classifier
from add.runtime.models import describe, load_given


@dataclasses.dataclass(frozen=True)
class SampleConfig(DrawConfig):
    """Sampling."""

    guidance_scale: float = option(1.0, "guidance without a classifier: 0 leaves the class out, 1 is the model's own, "
                                        "more exaggerates the class; needs a model trained with --class_dropout")
    backend: str = option("torch", "how the network runs", ("torch", "compile", "onnx"))


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


def sample_with_classifier(parsed, world, bar):
    """Make samples of the classes of a classifier of noisy images, which guides them; else as `sample_images`.

    Dhariwal & Nichol 2021 (arXiv:2105.05233), Sec. 4. The model may know classes, too, or not.

    Raises:
        UserError: no usable model or classifier, a pair that doesn't fit together, and as `sample_images`.
    """
    config, guidance, way = parsed.take(SampleConfig), parsed.take(GuidanceConfig), choose_way(parsed)
    folder = SamplesFolder(config.out_dir, config.num_samples)
    require_model_path(config)
    if not guidance.classifier_path:
        raise UserError("no --classifier_path was given: expected a checkpoint or run folder of a classifier of noisy "
                        "images, which classifier_train.py makes; without one, use image_sample.py")
    given = load_given(config.model_path, parsed, world.device, config.backend, config.precision)
    classifier, about = load_classifier(parsed, given[2], world.device, config.precision)
    folder.class_names = about.classes or given[2].classes
    classes = choose_classes(config.classes, about.model.num_classes, folder.class_names)
    folder.labels = in_turn(classes, folder.count)
    job = _image_job(given, way, config, parsed, classes, folder.labels)

    def gradient_for(numbers):
        return class_gradient(classifier, torch.from_numpy(folder.labels[numbers]), guidance.classifier_scale)

    settings = job.settings | {"classifier": describe(about), "classifier_scale": guidance.classifier_scale}
    checkpoints = job.checkpoints | {"classifier": about.path}
    draw(dataclasses.replace(job, gradient_for=gradient_for, settings=settings, checkpoints=checkpoints),
         folder, config, world, bar)


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
