"""Make large images of small ones with a super-resolution model."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("super_res_sample"))
