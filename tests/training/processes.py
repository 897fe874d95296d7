"""A program for several processes: a few steps of a tiny run, whose gradient and weights the main one saves.

    mpiexec -n 2 python -m tests.training.processes OUT IMAGES BATCH_SIZE [fail|disagree]

With `fail`, the second process then meets an error while the others wait for it; with `disagree`, it sees other images.
"""
import sys
from pathlib import Path

import torch

from add.errors import UserError
from add.runtime import exit_status
from add.runtime.processes import process_group
from tests.training.runs import gradients, scrambled, start, weights

OPTIONS = {"schedule_sampler": "loss-second-moment", "diffusion_steps": 2, "augment": "dihedral", "max_steps": 4,
           "lr": 1e-3, "val_fraction": 0.3, "val_interval": 2, "grad_clip": 1.0, "optimizer": "muon",
           "head_start": "gaussian", "prediction": "v"}


def main():
    out, images, batch_size, *mishap = sys.argv[1:]
    with process_group("cpu") as world:
        if mishap == ["disagree"]:
            world.agree("nothing", None)
            world.agree("source images", [f"seen by {world.rank}.png"])
        trainer = scrambled(start(Path(out) / "run", images, world=world, batch_size=int(batch_size), **OPTIONS))
        gradient = gradients(trainer)
        trainer.run()
        if world.is_main:
            torch.save({"gradient": gradient, "weights": weights(trainer), "size": world.size}, Path(out) / "result.pt")
        if mishap == ["fail"]:
            world.barrier()  # the result is whole
            if world.rank == 1:
                raise UserError(f"process 1 of {world.size} has had enough")
            gradients(trainer)


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
