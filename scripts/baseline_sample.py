"""Make samples of a baseline that baseline_train.py has trained. The same command again continues."""
import sys
from contextlib import closing

from add.runtime import options


def build_options():
    from add.runtime.baselines import BaselineSampleConfig

    return options.Options(__doc__, BaselineSampleConfig)


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.runtime.baselines import BaselineSampleConfig, sample_baseline
    from add.runtime.display import EvaluationBar
    from add.runtime.processes import process_group

    with (process_group(parsed.device, parsed.threads) as world,
          closing(EvaluationBar("images", silent=not world.is_main)) as bar):
        sample_baseline(parsed.take(BaselineSampleConfig), world, bar)


if __name__ == "__main__":
    sys.exit(options.run(main))
