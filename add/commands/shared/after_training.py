"""Commands that use what was trained, for the last lines of a training command."""
from collections.abc import Sequence
from pathlib import Path

from add.baselines.baseline_models import METHODS
from add.data.files import is_url
from add.data.folders import list_domains
from add.data.tar_shards import class_names_of, shards_of
from add.errors import UserError
from add.runtime.next_steps import command_line
from add.training import find_checkpoint
from add.training.checkpoints import read_facts, trained_parts
from add.training.run_config import BaseTrainConfig, LoopConfig


def commands_after(runs: Sequence[LoopConfig]) -> list[str]:
    """Return the commands that use the networks of runs, with their paths; words in capitals are left to fill in.

    Args:
        runs: configs, with data_dir and run_dir filled in, whose run folders are there.
    """
    commands = [_use(config) for config in runs if not isinstance(config, BaseTrainConfig)]
    if parents := _parents_of_domains(runs[-1]):
        models_dir, data_dir = parents
        commands.append(command_line("translate", models_dir=models_dir, data_dir=data_dir))
    return commands


def _use(config):
    """Return the command that makes something with the network of a run."""
    run_dir = config.run_dir
    kind = _kind_of(run_dir)
    if kind in METHODS:
        more = {"data_dir": config.data_dir} if kind == "lofgan" else {}
        return command_line("baseline_sample", model_path=run_dir, **more)
    if kind == "classifier":
        return command_line("classifier_sample", model_path="DIFFUSION_MODEL", classifier_path=run_dir)
    if kind == "super_res":
        return command_line("super_res_sample", model_path=run_dir, base_samples="SMALL_IMAGES")
    if kind == "points":
        return command_line("synthetic_sample", model_path=run_dir)
    return command_line("image_sample", model_path=run_dir, out_dir=Path("results") / "samples" / Path(run_dir).name)


def _kind_of(run_dir):
    return (read_facts(run_dir) or {}).get("kind", "image")


def _parents_of_domains(config):
    """Return (folder of run folders, folder of image folders) where both hold the same two or more domains, or None.

    What the domains started from (--start_from base) is none of them.
    """
    data_dir = getattr(config, "data_dir", "")
    if not data_dir or is_url(data_dir):
        return None
    models, data = Path(config.run_dir).parent, Path(data_dir).parent
    names = {name for name in _subfolders(models) if not trained_parts(models / name)}
    folders = _subfolders(data)
    if len(names) < 2 or names != folders:
        return None
    try:
        kinds = {_kind_of(find_checkpoint(models / name).parent) for name in names}
    except UserError:  # one of them is no run folder
        return None
    return (models, data) if kinds == {"image"} else None


def _subfolders(folder):
    if (shards := shards_of(folder)) is not None:
        return set(class_names_of(shards))
    if folder.is_file():  # a manifest, whose classes stand for subfolders
        return set(list_domains(folder))
    return {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
