"""Grade images, tables or slides: class, severity with an interval, and unknown images."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("grade"))
