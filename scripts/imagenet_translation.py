"""Translate images between classes of one class-conditional model, of ImageNet or of any labelled folder."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("imagenet_translation"))
