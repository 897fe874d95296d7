"""Train the diffusion model of one domain on a folder of images, or of each domain. The same command again resumes."""
import sys

from add.commands import run_command

if __name__ == "__main__":
    sys.exit(run_command("train"))
