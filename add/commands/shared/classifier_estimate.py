"""What the training of small classifiers will take, measured on a few steps, as lines for the user."""
import dataclasses
import time

import torch

from add.classification.classifier import ClassifierConfig, build_network, train_classifier
from add.classification.feature_classifier import features_of
from add.classification.labelled_images import Labelled
from add.data.transforms import ORIENTATIONS
from add.runtime.cost_lines import size_text
from add.runtime.machine import peak_memory_mb
from add.runtime.progress import minutes
from add.training.step_costs import MEASURED_STEPS, WARM_UP_STEPS, mean_seconds

FLOAT_BYTES = 4
BATCH = 8  # images whose features, or grades, are measured
NEW = 1e-3  # added to pixels, so that features of these images are not there yet


def classifier_lines(real: Labelled, config: ClassifierConfig, num_trainings: int, files_each: int = 0) -> str:
    """Return the lines that say what trainings of one classifier will take; nothing is written.

    Args:
        real: training images. num_trainings: how many classifiers are still to be trained.
        files_each: files of weights that each leaves.
    """
    seconds = classifier_seconds(real, config)
    network = build_network(config.network, real.labels.shape[1])
    parameters = sum(parameter.numel() for parameter in network.parameters())
    steps = num_trainings * config.steps
    return "\n".join([
        f"estimate from {MEASURED_STEPS} steps; nothing was written",
        f"parameters: {parameters:,}",
        f"memory: {peak_memory_mb():,.0f} MiB at most",
        f"a step: {seconds:.3g} s, {config.batch_size / seconds:.1f} images/s",
        f"time: {minutes(steps * seconds / 60)} for {num_trainings} classifiers of {config.steps} steps; reading and "
        f"scoring come on top",
        f"disk: {size_text(num_trainings * files_each * FLOAT_BYTES * parameters)}"])


def classifier_seconds(real: Labelled, config: ClassifierConfig) -> float:
    """Return the seconds of a training step, the mean of a few after one that isn't counted."""
    ends: list[float] = []
    train_classifier(real, dataclasses.replace(config, steps=WARM_UP_STEPS + MEASURED_STEPS), seed=0,
                     on_step=lambda step, loss: ends.append(time.monotonic()))
    return (ends[-1] - ends[WARM_UP_STEPS - 1]) / MEASURED_STEPS


def features_lines(images: torch.Tensor, count: int) -> str:
    """Return the lines that say what pretrained features of `count` images in all orientations will take.

    Regressions on them take little beside. Nothing is written.

    Args:
        images: some to measure with, [n, 3, H, W].
    """
    batch = images[:BATCH].clone()
    each = mean_seconds(lambda: features_of(batch.add_(NEW)), torch.device("cpu")) / len(batch)
    count *= len(ORIENTATIONS["dihedral"])
    return (f"estimate from features of {len(batch)} images; nothing was written\n"
            f"time: {minutes(count * each / 60)} for features of {count} images")
