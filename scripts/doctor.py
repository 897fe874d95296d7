"""Say what add finds on this machine: versions, devices, cores, MPI, missing packages, folders."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("doctor"))
