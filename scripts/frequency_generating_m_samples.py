"""Turn images of one domain into another in N steps, each with a soft label."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("translate"))
