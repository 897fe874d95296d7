"""Make samples of a baseline that `add baseline_train` has trained."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("baseline_sample"))
