"""Translate images between the classes of one class-conditional model."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("imagenet_translation"))
