"""Measure how likely a model finds the images of a folder, in bits per dimension. The same command again continues."""
import sys
from contextlib import closing

from add.runtime import options


def build_options():
    from add.diffusion import DiffusionConfig
    from add.networks import ModelConfig
    from add.runtime.likelihood import LikelihoodConfig

    return options.Options(__doc__, LikelihoodConfig, ModelConfig, DiffusionConfig)


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.runtime.display import EvaluationBar
    from add.runtime.likelihood import measure_folder
    from add.runtime.processes import process_group

    with (process_group(parsed.device, parsed.threads) as world,
          closing(EvaluationBar("evaluations", silent=not world.is_main)) as bar):
        measure_folder(parsed, world, bar)


if __name__ == "__main__":
    sys.exit(options.run(main))
