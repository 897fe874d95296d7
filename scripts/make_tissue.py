"""Cut two domains of tissue patches, stroma and gland, from scikit-image's stained section."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("make_tissue"))
