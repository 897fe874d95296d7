"""Give the images of finished translations soft labels by a rule."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("soft_labels"))
