"""Train a method that ADD is compared with: ProGAN, LoFGAN or MixDL. The same command again resumes.

IDDPM is trained by train.py --config configs/iddpm.yaml. --method says which options there are.
"""
import argparse
import sys

from add.runtime import options


def build_options(method="progan"):
    from add.baselines.methods import DEFAULTS, METHODS
    from add.baselines.prepare import BaselineConfig

    return options.Options(__doc__, BaselineConfig, METHODS[method][0],
                           overrides={"method": method} | DEFAULTS[method])


def parse(argv):
    """Return the options of a command line, those of its --method among them."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--method", default="progan")
    method = first.parse_known_args(argv)[0].method
    from add.baselines.methods import METHODS

    return build_options(method if method in METHODS else "progan").parse(argv)


def main(argv=None):
    parsed = parse(argv)
    from add.baselines.methods import METHODS
    from add.baselines.prepare import BaselineConfig, prepare_rival
    from add.runtime.training import folder_runs, run_all

    def prepared(config, world, **said):
        return prepare_rival(config, parsed.take(METHODS[parsed.method][0]), world, **said)

    run_all(folder_runs(parsed.take(BaselineConfig), run_dir=f"runs/{parsed.method}"), prepared, parsed.config_path)


if __name__ == "__main__":
    sys.exit(options.run(main))
