"""Make samples of a model, guided to classes by a classifier of noisy images."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("classifier_sample"))
