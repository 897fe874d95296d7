"""What a folder of samples holds and what to do with it, for the last lines of a sampling command."""
from pathlib import Path

from add.data.files import is_url
from add.interfaces import PathLike
from add.results.report_page import page_line
from add.results.sample_folder import SamplesFolder
from add.runtime.next_steps import command_line, next_steps
from add.training.checkpoints import read_facts


def describe_samples(folder: SamplesFolder, checkpoint: PathLike) -> str:
    """Write the page of samples; return the lines that say where they lie, what to do next, and where the page is."""
    path = folder.path.resolve()
    return "\n".join([f"done: {folder.count} samples in {path}",
                      next_steps(command_line("evaluate", training_folder(checkpoint), folder.path)),
                      page_line(path)])


def training_folder(checkpoint: PathLike) -> str:
    """Return the folder of images that a checkpoint's run was trained on; DATA_DIR where it isn't known or here."""
    train = (read_facts(Path(checkpoint).parent) or {}).get("train")
    folder = train.get("data_dir") if isinstance(train, dict) else None
    known = isinstance(folder, str) and folder and (is_url(folder) or Path(folder).is_dir())
    return str(folder) if known else "DATA_DIR"
