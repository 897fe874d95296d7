"""Turn images of one domain into another in N steps, with a soft label for each step, in both directions.

Of more than two domains, --models_dir and --data_dir name the folders that hold them all, and --pairs what is wanted.
With nothing but --amount, the embedded default is used: held-out patches of stained tissue, and two tiny models.
"""
import sys
from contextlib import closing

from add.runtime import options


def build_options():
    from add.data.translation import TranslationConfig
    from add.diffusion import DiffusionConfig
    from add.networks import ModelConfig

    return options.Options(__doc__, TranslationConfig, ModelConfig, DiffusionConfig)


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.runtime.directions import run_direction
    from add.runtime.display import EvaluationBar
    from add.runtime.processes import process_group
    from add.runtime.translation import prepare_directions

    with process_group(parsed.device, parsed.threads) as world:
        for direction in prepare_directions(parsed, world):
            with closing(EvaluationBar("evaluations", silent=not world.is_main)) as bar:
                run_direction(direction, world, bar)


if __name__ == "__main__":
    sys.exit(options.run(main))
