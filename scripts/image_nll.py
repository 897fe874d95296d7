"""Measure how likely a model finds the images of a folder, in bits per dimension."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("image_nll"))
