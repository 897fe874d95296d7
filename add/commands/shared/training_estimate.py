"""What a training will take: time, memory and disk, as lines for the user."""
import math

from add.runtime.cost_lines import size_text
from add.runtime.given_models import peak_memory_mb
from add.runtime.progress import minutes
from add.training.loop import Loop
from add.training.step_costs import MEASURED_STEPS, StepCosts, measure_steps


def describe_costs(loop: Loop) -> str:
    """Return the lines that say what the rest of a training takes, measured on steps that leave no trace in it.

    All processes of the run call it together.
    """
    costs = measure_steps(loop)
    return cost_lines(costs, loop, max(loop.world.gather(peak_memory_mb(loop.world.device))))


def cost_lines(costs: StepCosts, loop: Loop, peak_mb: float) -> str:
    """Return the lines of measured costs; peak_mb: memory of the process that needs most, in MiB."""
    config = loop.config
    rate = config.batch_size * loop.world.size / costs.seconds
    place = "GPU memory" if loop.world.device.type == "cuda" else "memory"
    lines = [f"estimate from {MEASURED_STEPS} steps; nothing was written",
             f"parameters: {costs.parameters:,}",
             f"{place}: {peak_mb:,.0f} MiB at most in a process",
             f"a step: {costs.seconds:.3g} s, {rate:.1f} images/s"]
    if not config.last_step:
        return "\n".join([*lines, f"time: no number of steps is set; {3600 / costs.seconds:,.0f} steps take an hour",
                          f"disk: {size_text(costs.checkpoint_bytes)} every {config.save_interval} steps"])
    left = max(0, config.last_step - loop.step)
    saves = math.ceil(config.last_step / config.save_interval) - loop.step // config.save_interval if left else 0
    each = size_text(costs.checkpoint_bytes)
    return "\n".join([
        *lines,
        f"time: {minutes(left * costs.seconds / 60)} for {left} steps; samples and held-out measurements come on top",
        f"disk: {size_text(saves * costs.checkpoint_bytes)} for {saves} checkpoints of {each}"])
