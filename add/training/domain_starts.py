"""Starts of domains from a neighbour's weights: the share of the steps they take, and what a run folder keeps of it.

A run folder's config.json names what the run started from (`start_from`, `init_from`), so that every later command goes
on with the same plan.
"""
import dataclasses
from pathlib import Path
from typing import Any

from add.interfaces import Note, PathLike, Row
from add.training.checkpoints import read_facts
from add.training.run_config import BASE, FIRST, SCRATCH, TrainConfig, duration_seconds, duration_text
from add.training.run_folder import RunFolder
from add.training.time_budget import MOST_WARM_UP
from add.training.training_images import IMAGES_NAME, read_training_images


def has_begun(run_dir: PathLike) -> bool:
    """Return whether a run folder holds a checkpoint that a run goes on from."""
    return bool(RunFolder(run_dir).steps())


def saved_start(run_dir: PathLike) -> Row:
    """Return {"init_from": ..., "start_from": ...} of a run that has begun, as far as its folder tells, else {}."""
    saved = (read_facts(run_dir) or {}).get("train")
    if not isinstance(saved, dict) or not has_begun(run_dir):
        return {}
    return {name: saved[name] for name in ("init_from", "start_from") if isinstance(saved.get(name), str)}


def follows(config: Any) -> bool:
    """Return whether a run of a config starts, or started, from another domain's weights or from the base's."""
    return getattr(config, "start_from", SCRATCH) in (FIRST, BASE)


def follower(config: TrainConfig, run_dir: PathLike, start_from: str) -> TrainConfig:
    """Return the config of a domain that starts from the weights of a run folder and takes a share of the steps.

    Args:
        start_from: FIRST or BASE, what that run is.
    """
    return with_share(dataclasses.replace(config, init_from=str(run_dir), start_from=start_from, base_data_dir=""))


def on_its_own(config: TrainConfig) -> TrainConfig:
    """Return the config of a domain that starts from random weights, or from what the user named."""
    return dataclasses.replace(config, start_from=SCRATCH, base_data_dir="")


def going_on(config: TrainConfig) -> TrainConfig:
    """Return the config of a run that has begun: what it started from stays, and with that its share of the steps."""
    saved = saved_start(config.run_dir)
    if saved.get("start_from", SCRATCH) == SCRATCH or config.resume_checkpoint:
        return on_its_own(config)
    return follower(config, saved.get("init_from", ""), saved["start_from"])


def with_share(config: TrainConfig) -> TrainConfig:
    """Return the config with start_share of its steps, or of its budget; warm-up takes a tenth of them at most."""
    share = config.start_share
    if share == 1:
        return config
    if config.budget:
        return dataclasses.replace(config, budget=duration_text(share * duration_seconds(config.budget)))
    steps, anneal = ((max(1, round(share * count)) if count else 0)
                     for count in (config.last_step, config.lr_anneal_steps))
    return dataclasses.replace(
        config, max_steps=steps, lr_anneal_steps=anneal,
        lr_anneal_start=min(round(share * config.lr_anneal_start), max(0, anneal - 1)),
        lr_warmup_steps=min(config.lr_warmup_steps, steps // MOST_WARM_UP) if steps else config.lr_warmup_steps)


def images_before(run_dir: PathLike, start: str, note: Note) -> Row | None:
    """Return the list of the images that a run was trained on whose weights another starts from, or None without one.

    Args:
        run_dir: of the run that starts from it, which keeps the list; None is returned where it has one already.
        start: checkpoint or run folder; "" for a run that starts from random weights.
        note: called with a sentence where it is gone.

    Raises:
        UserError: the list is damaged.
    """
    if not start or (Path(run_dir) / IMAGES_NAME).exists():
        return None
    found = read_training_images(start if Path(start).is_dir() else Path(start).parent)
    if found is None and not Path(start).exists():
        note(f"{start}, which this run started from, is gone: the images that it was trained on are missing from "
             f"{IMAGES_NAME}")
    return found
