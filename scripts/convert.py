"""Convert a model to a folder of diffusers or back, or to a small run folder to pass on."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("convert"))
