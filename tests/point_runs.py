"""Tiny run folders of models for points."""
from tests.tiny import make_run


def make_point_run(folder, task=0, seed=0, diffusion=None, **model):
    """Write a run folder with an untrained EMA and return its path; `model` and `diffusion` change the options."""
    network = {"num_channels": 64, "num_res_blocks": 1} | model
    return make_run(folder, seed, diffusion, kind="points", task=task, **network)
