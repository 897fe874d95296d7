"""Make samples of a model, of its classes where it knows some."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("image_sample"))
