"""What the comparison with other libraries shares: the network of all contenders, timing in turn, tables, memory."""
import contextlib
import gc
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# The network of all contenders, on three levels of halving: that of the embedded models of 22 November 2026. Libraries
# build what comes nearest.
CHANNELS = 32
CHANNEL_MULT = (1, 1, 2, 2)
RES_BLOCKS = 1
ATTENDS = (False, False, True, True)  # by level
HEAD_CHANNELS = 16
NUM_TIMESTEPS = 1000
LEARNING_RATE, EMA_RATE, GRAD_CLIP = 1e-3, 0.999, 1.0


@dataclass(frozen=True)
class Contender:
    """A job to time.

    run: called without arguments; for translations it returns images [B, N, 3, H, W], or None where they can't be
        compared. networks: the modules whose evaluations count.
    """

    name: str
    run: object
    networks: tuple


class NotInstalled(Exception):
    """A package that a contender needs is missing; the message says which."""


@contextlib.contextmanager
def needs(package):
    """Turn an ImportError into NotInstalled, naming the package a user would install."""
    try:
        yield
    except ImportError as error:
        raise NotInstalled(f"{package} ({error})") from error


def take_turns(contenders, rounds):
    """Return {name: (list of seconds, first result, evaluated images)}: each contender once a round, in turn."""
    found = {contender.name: ([], None, 0) for contender in contenders}
    for i in range(rounds):
        order = contenders if i % 2 == 0 else contenders[::-1]
        for contender in order:
            gc.collect()
            with counting(contender.networks) as count:
                start = time.perf_counter()
                result = contender.run()
                seconds = time.perf_counter() - start
            taken, first, _ = found[contender.name]
            found[contender.name] = [*taken, seconds], result if i == 0 else first, count[0]
            say(f"round {i + 1} of {rounds}: {contender.name}, {seconds:.2f} s")
    return found


@contextlib.contextmanager
def counting(networks):
    """Give a list whose only entry counts the images that the networks evaluate."""
    count = [0]

    def add(module, args, kwargs):
        count[0] += len(args[0] if args else kwargs["x"])

    hooks = [network.register_forward_pre_hook(add, with_kwargs=True) for network in set(networks)]
    try:
        yield count
    finally:
        for hook in hooks:
            hook.remove()


def spread(values, digits=2):
    """Return the median of values with its quartiles, as text."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table(header, rows):
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def say(text):
    """Tell the user, beside the tables, what is going on."""
    print(text, file=sys.stderr, flush=True)


def count_parameters(network):
    """Return the number of a network's trainable parameters, in millions."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad) / 1e6


def memory_mb(field):
    """Return this process's memory now ("VmRSS") or at its peak ("VmHWM"), in MB.

    From /proc where there is one: getrusage's peak (what other systems give) includes, on Linux, that of the process
    that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def shuffled_batches(images, batch_size):
    """Give batches [b, 3, S, S] of images in memory without end, as a library's user would load them."""
    import torch

    if batch_size > len(images):
        raise SystemExit(f"--batch_size {batch_size}: expected at most {len(images)}, the embedded training patches")
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images), batch_size=batch_size, shuffle=True, drop_last=True)
    while True:
        for (batch,) in loader:
            yield batch


def mirrored(batch):
    """Return images [B, 3, H, W], about half of them mirrored left to right, by torch's global generator."""
    import torch

    return torch.where(torch.rand(len(batch), 1, 1, 1) < 0.5, batch.flip(3), batch)
