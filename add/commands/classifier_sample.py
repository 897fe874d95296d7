"""Make samples of a model, guided to classes by a classifier of noisy images.

The same command again continues.
"""
import dataclasses

import torch

from add.commands.image_sample import SampleConfig, image_job
from add.commands.shared.class_numbers import choose_classes
from add.commands.shared.classifier_guidance import GuidanceConfig, load_classifier
from add.commands.shared.sample_job import begin, draw, in_turn
from add.diffusion import DiffusionConfig, class_gradient
from add.errors import UserError
from add.networks import ClassifierConfig, ModelConfig
from add.runtime.given_models import describe, load_given
from add.runtime.options import Options, Parsed
from add.runtime.progress import EvaluationBar, processes_and_bar
from add.runtime.world import World


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, SampleConfig, GuidanceConfig, ModelConfig, ClassifierConfig, DiffusionConfig)


def main(argv: list[str] | None = None) -> None:
    """Make the samples that the command line asks for."""
    parsed = build_options().parse(argv)
    with processes_and_bar(parsed, "sampling") as (world, bar):
        sample_with_classifier(parsed, world, bar)


def sample_with_classifier(parsed: Parsed, world: World, bar: EvaluationBar) -> None:
    """Make samples of the classes of a classifier of noisy images, which guides them; else as `sample_images`.

    Dhariwal & Nichol 2021 (arXiv:2105.05233), Sec. 4. The model may know classes, too, or not.

    Raises:
        UserError: no usable model or classifier, a pair that doesn't fit together, and as `sample_images`.
    """
    (config, way, folder), guidance = begin(parsed, SampleConfig, world, bar), parsed.take(GuidanceConfig)
    if not guidance.classifier_path:
        raise UserError("no --classifier_path was given: expected a checkpoint or run folder of a classifier of noisy "
                        "images, which add classifier_train makes; without one, use add image_sample")
    given = load_given(config.model_path, parsed, world.device, config.backend, config.precision)
    classifier, about = load_classifier(parsed, given[2], world.device, config.precision)
    folder.class_names = about.classes or given[2].classes
    classes = choose_classes(config.classes, about.model.num_classes, folder.class_names)
    folder.labels = labels = in_turn(classes, folder.count)
    job = image_job(given, way, config, parsed, classes, labels)

    def gradient_for(numbers):
        return class_gradient(classifier, torch.from_numpy(labels[numbers]), guidance.classifier_scale)

    settings = job.settings | {"classifier": describe(about), "classifier_scale": guidance.classifier_scale}
    checkpoints = job.checkpoints | {"classifier": about.path}
    draw(dataclasses.replace(job, gradient_for=gradient_for, settings=settings, checkpoints=checkpoints,
                             networks=(*job.networks, about.model)), folder, config, world, bar)
