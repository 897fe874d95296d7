"""Divide images into parts for training and testing, without dividing a patient or slide."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("split"))
