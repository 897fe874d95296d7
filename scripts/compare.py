"""Run a whole study: train, generate, measure and classify with few real images."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("compare"))
