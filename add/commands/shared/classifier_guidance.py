"""Classifiers of noisy images that guide a model: their options, and checks that both fit together."""
import dataclasses

import numpy as np
import torch

from add.config import MOST_SCALE, Checked, option, path_option
from add.diffusion import diffusion_from_config
from add.errors import UserError
from add.interfaces import Model
from add.networks import ClassifierConfig
from add.runtime.given_models import load_given
from add.runtime.options import Parsed
from add.training import LoadedConfig
from add.training.checkpoints import read_facts


@dataclasses.dataclass(frozen=True)
class GuidanceConfig(Checked):
    """Guidance by a classifier."""

    classifier_path: str = path_option("", "checkpoint or run folder of a classifier of noisy images", "classifier")
    classifier_scale: float = option(1.0, "factor on its gradient: 0 for no guidance, more for clearer classes",
                                     least=-MOST_SCALE, most=MOST_SCALE)


def load_classifier(parsed: Parsed, model: LoadedConfig, device: torch.device, precision: str
                    ) -> tuple[Model, LoadedConfig]:
    """Return the classifier of --classifier_path, fit to guide `model`, and its config.

    Raises:
        UserError: no usable classifier, or one that doesn't fit the model.
    """
    # Of the options, only the classifier's own can contradict it; check_pair compares the schedules.
    own = parsed.given & {field.name for field in dataclasses.fields(ClassifierConfig)}
    classifier, _, about = load_given(
        parsed.classifier_path, Parsed(parsed.values, own, parsed.config_path, parsed.configs), device,
        precision=precision, kind="classifier")
    check_pair(model, about)
    return classifier, about


def check_pair(model: LoadedConfig, classifier: LoadedConfig) -> None:
    """Raise UserError where a classifier can't guide a model."""
    sizes = classifier.model.image_size, model.model.image_size
    if sizes[0] != sizes[1]:
        raise UserError(f"the classifier looks at {sizes[0]}-pixel images and the model makes {sizes[1]}-pixel ones: "
                        f"expected one size; train both with the same --image_size")
    if model.model.class_cond:
        numbers = classifier.model.num_classes, model.model.num_classes
        if numbers[0] != numbers[1]:
            raise UserError(f"the classifier knows {numbers[0]} classes and the model {numbers[1]}: expected the same "
                            f"classes; train both on the same folders")
        if classifier.classes is not None and model.classes is not None and classifier.classes != model.classes:
            raise UserError(f"the classifier's classes are {', '.join(classifier.classes)} and the model's "
                            f"{', '.join(model.classes)}: expected the same; train both on the same folders")
    known = all(read_facts(config.path.parent) is not None for config in (model, classifier))
    if known and not _told_alike(model.diffusion, classifier.diffusion):
        raise UserError(f"the classifier {classifier.path} learned another noise schedule than the model "
                        f"{model.path}: expected one for both; train them with the same --diffusion_steps, "
                        f"--noise_schedule, --zero_terminal_snr and --rescale_timesteps")


def _told_alike(*configs):
    """Return whether models of two DiffusionConfigs were told the same of the same noise levels in training."""
    whole = [diffusion_from_config(dataclasses.replace(config, timestep_respacing="")) for config in configs]
    if not np.array_equal(whole[0].alphas_cumprod, whole[1].alphas_cumprod):
        return False
    told = [diffusion.model_timesteps(torch.arange(diffusion.num_timesteps)).double() for diffusion in whole]
    return torch.equal(*told)
