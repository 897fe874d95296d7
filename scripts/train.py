"""Train the diffusion model of one domain, or of each, on a folder of images."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("train"))
