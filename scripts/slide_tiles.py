"""Cut tiles from whole slides, sorted by the class of their annotations."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("tiles"))
