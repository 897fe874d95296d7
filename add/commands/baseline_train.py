"""Train a method that ADD is compared with: ProGAN, LoFGAN or MixDL. The same command again resumes.

IDDPM is trained by train.py --config configs/iddpm.yaml. --method says which options there are.
"""
import sys

from add.baselines.baseline_models import DEFAULTS, METHODS
from add.baselines.baseline_setup import BaselineConfig, prepare_rival
from add.commands.shared.training_runs import folder_runs, run_all
from add.runtime.options import Options, first_value


def build_options(method="progan"):
    """Return the `Options` of a method: every one has its own."""
    return Options(__doc__, BaselineConfig, METHODS[method][0], overrides={"method": method} | DEFAULTS[method])


def main(argv=None):
    """Train as the command line asks."""
    words = sys.argv[1:] if argv is None else argv
    method = first_value("--method", words)
    parsed = build_options(method if method in METHODS else "progan").parse(argv)

    def prepared(config, world, **said):
        return prepare_rival(config, parsed.take(METHODS[parsed.method][0]), world, **said)

    run_all(folder_runs(parsed.take(BaselineConfig), run_dir=f"runs/{parsed.method}"), prepared, parsed.config_path)
