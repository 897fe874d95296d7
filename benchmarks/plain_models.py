"""Plain models, whose weights other libraries' networks can hold: those of run folders, or random ones of one shape.

Plain is guided-diffusion's layout: no head start, no patches. docs/speed.md says how such models are trained.
"""
import dataclasses
from dataclasses import dataclass

import torch
from rivals_common import ATTENDS, CHANNEL_MULT, CHANNELS, HEAD_CHANNELS, NUM_TIMESTEPS, RES_BLOCKS
from torch import nn

from add.diffusion import DiffusionConfig
from add.networks import ModelConfig, create_model
from add.runtime.given_models import sha256
from add.training import load_model

# What a model must have been trained with, for guided-diffusion's network to hold its weights, and for a comparison.
PLAIN = {"head_start": "none", "patch_size": 1, "class_cond": False}
COMPARED = PLAIN | {"image_size": 64, "learn_sigma": False, "prediction": "v", "noise_schedule": "linear",
                    "diffusion_steps": NUM_TIMESTEPS, "rescale_timesteps": False}
STD = 0.02  # of random weights that training begins at zero


@dataclass(frozen=True)
class PlainModel:
    """A network in eval mode with its options; `digest` names its weights."""

    network: nn.Module
    model: ModelConfig
    diffusion: DiffusionConfig
    digest: str


def model_config(image_size=64):
    """Return the ModelConfig of the shared network."""
    sizes = [image_size // 2**level for level in range(len(ATTENDS)) if ATTENDS[level]]
    return ModelConfig(
        image_size=image_size, num_channels=CHANNELS, num_res_blocks=RES_BLOCKS, num_head_channels=HEAD_CHANNELS,
        channel_mult=",".join(map(str, CHANNEL_MULT)), attention_resolutions=",".join(map(str, sizes)))


def load_plain(path, expected=PLAIN):
    """Return the PlainModel of a run folder or checkpoint; SystemExit names the options that are not as expected."""
    network, _, config = load_model(path)
    given = dataclasses.asdict(config.model) | dataclasses.asdict(config.diffusion)
    others = [name for name in expected if given[name] != expected[name]]
    if others:
        raise SystemExit(
            f"error: {path} was trained with {_told(given, others)}: expected {_told(expected, others)}, which the "
            f"networks of other libraries can hold; docs/speed.md says how to train such a model, and without the "
            f"option random weights are timed")
    return PlainModel(network, config.model, config.diffusion, sha256(config.path))


def _told(values, names):
    return ", ".join(f"--{name} {values[name]}" for name in names)


def random_plain(seed):
    """Return the PlainModel of the shared network with random weights, in which no layer is silent."""
    config = model_config()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = create_model(**dataclasses.asdict(config)).eval()
        for parameter in network.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=STD)
    return PlainModel(network, config, DiffusionConfig(prediction="v"), f"random{seed}")


def plain_pair(paths):
    """Return the PlainModels (source, target) of two paths, or random ones without them."""
    if paths:
        return tuple(load_plain(path, COMPARED) for path in paths)
    return random_plain(0), random_plain(1)
