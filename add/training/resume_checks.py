"""Checks before a run resumes: the same model, the same held-out images and the same training images."""
from pathlib import Path
from typing import Any

from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.interfaces import PathLike, Row
from add.training.checkpoints import read_config, read_facts
from add.training.config_differences import EXECUTION, LOSS, SAMPLING, differences
from add.training.domain_starts import has_begun
from add.training.run_config import LoopConfig

LEARNING = ("lr", "batch_size", "ema_rate", "optimizer", "weight_decay", "grad_clip", "schedule_sampler", "augment",
            "crop", "precision")
HELD_OUT_OPTIONS = ("seed", "val_fraction", "group_pattern")  # what chooses the held-out images


def check_run(folder: PathLike, model_config: Any, diffusion_config: DiffusionConfig, config: LoopConfig) -> None:
    """Raise UserError where the config.json of a run folder has another model or other held-out images."""
    saved = read_config(folder)
    if saved is None:
        return
    changes = [f"  {name}: {old!r} there, {new!r} given" for name, (old, new)
               in differences(saved, (model_config, diffusion_config), EXECUTION | SAMPLING).items()]
    if changes:
        raise UserError("\n".join([f"run folder {folder} holds a run with other options:", *changes,
                                   "give the same options to continue it, or another --run_dir"]))
    check_held_out(folder, config)


def check_held_out(folder: PathLike, config: LoopConfig) -> None:
    """Raise UserError where other images would be held out than in the run of a folder."""
    saved = _section(folder, "train")
    changes = [f"--{name} {getattr(config, name)}, the run began with {saved[name]}" for name in HELD_OUT_OPTIONS
               if name in saved and saved[name] != getattr(config, name)]
    if changes:
        raise UserError(f"the run of {folder} would go on with other held-out images ({'; '.join(changes)}), of which "
                        f"it has trained on some: give the same to continue it, or another --run_dir, and --init_from "
                        f"for its weights alone")


def say_changes(folder: PathLike, config: LoopConfig, processes: int) -> str:
    """Return a sentence on options of learning that the run of a folder had not before, or "" where none is new.

    They may change on the way, as a rate does by hand.

    Args:
        processes: of the run now, each of which takes a batch.
    """
    if not has_begun(folder):
        return ""
    saved, facts = _section(folder, "train"), read_facts(folder) or {}
    now = {name: getattr(config, name) for name in LEARNING if hasattr(config, name)}
    now["batch_size"] = config.batch_size * processes
    if isinstance(saved.get("batch_size"), int) and isinstance(facts.get("processes"), int):
        saved = saved | {"batch_size": saved["batch_size"] * facts["processes"]}
    changes = [f"{name} {saved[name]} before, {value} now" for name, value in now.items()
               if name in saved and saved[name] != value]
    return f"the run goes on with other options of learning: {'; '.join(changes)}" if changes else ""


def check_images(folder: PathLike, data_dir: PathLike, data: Row) -> None:
    """Raise UserError where the run of a folder was trained on other images.

    Args:
        data: {"images": number, "fingerprint": text, "classes": names or None, "held_out_sha256": text, if any} of the
            images in data_dir. A config.json without one of them passes.
    """
    saved = _section(folder, "data")
    if (classes := saved.get("classes", data["classes"])) != data["classes"]:
        raise UserError(f"the run of {folder} numbers its classes {', '.join(classes or ())}, and now they are "
                        f"{', '.join(data['classes'] or ())}: expected the same in the same order; give --domains "
                        f"{','.join(classes or ())}, or another --run_dir")
    if saved.get("fingerprint", data["fingerprint"]) != data["fingerprint"]:
        raise UserError(f"the run of {folder} was started on {saved.get('images')} images and {data_dir} now gives "
                        f"{data['images']} others (by names, sizes or content): expected the same images; restore "
                        f"them, or give another --run_dir, and --init_from for its weights alone")
    held_out = data.get("held_out_sha256")
    if None not in (held_out, saved.get("held_out_sha256")) and saved["held_out_sha256"] != held_out:
        raise UserError(f"the run of {folder} would go on with other held-out images, of which it has trained on some: "
                        f"what tells the groups of {data_dir} has changed; restore its groups.csv, or give another "
                        f"--run_dir, and --init_from for its weights alone")


def check_weights(file: Path, model_config: Any, diffusion_config: DiffusionConfig) -> None:
    """Raise UserError where a checkpoint's config.json has options that give its weights another meaning."""
    saved = read_config(file.parent)
    if saved is None:
        return
    changes = [f"  {name}: given {new!r}, trained with {old!r}" for name, (old, new)
               in differences(saved, (model_config, diffusion_config), EXECUTION | SAMPLING | LOSS).items()]
    if changes:
        raise UserError("\n".join([f"checkpoint {file} was trained with other options:", *changes, "give the same, or "
                                   "copy it to a folder without config.json to take its weights as they are"]))


def _section(folder, name):
    section = (read_facts(folder) or {}).get(name)
    return section if isinstance(section, dict) else {}
