"""What a folder of samples holds and what to do with it, for the last lines of a sampling command."""
from pathlib import Path

from add.data.files import is_url
from add.data.folders import CONTACT_SHEET
from add.interfaces import PathLike
from add.results.sample_folder import SamplesFolder
from add.runtime.next_steps import command_line, next_steps
from add.training.checkpoints import read_facts


def describe_samples(folder: SamplesFolder, checkpoint: PathLike) -> str:
    """Return the lines that say where samples lie, and the command that holds them against the training images."""
    path = folder.path.resolve()
    return "\n".join([f"done: {folder.count} samples in {path}",
                      f"to look at: {path / CONTACT_SHEET}",
                      next_steps(command_line("evaluate", training_folder(checkpoint), folder.path))])


def training_folder(checkpoint: PathLike) -> str:
    """Return the folder of images that a checkpoint's run was trained on; DATA_DIR where it isn't known or here."""
    train = (read_facts(Path(checkpoint).parent) or {}).get("train")
    folder = train.get("data_dir") if isinstance(train, dict) else None
    known = isinstance(folder, str) and folder and (is_url(folder) or Path(folder).is_dir())
    return str(folder) if known else "DATA_DIR"
