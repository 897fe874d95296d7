"""Make samples of the classes of a classifier of noisy images, which guides them. The same command again continues."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("classifier_sample"))
