"""Learning rates planned over a budget of core-seconds, for time_to_quality.py."""
import dataclasses
import math

from add.training.time_budget import MOST_WARM_UP

FALL_STARTS = 0.5  # at this share of the budget the rate begins to fall


def planned_start(config, steps):
    """Return a TrainConfig for about `steps` steps whose rate rises over a tenth of them at most, and then stays."""
    return dataclasses.replace(config, lr_warmup_steps=min(config.lr_warmup_steps, steps // MOST_WARM_UP),
                               lr_anneal_start=0, lr_anneal_steps=0, max_steps=0)


def planned_fall(config, step, core_seconds, budget):
    """Return the TrainConfig of the fall that begins at `step`, the steps so far having taken `core_seconds`.

    It ends where the budget does, if steps go on to cost what they have cost.
    """
    last = step + max(1, round((budget - core_seconds) * step / core_seconds))
    return dataclasses.replace(config, lr_anneal_start=step, lr_anneal_steps=last, max_steps=last)


def cosine_share(step, spent, warm_up_steps):
    """Return the share of its rate that a cosine schedule has at step `step` (0-based), `spent` of its time being past.

    It rises over `warm_up_steps` steps, or a tenth of the time where that is shorter.
    """
    rise = max((step + 1) / warm_up_steps, spent * MOST_WARM_UP)
    return min(1.0, rise) * 0.5 * (1 + math.cos(math.pi * min(1.0, spent)))
