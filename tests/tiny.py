"""Tiny run folders and image folders, for tests of whole commands."""
import dataclasses

import numpy as np
import torch

from add.data import save_json, save_png, save_torch
from add.diffusion import DiffusionConfig
from add.networks import ModelConfig, create_model

MODEL = {"image_size": 16, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1", "attention_resolutions": ""}


def make_run(folder, seed=0, diffusion=None, **model):
    """Write a run folder with an untrained EMA and return its path; `model` and `diffusion` change the options."""
    model_config, diffusion_config = ModelConfig(**MODEL | model), DiffusionConfig(**diffusion or {})
    torch.manual_seed(seed)
    network = create_model(**dataclasses.asdict(model_config))
    for parameter in network.parameters():  # layers that start at zero would hide mistakes
        torch.nn.init.normal_(parameter, std=0.05)
    save_json(folder / "config.json", {"model": dataclasses.asdict(model_config),
                                       "diffusion": dataclasses.asdict(diffusion_config)})
    save_torch(folder / "ema_0.9999_000010.pt", network.state_dict())
    return folder


def make_images(folder, count=3, size=16, seed=0):
    """Write `count` PNGs of random blocks, named a0.png, a1.png, ..., and return the folder."""
    random = np.random.default_rng(seed)
    for i in range(count):
        blocks = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        save_png(folder / f"a{i}.png", blocks.repeat(size // 4, axis=0).repeat(size // 4, axis=1))
    return folder
