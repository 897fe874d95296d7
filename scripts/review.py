"""Let experts judge images blindly: make the page that they read, and score their answers."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("review"))
