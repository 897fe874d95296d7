"""Translate images between classes of one class-conditional model, of ImageNet or of any labelled folder.

As DDIB does, guided by a classifier where one is given; with --amount also as a progressive series with soft labels.
In labels.csv every class has a column p_k; of more than 100 only source, target and the last, and the rest are 0.
"""
import sys
from contextlib import closing

from add.runtime import options


def build_options():
    from add.diffusion import DiffusionConfig
    from add.networks import ClassifierConfig, ModelConfig
    from add.runtime.class_translation import ClassTranslationConfig
    from add.runtime.guidance import GuidanceConfig

    return options.Options(__doc__, ClassTranslationConfig, GuidanceConfig, ModelConfig, ClassifierConfig,
                           DiffusionConfig)


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.runtime.class_translation import prepare_class_directions
    from add.runtime.directions import run_direction
    from add.runtime.display import EvaluationBar
    from add.runtime.processes import process_group

    with process_group(parsed.device, parsed.threads) as world:
        for direction in prepare_class_directions(parsed, world):
            with closing(EvaluationBar("evaluations", silent=not world.is_main)) as bar:
                run_direction(direction, world, bar)


if __name__ == "__main__":
    sys.exit(options.run(main))
