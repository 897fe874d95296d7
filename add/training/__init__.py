"""Training one domain's diffusion model: options, loop, moving averages, checkpoints and run folders."""
from add.training.checkpoints import LoadedConfig, find_checkpoint, load_model
from add.training.config import TrainConfig
from add.training.prepare import prepare
from add.training.trainer import Trainer

__all__ = ["LoadedConfig", "TrainConfig", "Trainer", "find_checkpoint", "load_model", "prepare"]
