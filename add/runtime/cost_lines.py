"""What making or measuring images will take, from a few real network evaluations, as lines for the user."""
import math
from typing import Any

import numpy as np
import torch

from add.interfaces import Gradient, Model
from add.networks import create_network
from add.runtime.given_models import peak_memory_mb
from add.runtime.progress import minutes
from add.runtime.world import World
from add.training.step_costs import MEASURED_STEPS, mean_seconds


@torch.no_grad()
def evaluation_seconds(network: Model, shape: tuple[int, ...], device: torch.device, batch_size: int,
                       gradient: Gradient | None = None) -> float:
    """Return the seconds of one evaluation of a batch, the mean of a few after one that isn't counted.

    Args:
        network: called as network(x [batch_size, *shape], t int64 [batch_size]).
        gradient: of guidance, called likewise, whose time is added.
    """
    noise = np.random.default_rng(0).standard_normal((batch_size, *shape), dtype=np.float32)
    x, t = torch.from_numpy(noise).to(device), torch.zeros(batch_size, dtype=torch.int64, device=device)

    def evaluate():
        network(x, t)
        if gradient is not None:
            gradient(x, t)

    return mean_seconds(evaluate, device)


def count_parameters(model_config: Any) -> int:
    """Return the parameters of the network of a config of any kind; it is laid out without memory."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in create_network(model_config).parameters())


def work_lines(world: World, *, parameters: int, batch_seconds: float, batch_size: int, wanted: int, left: int,
               image_bytes: int, evaluations: int = 1) -> str:
    """Return the lines that say what images will take; all processes call it together.

    Args:
        parameters: of the networks.
        batch_seconds: of a batch of batch_size images, of all its evaluations.
        wanted, left: images asked for, and those of them that are still to do.
        image_bytes: on the disk, of one, at most.
        evaluations: of the network, for one image.
    """
    batch_seconds, peak = (max(world.gather(value)) for value in (batch_seconds, peak_memory_mb(world.device)))
    batches = math.ceil(math.ceil(left / world.size) / batch_size)  # of the process with most to do
    place = "GPU memory" if world.device.type == "cuda" else "memory"
    of = "images" if left == wanted else f"of {wanted} images, the others are there"
    return "\n".join([
        f"estimate from {MEASURED_STEPS} batches of {batch_size}; nothing was written",
        f"parameters: {parameters:,}",
        f"{place}: {peak:,.0f} MiB at most in a process",
        f"an image: {batch_seconds / batch_size:.3g} s, {evaluations} network evaluations",
        f"time: {minutes(batches * batch_seconds / 60)} for {left} {of}; loading, reading and writing come on top",
        f"disk: {size_text(left * image_bytes)} at most"])


def size_text(count: int) -> str:
    """Return bytes as text, such as `1.3 GB`."""
    for unit, power in (("GB", 3), ("MB", 2), ("kB", 1)):
        if count >= 1000**power:
            return f"{count / 1000**power:.1f} {unit}"
    return f"{count} bytes"
