"""What a training will take: time, memory and disk, as lines for the user."""
import math
from collections.abc import Sequence
from typing import NamedTuple

from add.runtime.cost_lines import size_text
from add.runtime.given_models import peak_memory_mb
from add.runtime.progress import minutes
from add.training.loop import Loop
from add.training.step_costs import MEASURED_STEPS, StepCosts, measure_steps


class TrainingCosts(NamedTuple):
    """What the rest of a training takes: lines for the user, steps, seconds and bytes on the disk.

    The numbers are None where no number of steps is set.
    """

    text: str
    steps: int | None = None
    seconds: float | None = None
    disk_bytes: int | None = None


def measure_costs(loop: Loop) -> TrainingCosts:
    """Return what the rest of a training takes, measured on steps that leave no trace in it.

    All processes of the run call it together.
    """
    costs = measure_steps(loop)
    return costs_of(costs, loop, max(loop.world.gather(peak_memory_mb(loop.world.device))))


def costs_of(costs: StepCosts, loop: Loop, peak_mb: float) -> TrainingCosts:
    """Return the TrainingCosts of measured steps; peak_mb: memory of the process that needs most, in MiB."""
    config = loop.config
    rate = config.batch_size * loop.world.size / costs.seconds
    place = "GPU memory" if loop.world.device.type == "cuda" else "memory"
    lines = [f"estimate from {MEASURED_STEPS} steps; nothing was written",
             f"parameters: {costs.parameters:,}",
             f"{place}: {peak_mb:,.0f} MiB at most in a process",
             f"a step: {costs.seconds:.3g} s, {rate:.1f} images/s"]
    each = size_text(costs.checkpoint_bytes)
    if not config.last_step:
        return TrainingCosts("\n".join([
            *lines, f"time: no number of steps is set; {3600 / costs.seconds:,.0f} steps take an hour",
            f"disk: {each} every {config.save_interval} steps"]))
    left = max(0, config.last_step - loop.step)
    saves = math.ceil(config.last_step / config.save_interval) - loop.step // config.save_interval if left else 0
    seconds, disk_bytes = left * costs.seconds, saves * costs.checkpoint_bytes
    text = "\n".join([
        *lines, f"time: {minutes(seconds / 60)} for {left} steps; samples and held-out measurements come on top",
        f"disk: {size_text(disk_bytes)} for {saves} checkpoints of {each}"])
    return TrainingCosts(text, left, seconds, disk_bytes)


def describe_sum(costs: Sequence[TrainingCosts]) -> str:
    """Return the line that says what several trainings take, one after the other."""
    steps, seconds, disk = ([value for value in values if value is not None]
                            for values in list(zip(*costs, strict=True))[1:])
    if len(steps) < len(costs):
        return f"all {len(costs)} trainings: no sum, as no number of steps is set for {len(costs) - len(steps)} of them"
    return (f"all {len(costs)} trainings, one after the other: {minutes(sum(seconds) / 60)} for {sum(steps)} steps; "
            f"disk: {size_text(sum(disk))}")
