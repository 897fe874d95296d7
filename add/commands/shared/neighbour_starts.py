"""Starts of several domains from one another's weights (--start_from): which run starts from which, and its words."""
import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from add.data import list_domains
from add.errors import UserError
from add.training import find_checkpoint
from add.training.checkpoints import NAME, trained_parts
from add.training.domain_starts import follower, follows, going_on, has_begun, on_its_own
from add.training.run_config import BASE, FIRST, SCRATCH, BaseTrainConfig, LoopConfig, TrainConfig


def with_starts(config: TrainConfig, runs: Sequence[TrainConfig], given: Collection[str], class_cond: bool = False
                ) -> list[TrainConfig]:
    """Return the configs of the runs of a command, each with its start, in front of them the base's where there is one.

    A run that has begun goes on with the start and the share of steps that its folder tells.

    Args:
        config: as the user gave it. runs: as `folder_runs` makes them of it.
        given: names of the options that the user set. Where --init_from or --resume_checkpoint is among them and
            --start_from is not, every domain starts from what it names.
        class_cond: whether the networks have classes; theirs mean something else in every folder.

    Raises:
        UserError: options that contradict each other, or a run folder of the base that isn't one, or of others.
    """
    start_from = _start_from(config, given, class_cond)
    if start_from == BASE:
        base = _base(config, runs)
        return [base, *(_started(run, base, BASE) for run in runs)]
    first, *others = runs
    if start_from == FIRST:
        return [_started(first), *(_started(run, first, FIRST) for run in others)]
    return [_started(run) for run in runs]


def _start_from(config, given, class_cond):
    """Return what the domains start from, once the options have been checked."""
    said = config.start_from if "start_from" in given else ""
    if config.base_data_dir and said != BASE:
        raise UserError(f"--base_data_dir {config.base_data_dir} was given without --start_from base: expected it for "
                        f"the images that the base is trained on; add --start_from base, or leave it out")
    if said in ("", SCRATCH):
        return SCRATCH if said or class_cond or config.init_from or config.resume_checkpoint else config.start_from
    if config.resume_checkpoint:
        raise UserError(f"--start_from {said} was given with --resume_checkpoint, which says itself what is gone on "
                        f"with: leave out one of the two")
    if class_cond:
        raise UserError(f"--start_from {said} was given with --class_cond: expected networks without classes, whose "
                        f"numbers mean something else in every folder; leave out one of the two")
    if said == BASE and config.domain in ("", "."):
        raise UserError("--start_from base was given without domains: expected --domain all or names of subfolders of "
                        "--data_dir; for one folder, train on other images first and give that run as --init_from")
    return said


def _started(run, start=None, start_from=SCRATCH):
    """Return the config of a domain's run that goes on, or starts from the run `start`, or on its own."""
    if has_begun(run.run_dir):
        return going_on(run)
    return on_its_own(run) if start is None else follower(run, start.run_dir, start_from)


def _base(config, runs):
    """Return the config of the network that all domains start from."""
    run_dir = Path(runs[0].run_dir).parent / BASE
    if BASE in list_domains(config.data_dir):
        raise UserError(f"{config.data_dir} has a domain called {BASE}, and with --start_from base that is the run "
                        f"folder of what all domains start from ({run_dir}): expected other names; rename the domain's "
                        f"folder, or give --start_from first")
    parts = {Path(run.run_dir).name for run in runs}
    if has_begun(run_dir):
        trained = set(trained_parts(run_dir))
        if not trained:
            raise UserError(f"{run_dir} holds a run that is no base of several domains: expected none, or one that "
                            f"--start_from base began; move it, or give another --run_dir")
        if more := sorted(parts - trained):
            raise UserError(f"the base in {run_dir} was trained for {', '.join(sorted(trained))}, and may have seen "
                            f"what {', '.join(more)} would hold out: expected some of those domains; leave "
                            f"out {', '.join(more)} and start it alone with --init_from {run_dir}, or give another "
                            f"--run_dir for a new base")
        parts = trained
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return BaseTrainConfig(**values | {
        "data_dir": config.base_data_dir or config.data_dir, "domains_dir": config.data_dir, "run_dir": str(run_dir),
        "parts": ",".join(sorted(parts)), "start_from": SCRATCH})


def without_missing_start(config: Any) -> Any:
    """Return the config of a run, with random weights where it is to be estimated and its start is still to come."""
    if not (config.estimate and follows(config)) or _find(config.init_from):
        return config
    return dataclasses.replace(config, init_from="")


def say_turn(config: LoopConfig, runs: Sequence[LoopConfig]) -> str:
    """Return the line that says which of several runs it is, what it starts from and its share of the steps.

    It is empty for a run alone that has no such share.
    """
    if len(runs) == 1 and not follows(config):
        return ""
    domains = [run.run_dir for run in runs if not isinstance(run, BaseTrainConfig)]
    if isinstance(config, BaseTrainConfig):
        name = f"base that the domains start from ({config.parts.replace(',', ', ')})"
    elif len(domains) > 1:
        name = f"domain {domains.index(config.run_dir) + 1} of {len(domains)}: {Path(config.run_dir).name}"
    else:
        name = f"domain {Path(config.run_dir).name}"
    return f"{name}, {_say_start(config)}{_say_share(config)}"


def _say_start(config: Any) -> str:
    init_from = getattr(config, "init_from", "")
    weights = f"the weights of {Path(init_from).name if follows(config) else init_from}"
    if has_begun(config.run_dir):
        return "going on" + (f" (it started from {weights})" if follows(config) else "")
    if not init_from:
        return "starting from another's weights once they are there" if follows(config) else "from random weights"
    file = _find(init_from)
    match = NAME.match(file.name) if file else None
    return f"starting from {weights}" + (f" (step {int(match['step'])})" if match else "")


def _say_share(config: Any) -> str:
    if not follows(config) or config.start_share == 1 or not (config.budget or config.last_step):
        return ""
    what = f"the time, {config.budget}" if config.budget else f"the steps, {config.last_step}"
    return f"; it takes {config.start_share:g} of {what} (--start_share 1 takes all)"


def _find(path):
    """Return the checkpoint file that a path names, or None where there is none."""
    try:
        return find_checkpoint(path)
    except UserError:
        return None
