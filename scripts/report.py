"""Make a page to look at of output folders."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("report"))
