"""Plan of a training by time: the steps that fit into --budget, whose second half the learning rate falls over."""
import dataclasses
from typing import Any, TypeVar

from add.errors import UserError
from add.interfaces import PathLike
from add.training.checkpoints import read_facts
from add.training.loop import Loop
from add.training.run_config import LoopConfig, duration_seconds
from add.training.step_costs import StepCosts, measure_steps

PLANNED = ("max_steps", "lr_anneal_steps", "lr_anneal_start", "lr_warmup_steps")
MOST_WARM_UP = 10  # a tenth of the steps at most: else a short training never reaches its rate
SHARE_OF_STEPS = 0.95  # of the time; the rest is for checkpoints, pictures and held-out measurements

AnyConfig = TypeVar("AnyConfig", bound=LoopConfig)


def with_saved_plan(config: AnyConfig, run_dir: PathLike) -> AnyConfig:
    """Return the config with the plan that a run folder keeps for the same --budget, else as it is."""
    saved = (read_facts(run_dir) or {}).get("train")
    if not config.budget or not isinstance(saved, dict) or saved.get("budget") != config.budget:
        return config
    return _planned(config, **{name: saved[name] for name in PLANNED})


def plan_by_time(loop: Loop, config: LoopConfig) -> None:
    """Give a loop that --budget asks for, and that has no plan yet, the steps that fit, and note them.

    All processes of the run call it together, and get the same plan.

    Args:
        config: as the user gave it; where loop.config differs, the plan was made before.

    Raises:
        UserError: not one step fits.
    """
    if not config.budget:
        return
    if loop.config != config:
        loop.note(f"the plan of --budget {config.budget} stays: {loop.config.last_step} steps")
        return
    costs = measure_steps(loop)
    loop.config = fitted(config, costs, loop.step)
    loop.note(f"--budget {config.budget}: a step takes {costs.seconds:.3g} s, so that training ends at step "
              f"{loop.config.max_steps}; the learning rate falls from step {loop.config.lr_anneal_start} on")


def fitted(config: AnyConfig, costs: StepCosts, step: int) -> AnyConfig:
    """Return the config with as many steps after `step` as its budget has room for."""
    steps = int(SHARE_OF_STEPS * duration_seconds(config.budget) / costs.seconds)
    if steps < 1:
        raise UserError(f"--budget is {config.budget} and one step takes {costs.seconds:.3g} s: expected time for one "
                        f"step or more; give more time, a smaller --batch_size or a smaller network")
    return _planned(config, max_steps=step + steps, lr_anneal_steps=step + steps, lr_anneal_start=step + steps // 2,
                    lr_warmup_steps=min(config.lr_warmup_steps, (step + steps) // MOST_WARM_UP))


def _planned(config, **plan):
    """Return the config with a plan in place of all that says otherwise how long it trains."""
    own: dict[str, Any] = {"iterations": 0, "anneal_lr": False}  # a classifier's
    names = {field.name for field in dataclasses.fields(config)}
    return dataclasses.replace(config, **plan, **{name: value for name, value in own.items() if name in names})
