"""Train a diffusion model of one of DDIB's six point sets. The same command again resumes."""
import sys
from pathlib import Path

from add.runtime import options


def build_options():
    from add.diffusion import DiffusionConfig
    from add.networks import PointConfig
    from add.training.config import PointTrainConfig

    return options.Options(__doc__, PointTrainConfig, PointConfig, DiffusionConfig)


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.data.points import POINT_SETS
    from add.networks import PointConfig
    from add.runtime.training import train
    from add.training.config import PointTrainConfig

    model_config = parsed.take(PointConfig)
    name = POINT_SETS[model_config.task].lower()
    run_dir = parsed.run_dir or str(Path("runs") / "synthetic" / name)
    train(parsed, [parsed.take(PointTrainConfig, run_dir=run_dir)], model_config)


if __name__ == "__main__":
    sys.exit(options.run(main))
