"""Measure generated images against real ones."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("evaluate"))
