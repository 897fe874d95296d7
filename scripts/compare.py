"""Run a whole study: train, generate, measure and classify with few real images. The same command again continues."""
import sys
from pathlib import Path

from add.runtime import options


def build_options():
    from add.evaluation.study import StudyConfig

    return options.Options(__doc__, StudyConfig)


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.evaluation.study import StudyConfig, run_study
    from add.evaluation.study_report import write_report

    config = parsed.take(StudyConfig)
    out_dir = run_study(config, Path(__file__).resolve().parent, note=lambda text: print(text, flush=True))
    for path in write_report(config, out_dir):
        print(f"written: {path}")


if __name__ == "__main__":
    sys.exit(options.run(main))
