"""Run folder: config.json, checkpoints, progress.csv and samples of one training run."""
import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from add.data.files import save_json, save_torch, write_atomically
from add.errors import UserError
from add.interfaces import Note, PathLike, Row
from add.training.checkpoints import CONFIG_NAME, NAME, read_state


class RunFolder:
    """The files of one run; each is written whole or not at all.

    Args:
        path: the folder; made where it is missing.
        columns: what progress.csv has beside "loss", of training; measured: beside "val_loss", of held-out images.
    """

    def __init__(self, path: PathLike, columns: Iterable[str] = (), measured: Iterable[str] = ()) -> None:
        self.path = Path(path)
        self.fields = ("step", "loss", *columns, "grad_norm", "lr", "val_loss", *measured, "sec_per_step",
                       "images_per_sec", "minutes")

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def check(self) -> None:
        """Raise UserError where the folder holds another program's files."""
        if not (self / CONFIG_NAME).exists() and self.holds_checkpoints():
            raise UserError(f"folder {self.path} holds checkpoints without a {CONFIG_NAME}, which training would "
                            f"overwrite: expected a run of this program or no checkpoints; give another --run_dir, and "
                            f"--resume_checkpoint to continue from them")

    def holds_checkpoints(self) -> bool:
        """Return whether the folder has any file of a checkpoint, complete or not."""
        return self.path.is_dir() and any(NAME.match(file.name) for file in self.path.iterdir())

    def open(self, facts: Row) -> None:
        """Make the folder and write config.json: kind and config of the network, options, data, versions."""
        save_json(self / CONFIG_NAME, facts)

    def save(self, step: int, model: dict[str, Any], emas: dict[str, dict[str, Any]], optimizer: dict[str, Any],
             state: dict[str, Any]) -> None:
        """Write the checkpoint of `step`: model, one file per EMA rate, optimiser, and last the training state.

        The state file names the others with their sizes, so a checkpoint is complete once that file is there.

        Args:
            model, optimizer: state dicts. emas: {rate as text: state dict}. state: what else resuming needs.
        """
        files = {f"model{step:06d}.pt": model, f"opt{step:06d}.pt": optimizer}
        files |= {f"ema_{rate}_{step:06d}.pt": weights for rate, weights in emas.items()}
        for name, content in files.items():
            save_torch(self / name, content)
        sizes = {name: (self / name).stat().st_size for name in files}
        save_torch(self / f"state{step:06d}.pt", {"step": step, "files": sizes, **state})

    def steps(self) -> list[int]:
        """Return the steps that have a state file, newest first."""
        if not self.path.is_dir():
            return []
        matches = (NAME.match(file.name) for file in self.path.iterdir())
        return sorted((int(m["step"]) for m in matches if m and m["kind"] == "state"), reverse=True)

    def newest_good(self, note: Note) -> dict[str, Any] | None:
        """Return the content of the newest undamaged checkpoint as `read` does, or None where there is none.

        Args:
            note: called with a sentence for each damaged checkpoint that is passed over.
        """
        for step in self.steps():
            try:
                return self.read(step)
            except UserError as error:
                note(f"checkpoint of step {step} is passed over: {error}")
        return None

    def read(self, step: int) -> dict[str, Any]:
        """Return the checkpoint of a step as {"step", "model", "opt", "state", "ema": {rate: weights}}.

        Raises:
            UserError: a file of it is missing or damaged.
        """
        state = read_state(self / f"state{step:06d}.pt")
        if "files" not in state:
            raise UserError(f"{self / f'state{step:06d}.pt'} is not a run's training state")
        found: dict[str, Any] = {"state": state, "ema": {}, "step": step}
        for name, size in state["files"].items():
            file = self / name
            if not file.exists() or file.stat().st_size != size:
                raise UserError(f"{file} is missing or not {size} bytes long")
            match = NAME.match(name)
            assert match is not None, f"{name} was written by save()"
            if match["rate"]:
                found["ema"][match["rate"]] = read_state(file)
            else:
                found[match["kind"] or "model"] = read_state(file)
        return found

    def begin_progress(self, step: int) -> None:
        """Keep the rows of progress.csv up to `step`; later ones belong to steps that are run again."""
        rows = [row for row in self.read_progress() if None not in row.values()
                and row.get("step", "").isdecimal() and int(row["step"]) <= step]  # the others were cut short
        write_atomically(self / "progress.csv", lambda file: file.write(self._csv_text(rows, header=True).encode()))

    def append_progress(self, row: Row) -> None:
        """Append one row, a dict with names of `fields`."""
        with open(self / "progress.csv", "a", newline="") as file:
            file.write(self._csv_text([row]))

    def read_progress(self) -> list[dict[str, str]]:
        """Return the rows of progress.csv as dicts of text."""
        path = self / "progress.csv"
        if not path.exists():
            return []
        with open(path, newline="") as file:
            return list(csv.DictReader(file))

    def last_measured(self) -> dict[str, str] | None:
        """Return the newest row of progress.csv with measurements on held-out data, a dict of text, or None."""
        return next((row for row in reversed(self.read_progress()) if row.get("val_loss")), None)

    def _csv_text(self, rows, header=False):
        lines = [",".join(self.fields)] if header else []
        for row in rows:
            lines.append(",".join(_cell(row.get(name, "")) for name in self.fields))
        return "".join(line + "\n" for line in lines)


def _cell(value):
    return f"{value:.6g}" if isinstance(value, float) else str(value)
