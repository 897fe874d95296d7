"""Make samples of a model, of its classes where it knows some. The same command again continues."""
import sys
from contextlib import closing

from add.runtime import options


def build_options():
    from add.diffusion import DiffusionConfig
    from add.networks import ModelConfig
    from add.runtime.sampling import SampleConfig

    return options.Options(__doc__, SampleConfig, ModelConfig, DiffusionConfig)


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.runtime.display import EvaluationBar
    from add.runtime.processes import process_group
    from add.runtime.sampling import sample_images

    with (process_group(parsed.device, parsed.threads) as world,
          closing(EvaluationBar("evaluations", silent=not world.is_main)) as bar):
        sample_images(parsed, world, bar)


if __name__ == "__main__":
    sys.exit(options.run(main))
