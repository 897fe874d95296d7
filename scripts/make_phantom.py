"""Make domains of procedural cytology images whose severity is known."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("make_phantom"))
