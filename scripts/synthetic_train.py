"""Train a diffusion model of one of DDIB's six point sets."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("synthetic_train"))
