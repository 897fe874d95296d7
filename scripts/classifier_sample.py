"""Make samples of the classes of a classifier of noisy images, which guides them. The same command again continues."""
import sys
from contextlib import closing

from add.runtime import options


def build_options():
    from add.diffusion import DiffusionConfig
    from add.networks import ClassifierConfig, ModelConfig
    from add.runtime.guidance import GuidanceConfig
    from add.runtime.sampling import SampleConfig

    return options.Options(__doc__, SampleConfig, GuidanceConfig, ModelConfig, ClassifierConfig, DiffusionConfig)


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.runtime.display import EvaluationBar
    from add.runtime.processes import process_group
    from add.runtime.sampling import sample_with_classifier

    with (process_group(parsed.device, parsed.threads) as world,
          closing(EvaluationBar("evaluations", silent=not world.is_main)) as bar):
        sample_with_classifier(parsed, world, bar)


if __name__ == "__main__":
    sys.exit(options.run(main))
