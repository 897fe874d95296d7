"""Make large images of small ones with a super-resolution model. The same command again continues."""
import sys
from contextlib import closing

from add.runtime import options


def build_options():
    from add.diffusion import DiffusionConfig
    from add.networks import SuperResConfig
    from add.runtime.super_resolution import SuperResSampleConfig

    return options.Options(__doc__, SuperResSampleConfig, SuperResConfig, DiffusionConfig)


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.runtime.display import EvaluationBar
    from add.runtime.processes import process_group
    from add.runtime.super_resolution import super_resolve

    with (process_group(parsed.device, parsed.threads) as world,
          closing(EvaluationBar("evaluations", silent=not world.is_main)) as bar):
        super_resolve(parsed, world, bar)


if __name__ == "__main__":
    sys.exit(options.run(main))
