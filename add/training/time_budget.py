"""Plan of a training by time: the steps that fit into --budget, whose second half the learning rate falls over."""
import bisect
import dataclasses
import time
from typing import Any, TypeVar

from add.errors import UserError
from add.interfaces import PathLike
from add.training.checkpoints import read_facts
from add.training.loop import Loop
from add.training.run_config import LoopConfig, budget_name, duration_seconds
from add.training.step_costs import BreakCosts, StepCosts, measure_breaks, measure_steps

PLANNED = ("max_steps", "lr_anneal_steps", "lr_anneal_start", "lr_warmup_steps")
MOST_WARM_UP = 10  # a tenth of the steps at most: else a short training never reaches its rate
TOLERANCE = 0.03  # of the pace: a plan that is as good as this stays
SHARE_PLANNED = 0.97  # of the time; the rest is for what is not measured: curves.png, the disk, slower steps

AnyConfig = TypeVar("AnyConfig", bound=LoopConfig)


def with_saved_plan(config: AnyConfig, run_dir: PathLike) -> AnyConfig:
    """Return the config with the plan that a run folder keeps for the same --budget, else as it is."""
    saved = (read_facts(run_dir) or {}).get("train")
    if not config.budget or not isinstance(saved, dict):
        return config
    if duration_seconds(str(saved.get("budget"))) != duration_seconds(config.budget):
        return config
    plan = {name: saved.get(name) for name in PLANNED}
    if any(type(value) is not int for value in plan.values()):
        return config
    return _planned(config, **plan)


def plan_by_time(loop: Loop, config: LoopConfig) -> None:
    """Give a loop that --budget asks for, and that has no plan yet, the steps that fit, and note them.

    The time that measuring takes counts. All processes of the run call it together, and get the same plan.

    Args:
        config: as the user gave it; where loop.config differs, the plan was made before.

    Raises:
        UserError: not one step fits.
    """
    if not config.budget:
        return
    if loop.config != config:
        loop.note(f"the plan of {budget_words(config.budget)} stays: {loop.config.last_step} steps")
        return
    started = time.monotonic()
    costs, breaks = measure_steps(loop), measure_breaks(loop)
    spent = max(loop.world.gather(time.monotonic() - started))
    loop.config = fitted(config, costs, loop.step, breaks, spent)
    steps = loop.config.max_steps - loop.step
    seconds = planned_seconds(config, costs, breaks, loop.step, steps)
    loop.plan = TimePlan(costs, breaks, spent, loop.step, loop.seconds, seconds / SHARE_PLANNED)
    loop.note(f"{budget_words(config.budget)}: a step takes {costs.seconds:.3g} s, saves and held-out measurements "
              f"{seconds - steps * costs.seconds:.2g} s of the time, so that training ends at step "
              f"{loop.config.max_steps}; the learning rate falls from step {loop.config.lr_anneal_start} on")


@dataclasses.dataclass(frozen=True)
class TimePlan:
    """A plan that is corrected once, when the learning rate begins to fall: by then the real pace is known.

    No step before depends on where the run ends. A resumed run keeps the plan that its folder has.

    costs, breaks: as measured. spent: seconds of the budget that were over when training began.
    first: the step at which it began. before: seconds of training before that. seconds: that all will take.
    """

    costs: StepCosts
    breaks: BreakCosts
    spent: float
    first: int
    before: float
    seconds: float

    def correct(self, loop: Loop) -> None:
        """Let a loop whose learning rate begins to fall end when its budget does, and note where that is.

        All processes of the run call it together, before each step.
        """
        config, step = loop.config, loop.step
        if step != config.lr_anneal_start or step == self.first:
            return
        elapsed = max(loop.world.gather(loop.seconds - self.before))
        pace = elapsed / planned_seconds(config, self.costs, self.breaks, self.first, step - self.first, ends=False)
        if abs(pace - 1) <= TOLERANCE:
            return
        costs = dataclasses.replace(self.costs, seconds=pace * self.costs.seconds)
        breaks = BreakCosts(pace * self.breaks.save, pace * self.breaks.held_out)
        last = step + max(1, steps_that_fit(config, costs, step, breaks, self.spent + elapsed))
        loop.config = dataclasses.replace(config, max_steps=last, lr_anneal_steps=last)
        if loop.world.is_main:
            loop.run_folder.note({"train": dataclasses.asdict(loop.config)})
        loop.note(f"{budget_words(config.budget)}: up to step {step}, {pace:.2g} times the time planned was taken, so "
                  f"that training ends at step {last} in place of {config.max_steps}")


def fitted(config: AnyConfig, costs: StepCosts, step: int, breaks: BreakCosts | None = None, spent: float = 0.0
           ) -> AnyConfig:
    """Return the config with as many steps after `step` as its budget has room for, beside saves and measurements.

    Args:
        spent: seconds of the budget that are over.
    """
    breaks = breaks or BreakCosts()
    steps = steps_that_fit(config, costs, step, breaks, spent)
    if steps < 1:
        raise UserError(f"{budget_words(config.budget)}: measuring took {spent:.2g} s, a step takes "
                        f"{costs.seconds:.3g} s, a save {breaks.save:.2g} s and a held-out measurement "
                        f"{breaks.held_out:.2g} s: expected time for one of each or more; give more time, a smaller "
                        f"--batch_size or a smaller network")
    return _planned(config, max_steps=step + steps, lr_anneal_steps=step + steps, lr_anneal_start=step + steps // 2,
                    lr_warmup_steps=min(config.lr_warmup_steps, (step + steps) // MOST_WARM_UP))


def steps_that_fit(config: LoopConfig, costs: StepCosts, step: int, breaks: BreakCosts, spent: float) -> int:
    """Return how many steps after `step` fit into what is left of the budget, 0 where none does."""
    seconds = SHARE_PLANNED * (duration_seconds(config.budget) - spent)
    most = max(0, int(seconds / costs.seconds))
    return bisect.bisect_right(range(1, most + 1), seconds,
                               key=lambda count: planned_seconds(config, costs, breaks, step, count))


def planned_seconds(config: LoopConfig, costs: StepCosts, breaks: BreakCosts, step: int, count: int,
                    ends: bool = True) -> float:
    """Return the seconds of `count` steps after `step`, with the saves and held-out measurements among them.

    Args:
        ends: whether the run ends there, with a save and a measurement, also between their intervals.
    """
    return (count * costs.seconds + breaks.save * _times(step, count, config.save_interval, ends)
            + breaks.held_out * _times(step, count, getattr(config, "held_out_interval", config.save_interval), ends))


def budget_words(budget: str) -> str:
    """Return the option as messages name it, such as `--budget 1h30m` or `--minutes 10`."""
    return f"--{budget_name(budget)} {budget}"


def _times(step, count, interval, ends):
    """Return how often something is done in the `count` steps after `step`: at each interval, and at the run's end."""
    last = step + count
    return last // interval - step // interval + (ends and last % interval > 0)


def _planned(config, **plan):
    """Return the config with a plan in place of all that says otherwise how long it trains."""
    own: dict[str, Any] = {"iterations": 0, "anneal_lr": False}  # a classifier's
    names = {field.name for field in dataclasses.fields(config)}
    return dataclasses.replace(config, **plan, **{name: value for name, value in own.items() if name in names})
