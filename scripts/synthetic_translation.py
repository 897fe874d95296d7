"""Translate one point set into another, after DDIB's 2-D experiments."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("synthetic_translation"))
