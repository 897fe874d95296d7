"""What a whole study will take, from its options and a few measured steps of its networks, as lines for the user."""
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from add.classification.classifier import ClassifierConfig
from add.classification.classifier_methods import SYNTHETIC, Method
from add.classification.cross_fitted import LABEL_FOLDS
from add.classification.label_rules import RULES_OF_PLACE
from add.classification.labelled_images import Labelled, one_hot
from add.commands import train as train_command
from add.commands.shared.classifier_estimate import classifier_seconds
from add.data.files import save_png
from add.diffusion import DiffusionConfig, diffusion_from_config
from add.networks import ModelConfig
from add.runtime.cost_lines import evaluation_seconds
from add.runtime.progress import minutes
from add.runtime.world import World
from add.study.study_plan import RIVALS
from add.training import TrainConfig, prepare
from add.training.step_costs import MEASURED_STEPS, measure_steps
from add.transition import make_sampler, way_evaluations

NUM_DOMAINS = 2


def study_lines(config: Any, methods: Sequence[Method]) -> str:
    """Return the lines that say what a study will take; nothing is written but in a temporary folder.

    Args:
        config: `add.commands.compare.StudyConfig`. methods: those that it compares.
    """
    step, evaluation, last_step, evaluations = _measure_network(config)
    sources = {method.images.partition("@")[0] for method in methods} - {""}
    shares = len(config.synthetic_share.split(","))
    classifiers = config.num_seeds * sum(shares if method.source else 1 for method in methods
                                          if not method.on_features)
    looking = [rule for rule in config.label_rules.split(",") if rule not in RULES_OF_PLACE and rule != "likelihood"]
    noise = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (64, 3, config.image_size, config.image_size)))
    real = Labelled(noise.float(), one_hot(torch.arange(64) % NUM_DOMAINS, NUM_DOMAINS))
    classifier = classifier_seconds(real, ClassifierConfig(network=config.network, steps=config.classifier_steps))
    parts: dict[str, float] = {}
    for size in config.sizes():
        if sources & set(SYNTHETIC):  # a base model, from which the others take half the steps each, makes it no more
            _add(parts, "training diffusion models", NUM_DOMAINS * last_step * step)
        if "unconditional" in sources:
            _add(parts, "sampling", NUM_DOMAINS * config.num_samples * config.sample_steps * evaluation)
        if sources & {"full", "progressive"}:
            _add(parts, "translating", NUM_DOMAINS * min(config.num_sources, size) * evaluations * evaluation)
            _add(parts, "labelling", LABEL_FOLDS * len(looking) * config.classifier_steps * classifier)
        _add(parts, "training other papers' methods",
             NUM_DOMAINS * len(sources & set(RIVALS)) * config.rival_minutes * 60)
        _add(parts, "training classifiers", classifiers * config.classifier_steps * classifier)
    draws = f" in {config.draws} draws" if config.draws > 1 else ""
    parts = {what: config.draws * seconds for what, seconds in parts.items()}
    total = sum(parts.values())
    return "\n".join([f"estimate from {MEASURED_STEPS} steps of each network; nothing was written",
                      *(f"{what}: {minutes(seconds / 60)}" for what, seconds in parts.items() if seconds),
                      f"time: {minutes(total / 60)} for the sizes {', '.join(map(str, config.sizes()))}{draws}, one "
                      f"command at a time; metrics come on top, and --jobs shares the cores"])


def _add(parts, what, seconds):
    parts[what] = parts.get(what, 0.0) + seconds


def _measure_network(config):
    """Return (seconds of a training step, of an evaluation of an image, training steps, evaluations a translation)."""
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        words = ["--config", config.train_config, "--image_size", str(config.image_size), "--data_dir", str(images),
                 "--run_dir", str(Path(folder) / "run"), "--num_preview", "0", "--tensorboard", "False"]
        if config.train_steps:
            words += ["--lr_anneal_start", str(config.train_steps // 2), "--lr_anneal_steps", str(config.train_steps)]
        parsed = train_command.build_options().parse(words)
        rng = np.random.default_rng(0)
        for number in range(parsed.batch_size):
            side = config.image_size
            save_png(images / f"{number}.png", rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        diffusion_config = parsed.take(DiffusionConfig)
        trainer = prepare(parsed.take(TrainConfig, preview_kid=0), parsed.take(ModelConfig), diffusion_config, World())
        costs = measure_steps(trainer)
        batch = trainer.config.batch_size
        with torch.no_grad():
            seconds = evaluation_seconds(trainer.model.eval(), (3, config.image_size, config.image_size),
                                         trainer.world.device, batch) / batch
    diffusion = diffusion_from_config(diffusion_config)
    evaluations = sum(map(sum, way_evaluations(make_sampler(path=config.path), [diffusion] * 2, config.amount,
                                               config.path)))
    return costs.seconds, seconds, trainer.config.last_step, evaluations
