"""Measure generated images against real ones: REAL and FAKE are folders, FAKE may be a translation folder."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("evaluate"))
