"""What the training of small classifiers will take, measured on a few steps, as lines for the user."""
import dataclasses
import time

from add.classification.classifier import ClassifierConfig, build_network, train_classifier
from add.classification.labelled_images import Labelled
from add.runtime.cost_lines import size_text
from add.runtime.machine import peak_memory_mb
from add.runtime.progress import minutes
from add.training.step_costs import MEASURED_STEPS, WARM_UP_STEPS

FLOAT_BYTES = 4


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
