"""Train a model that enlarges images, on pairs made from a folder of large ones."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("super_res_train"))
