"""Turn images of one domain into another in N steps, with a soft label for each step, in both directions."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("translate"))
