"""Cut patches of stroma and of gland from scikit-image's stained tissue section."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("make_tissue"))
