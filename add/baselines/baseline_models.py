"""The baseline methods by name: their configs, how one is made from its options, and how a trained one is loaded."""
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from add.baselines.adversarial import Rival
from add.baselines.lofgan import LoFGAN, LoFGANConfig
from add.baselines.mixdl import MixDL, MixDLConfig
from add.baselines.progan import ProGAN, ProGANConfig
from add.data.read_back import damaged, mismatch
from add.errors import UserError
from add.interfaces import PathLike, Row
from add.training.checkpoints import (
    CONFIG_NAME,
    NAME,
    RESTORE_CONFIG,
    filled,
    load_weights,
    read_facts,
    read_newest,
    read_training_state,
)

METHODS: dict[str, tuple[type, Callable[..., Rival]]] = {
    "progan": (ProGANConfig, ProGAN), "lofgan": (LoFGANConfig, LoFGAN), "mixdl": (MixDLConfig, MixDL)}
DEFAULTS: dict[str, Row] = {  # training options whose default is another one for a method
    "progan": {}, "lofgan": {"batch_size": 8}, "mixdl": {}}
SIZES = (32, 64, 128, 256)


def make_rival(method: str, config: Any, image_size: int, num_classes: int = 0) -> Rival:
    """Return the rival of a method; raises UserError for an image size that none of them takes."""
    if image_size not in SIZES:
        raise UserError(f"image_size is {image_size}: expected one of {', '.join(map(str, SIZES))}; change "
                        f"--image_size")
    return METHODS[method][1](config, image_size, num_classes)


@dataclasses.dataclass(frozen=True)
class LoadedRival:
    """A trained rival, with its generator in eval mode, as far grown as training had come.

    path: the checkpoint; facts: what the run's config.json says.
    """

    rival: Rival
    path: Path
    facts: Row

    @property
    def generator(self) -> Any:
        """The network that samples."""
        return self.rival.generator


def load_rival(path: PathLike, device: torch.device | str = "cpu") -> LoadedRival:
    """Return the LoadedRival of a checkpoint file or run folder; of a folder, the newest EMA.

    Raises:
        UserError: no such checkpoint, or a run of another kind.
    """
    file, weights = read_newest(path)
    facts = read_facts(file.parent) or {}
    method = facts.get("kind")
    if method not in METHODS:
        raise UserError(f"{path} is a run of the kind {method!r}, expected one of {', '.join(METHODS)}: "
                        f"add baseline_train trains those; a diffusion model is sampled by add image_sample")
    config = file.parent / CONFIG_NAME
    if wrong := mismatch(facts, {"model": object, "image_size": int, "data": {"classes": (None, [str])}}):
        raise damaged(config, wrong, "a run's config", RESTORE_CONFIG)
    match = NAME.match(file.name)
    if match is None:
        raise UserError(f"{file} is named otherwise than training names checkpoints: expected ema_RATE_NNNNNN.pt or "
                        f"modelNNNNNN.pt, whose step tells how far the networks have grown; give it its name back")
    step = int(match["step"])
    progress = read_training_state(file.parent / f"state{step:06d}.pt").get("progress")
    if not isinstance(progress, (int, float)) or not 0 <= progress <= 1:
        raise UserError(f"the training state beside {file} tells no progress from 0 to 1: expected the file "
                        f"state{step:06d}.pt of the same training; restore it, or use another checkpoint")
    try:
        rival = make_rival(method, filled(METHODS[method][0], facts["model"]), facts["image_size"],
                           len(facts["data"]["classes"] or ()))
    except (TypeError, ValueError) as error:
        raise damaged(config, error, "a run's config", RESTORE_CONFIG) from error
    rival.begin_step(progress, step)
    load_weights(rival.generator, weights, file)
    rival.generator.to(device).eval()
    return LoadedRival(rival, file, facts)
