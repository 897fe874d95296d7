"""Train a classifier of noisy images, which can guide sampling."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("classifier_train"))
