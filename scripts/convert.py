"""Convert a model to a folder of diffusers, or such a folder to a run folder."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("convert"))
