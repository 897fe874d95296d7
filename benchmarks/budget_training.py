"""Trainings for a budget of core-seconds, and how their samples are measured: for time_to_quality.py and others.

A core-second is a second of processor time of the training steps on one thread. A rate that is planned rises over a
tenth of the budget at most and falls linearly over its second half.
"""
import math
import platform
import time
from pathlib import Path

import torch
from quality_plan import FALL_STARTS, planned_fall, planned_start

from add import __version__
from add.data import ImageSet, to_model_input
from add.diffusion import DiffusionConfig
from add.metrics import kid
from add.networks import ModelConfig
from add.runtime.world import World
from add.training import TrainConfig, load_model, prepare
from add.training.ema import share_of_start
from add.training.step_costs import measure_steps
from add.transition.from_noise import FromNoise, OwnNoise

NOISE_SEED, SUBSET_SEED = 7, 11
BATCH = 32  # images sampled or measured at once
USELESS_SHARE = 0.9  # an EMA with more of its start than this is not measured


class BrokeDown(Exception):
    """A loss that is no finite number; the message says which, and at which step."""


class OwnTraining:
    """One of this package's recipes in training.

    Args:
        options: {"train", "model", "diffusion"}, those of the recipe. data_dir: folder of the training images.
        folder: an empty one, for the run.
        budget: core-seconds.
        planned: whether the rate rises and falls by the budget. weights: those that `models` yields.
    """

    def __init__(self, options, data_dir, folder, seed, budget, planned=True, weights=("ema",)):
        self.planned, self.folder, self.weights = planned, folder, weights
        config = TrainConfig(data_dir=str(data_dir), run_dir=str(folder), seed=seed, device="cpu",
                             threads=1, max_steps=0, num_preview=0, tensorboard=False, **options["train"])
        model, diffusion = ModelConfig(**options["model"]), DiffusionConfig(**options["diffusion"])
        self.trainer = prepare(config, model, diffusion, World())
        self.parameters = sum(p.numel() for p in self.trainer.parameters)
        if self.planned:
            self.trainer.config = planned_start(config, int(budget / core_seconds_of_a_step(self.trainer)))

    @property
    def finished(self):
        """Whether the rate has fallen to 0."""
        return self.trainer.finished

    def step(self, core_seconds, budget):
        """Take one step, `core_seconds` of the budget being spent; return the loss."""
        trainer = self.trainer
        if self.planned and not trainer.config.lr_anneal_steps and core_seconds >= FALL_STARTS * budget:
            trainer.config = planned_fall(trainer.config, trainer.step, core_seconds, budget)
        losses, *_ = trainer.advance()
        return losses["loss"].mean().item()

    def models(self):
        """Yield (name of the weights, model, diffusion) to sample from."""
        trainer = self.trainer
        trainer.save(pictured=False)
        rate, ema = next(iter(trainer.emas.items()))
        for weights in self.weights:
            if weights == "ema" and share_of_start(ema.rate, trainer.step, ema.warmup) > USELESS_SHARE:
                continue
            prefix = "model" if weights == "model" else f"ema_{rate}_"
            model, diffusion, _ = load_model(self.folder / f"{prefix}{trainer.step:06d}.pt")
            yield weights, model.to(memory_format=torch.channels_last), diffusion


def core_seconds_of_a_step(trainer):
    """Return the processor time of a step, in seconds, from a few that leave no trace."""
    wall, core = time.monotonic(), time.process_time()
    seconds = measure_steps(trainer).seconds
    return seconds * (time.process_time() - core) / (time.monotonic() - wall)


def train_for(training, budget):
    """Train for a budget of core-seconds; return (steps, core-seconds spent).

    Raises:
        BrokeDown: a loss is NaN or infinite.
    """
    steps, spent = 0, 0.0
    while spent < budget and not training.finished:
        start = time.process_time()
        loss = training.step(spent, budget)
        spent += time.process_time() - start
        steps += 1
        if not math.isfinite(loss):
            raise BrokeDown(f"the loss was {loss} at step {steps}")
    return steps, spent


def read_folder(folder, image_size):
    """Return the images of a folder, [n, 3, S, S] in [-1, 1]."""
    images = ImageSet.from_folder(folder, image_size)
    return to_model_input(images.batch(range(len(images))))


@torch.no_grad()
def draw_samples(model, diffusion, image_size, count, evaluations):
    """Return samples [count, 3, S, S] in [-1, 1], from the same noise every time."""
    way, shape = FromNoise("unipc", decode_steps=evaluations), (3, image_size, image_size)
    parts = [OwnNoise(NOISE_SEED, range(first, min(first + BATCH, count)), shape) for first in range(0, count, BATCH)]
    return torch.cat([way.images(model, diffusion, noise) for noise in parts]).clamp(-1, 1)


def kid_of(features, real):
    """Return [mean, spread of a subset] of KID x 1000."""
    found = kid(features, real, generator=torch.Generator().manual_seed(SUBSET_SEED))
    return [1000 * found.mean, 1000 * found.spread]


def cpu_name():
    """Return the name of the processor."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
                platform.processor() or platform.machine())


def own_versions():
    """Return {package: version} of what a training of this package depends on."""
    return {"add": __version__, "python": platform.python_version(), "torch": torch.__version__}
