"""`python -m add COMMAND ...`, the same as the console command `add`."""
import sys

from add.commands import main

if __name__ == "__main__":
    sys.exit(main())
