"""Tiny run folders and image folders, for tests of whole commands."""
import dataclasses

import numpy as np
import torch

from add.data import save_json, save_png, save_torch
from add.diffusion import DiffusionConfig
from add.diffusion.gaussian_prior import fit_gaussian
from add.networks import KINDS, create_denoiser

MODEL = {"image_size": 16, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1", "attention_resolutions": ""}
SUPER_RES = {"large_size": 32, "small_size": 16, "num_channels": 32, "num_res_blocks": 1, "attention_resolutions": ""}
CLASSIFIER = {"image_size": 32, "classifier_width": 32, "classifier_depth": 1, "classifier_attention_resolutions": "",
              "num_classes": 2}
POINTS = {"num_channels": 32, "num_res_blocks": 1}
TINY = {"image": MODEL, "super_res": SUPER_RES, "classifier": CLASSIFIER, "points": POINTS}


def make_run(folder, seed=0, diffusion=None, kind="image", classes=None, **model):
    """Write a run folder with an untrained EMA and return its path; `model` and `diffusion` change the options.

    kind: one of KINDS. classes: names of the classes in the order of their labels, if it tells any.
    """
    model_config, diffusion_config = KINDS[kind](**TINY[kind] | model), DiffusionConfig(**diffusion or {})
    torch.manual_seed(seed)
    network = create_denoiser(model_config, diffusion_config)
    for parameter in network.parameters():  # layers that start at zero would hide mistakes
        torch.nn.init.normal_(parameter, std=0.05)
    if diffusion_config.head_start != "none":
        network.head_start.fit(fit_gaussian([torch.rand(9, *network.head_start.mean.shape[1:]).cumsum(dim=3) / 8 - 1]))
    save_json(folder / "config.json", {"kind": kind, "model": dataclasses.asdict(model_config),
                                       "diffusion": dataclasses.asdict(diffusion_config), "data": {"classes": classes}})
    save_torch(folder / "ema_0.9999_000010.pt", network.state_dict())
    return folder


def make_images(folder, count=3, size=16, seed=0):
    """Write `count` PNGs of random blocks, named a0.png, a1.png, ..., and return the folder."""
    random = np.random.default_rng(seed)
    for i in range(count):
        blocks = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        save_png(folder / f"a{i}.png", blocks.repeat(size // 4, axis=0).repeat(size // 4, axis=1))
    return folder
