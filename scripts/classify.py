"""Train small classifiers with and without generated images, and compare them."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("classify"))
