"""Tiny training runs for tests: one place that knows which options belong to which dataclass."""
import dataclasses

import torch

from add.diffusion import DiffusionConfig
from add.networks import ModelConfig
from add.runtime.processes import World
from add.training import TrainConfig, prepare
from tests.tiny import MODEL

QUICK = {"batch_size": 4, "max_steps": 4, "log_interval": 1, "save_interval": 100, "num_preview": 0,
         "tensorboard": False, "lr": 1e-3, "device": "cpu"}


def configs(**options):
    """Return (TrainConfig, ModelConfig, DiffusionConfig) of a tiny run, with `options` on top."""
    values = QUICK | MODEL | options
    kinds = (TrainConfig, ModelConfig, DiffusionConfig)
    names = [{f.name for f in dataclasses.fields(kind)} for kind in kinds]
    assert values.keys() <= set.union(*names), values.keys() - set.union(*names)
    return tuple(kind(**{name: values[name] for name in mine & values.keys()})
                 for kind, mine in zip(kinds, names, strict=True))


def start(run_dir, data_dir, report=lambda row: None, note=lambda text: None, world=None, scorer_against=None,
          **options):
    """Return the Trainer of a tiny run."""
    train, model, diffusion = configs(run_dir=str(run_dir), data_dir=str(data_dir), **options)
    return prepare(train, model, diffusion, world or World(), report, note, scorer_against)


def scrambled(trainer):
    """Return the trainer with all weights drawn anew: layers that start at zero would hide mistakes."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trainer.parameters:
            parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return trainer


def gradients(trainer):
    """Return the gradient of the trainer's next batch as one vector."""
    trainer.gradients()
    return torch.cat([p.grad.flatten() for p in trainer.parameters])


def weights(trainer):
    """Return the model's weights as one vector."""
    return torch.cat([p.detach().flatten() for p in trainer.parameters])
