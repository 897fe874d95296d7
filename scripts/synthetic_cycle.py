"""Translate one point set into another and back, after DDIB's 2-D experiments. The same command again continues."""
import sys
from contextlib import closing

from add.runtime import options


def build_options():
    from add.diffusion import DiffusionConfig
    from add.networks import PointConfig
    from add.runtime.points import PointTranslationConfig

    return options.Options(__doc__, PointTranslationConfig, PointConfig, DiffusionConfig)


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.runtime.display import EvaluationBar
    from add.runtime.points import translate_points
    from add.runtime.processes import process_group

    with (process_group(parsed.device, parsed.threads) as world,
          closing(EvaluationBar("evaluations", silent=not world.is_main)) as bar):
        translate_points(parsed, world, bar, cycle=True)


if __name__ == "__main__":
    sys.exit(options.run(main))
