"""The processes of a run as one of them sees it: its rank and device, and messages among them.

Messages go through a group of their own with a long timeout: one process may wait for hours while another works.
"""
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from add.errors import UserError

SHOWN_CHARACTERS = 80  # of a value in a message


@dataclass(frozen=True)
class World:
    """The processes of a run; alone, no method waits for anyone.

    `group` is the gloo group that they talk through, None for one process. `threads` says the CPU threads of each.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    device: torch.device = torch.device("cpu")
    group: "dist.ProcessGroup | None" = field(default=None, compare=False, repr=False)
    threads: str = field(default="", compare=False)

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    @property
    def place(self) -> str:
        """What the run runs on, in words."""
        return ", ".join([str(self.device), f"{self.size} process(es)", *([self.threads] if self.threads else [])])

    def barrier(self) -> None:
        """Wait, for days where it must be, until all processes are here."""
        if self.size > 1:
            dist.barrier(group=self.group)

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)
        return values

    def any(self, flag: bool) -> bool:
        """Return whether any process raised the flag."""
        if self.size == 1:
            return bool(flag)
        flags = torch.tensor([float(flag)])
        dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self.group)
        return bool(flags.item())

    def agree(self, what: str, value: Any) -> None:
        """Raise UserError, in all processes, unless all of them hold the same JSON value.

        Args:
            what: what the value is, for the message, such as "source images".
        """
        check_same(what, self.gather(json.dumps(value, sort_keys=True, default=str)))


def check_same(what: str, texts: Sequence[str]) -> None:
    """Raise UserError unless the texts, one of each process, are the same."""
    if len(set(texts)) > 1:
        shown = [text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..." for text in texts]
        raise UserError("\n".join([f"the processes see different {what}:",
                                   *(f"  process {rank}: {text}" for rank, text in enumerate(shown)),
                                   "expected the same in all of them; put the folders on a file system that all "
                                   "machines share, and start all processes with the same options"]))


def check_own_gpus(places: Sequence[tuple[str, str]]) -> None:
    """Raise UserError where two processes share a GPU.

    Args:
        places: (host name, what tells its GPUs apart) of each process.
    """
    shared = {place for place in places if places.count(place) > 1}
    if shared:
        host, gpu = min(shared)
        ranks = [str(rank) for rank, place in enumerate(places) if place == (host, gpu)]
        raise UserError(f"processes {', '.join(ranks)} share GPU {gpu} of {host}: expected one GPU for each process; "
                        f"start {len(set(places))} process(es), show each its own GPU, or use --device cpu")
