"""Train a method that ADD is compared with: ProGAN, LoFGAN or MixDL.

Every method has its own options, which --method NAME --help lists. IDDPM is trained by add train --config
iddpm.yaml. The same command again resumes.
"""
import sys

from add.baselines.baseline_models import DEFAULTS, METHODS
from add.baselines.baseline_setup import BaselineConfig, prepare_rival
from add.commands.shared.training_runs import folder_runs, run_all
from add.runtime.options import Options, first_value


def build_options(method: str = "progan") -> Options:
    """Return the options of this command for a method; every one has its own."""
    return Options(__doc__, BaselineConfig, METHODS[method][0], overrides={"method": method} | DEFAULTS[method])


def main(argv: list[str] | None = None) -> None:
    """Train the models that the command line asks for."""
    words = sys.argv[1:] if argv is None else argv
    method = first_value("--method", words)
    parsed = build_options(method if method in METHODS else "progan").parse(argv)

    def prepared(config, world, **said):
        return prepare_rival(config, parsed.take(METHODS[parsed.method][0]), world, **said)

    run_all(folder_runs(parsed.take(BaselineConfig), run_dir=f"runs/{parsed.method}"), prepared, parsed)
