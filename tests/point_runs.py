"""Tiny run folders of models for points."""
import dataclasses

import torch

from add.data import save_json, save_torch
from add.diffusion import DiffusionConfig
from add.networks import PointConfig, create_network


def make_point_run(folder, task=0, seed=0, diffusion=None, **model):
    """Write a run folder with an untrained EMA and return its path; `model` and `diffusion` change the options."""
    model_config = PointConfig(task=task, **{"num_channels": 64, "num_res_blocks": 1} | model)
    torch.manual_seed(seed)
    network = create_network(model_config)
    for parameter in network.parameters():  # layers that start at zero would hide mistakes
        torch.nn.init.normal_(parameter, std=0.05)
    save_json(folder / "config.json", {"kind": "points", "model": dataclasses.asdict(model_config),
                                       "diffusion": dataclasses.asdict(DiffusionConfig(**diffusion or {}))})
    save_torch(folder / "ema_0.9999_000010.pt", network.state_dict())
    return folder
