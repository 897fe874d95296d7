"""Training of diffusion models and classifiers: options, loop, moving averages, checkpoints and run folders."""
from add.training.checkpoints import LoadedConfig, find_checkpoint, load_model
from add.training.run_config import TrainConfig
from add.training.trainer import Trainer
from add.training.trainer_setup import prepare
from add.training.training_images import read_training_digests, trained_on

__all__ = ["LoadedConfig", "TrainConfig", "Trainer", "find_checkpoint", "load_model", "prepare",
           "read_training_digests", "trained_on"]
