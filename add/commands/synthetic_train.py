"""Train a diffusion model of one of DDIB's six point sets.

The same command again resumes.
"""
from pathlib import Path

from add.commands.shared.training_runs import train
from add.data.points import POINT_SETS
from add.diffusion import DiffusionConfig
from add.networks import PointConfig
from add.runtime.options import Options
from add.training.run_config import PointTrainConfig


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, PointTrainConfig, PointConfig, DiffusionConfig)


def main(argv: list[str] | None = None) -> None:
    """Train the model that the command line asks for."""
    parsed = build_options().parse(argv)
    model_config = parsed.take(PointConfig)
    name = POINT_SETS[model_config.task].lower()
    run_dir = parsed.run_dir or str(Path("runs") / "synthetic" / name)
    train(parsed, [parsed.take(PointTrainConfig, run_dir=run_dir)], model_config)
