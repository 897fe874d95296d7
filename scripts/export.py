"""Write progressive images with soft labels in a format that other training code reads."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("export"))
