"""Costs of a training, measured on real steps that leave no trace in it."""
import copy
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import torch

from add.training.loop import Loop, keep_freed_memory

WARM_UP_STEPS, MEASURED_STEPS = 1, 3  # the first one holds what is done once: memory, kernels, compiling


@dataclasses.dataclass(frozen=True)
class StepCosts:
    """Costs of a training's steps.

    seconds: of one step, in the slowest process. parameters: of the network that a checkpoint holds.
    checkpoint_bytes: of all the files of one checkpoint.
    """

    seconds: float
    parameters: int
    checkpoint_bytes: int


@dataclasses.dataclass(frozen=True)
class BreakCosts:
    """Seconds of what the steps of a training wait for: one save with its pictures, one held-out measurement."""

    save: float = 0.0
    held_out: float = 0.0


def measure_steps(loop: Loop) -> StepCosts:
    """Return the StepCosts of a loop, which takes a few steps and is then put back to where it was.

    All processes of the run call it together, and get the same.
    """
    keep_freed_memory()  # as the training itself does
    before, step, saved_step = loop.checkpoint(), loop.step, loop.saved_step
    optimizer, state = copy.deepcopy((before["optimizer"], before["state"]))  # the weights are copies already
    seconds = mean_seconds(loop.advance, loop.world.device)
    after = loop.checkpoint()
    parameters = sum(value.numel() for value in after["model"].values())
    loop.restore({"step": step, "model": before["model"], "ema": before["emas"], "opt": optimizer, "state": state},
                 loop.run_folder.path)
    loop.saved_step = saved_step
    return StepCosts(max(loop.world.gather(seconds)), parameters, _bytes_of(after))


def measure_breaks(loop: Loop) -> BreakCosts:
    """Return the BreakCosts of a loop, which writes nothing and stays as it is; curves.png and the disk's time lack.

    All processes of the run call it together, and get the same: the main one works, the others wait.
    """
    save = held_out = 0.0
    if loop.world.is_main:
        start = _now(loop.world.device)
        loop.rehearse_save()
        saved = _now(loop.world.device)
        save = saved - start
        if loop.held_out is not None:
            loop.measure(on_interval=False)
            held_out = _now(loop.world.device) - saved
    return BreakCosts(*map(max, zip(*loop.world.gather((save, held_out)), strict=True)))


def mean_seconds(act: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds of one act(), the mean of MEASURED_STEPS calls after WARM_UP_STEPS others."""
    for _ in range(WARM_UP_STEPS):
        act()
    start = _now(device)
    for _ in range(MEASURED_STEPS):
        act()
    return (_now(device) - start) / MEASURED_STEPS


def _now(device):
    """Return the time once the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.monotonic()


def _bytes_of(content: Any) -> int:
    """Return the bytes of all tensors in nested dicts and lists."""
    if torch.is_tensor(content):
        return content.numel() * content.element_size()
    if isinstance(content, dict):
        content = content.values()
    return sum(map(_bytes_of, content)) if not isinstance(content, (str, int, float, type(None))) else 0
