"""Train a method that ADD is compared with: ProGAN, LoFGAN or MixDL."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("baseline_train"))
