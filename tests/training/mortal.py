"""`add train` in a process that sends itself a signal at a step, once; for runs of several processes.

    python -m tests.training.mortal RANK STEP SIGNAL MARK OPTIONS...

MARK is a file that says that it has happened.
"""
import os
import signal
import sys
from pathlib import Path
from unittest import mock

from add.commands import run_command
from add.training import Trainer


def main():
    rank, step, number, mark = int(sys.argv[1]), int(sys.argv[2]), getattr(signal, sys.argv[3]), Path(sys.argv[4])
    advance = Trainer.advance

    def mortal(trainer):
        if (trainer.world.rank, trainer.step) == (rank, step) and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), number)
        return advance(trainer)

    with mock.patch.object(Trainer, "advance", mortal), mock.patch("add.training.loop.draw_curves"):
        return run_command("train", sys.argv[5:])


if __name__ == "__main__":
    sys.exit(main())
