"""Run folder: config.json, checkpoints, progress.csv and samples of one training run."""
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from add.data.files import append_text, save_json, torch_writer, write_atomically, written_together
from add.data.leftovers import sweep
from add.data.read_back import read_json, read_rows
from add.errors import UserError
from add.interfaces import Note, PathLike, Row
from add.training.checkpoints import CONFIG_NAME, NAME, is_safetensors, read_state, read_training_state
from add.training.checksums import HashedFile, check_listed

PICTURES = "samples"  # folder of the previews
UNFINISHED = re.compile(r"\.(?:(?:model|opt|state|ema_).*\.pt|(?:config|training_images)\.json|progress\.csv|"
                        r"curves\.png|samples\d+\.png)\.[0-9a-f]{32}\.tmp")  # of leftovers.temporary_path
ASIDE = "incomplete"  # folder of pieces of checkpoints


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
        return bool(self._matches())

    def _matches(self):
        """Return the matches of NAME among the folder's files."""
        files = self.path.iterdir() if self.path.is_dir() else ()
        return [match for file in files if (match := NAME.match(file.name))]

    def is_broken_off(self) -> bool:
        """Return whether no checkpoint here is one that can be continued, and none has weights that were kept.

        Averages without a state file come from a checkpoint that was whole and was thinned out, or from elsewhere, and
        so do all .safetensors, which training doesn't write.
        """
        if any(is_safetensors(match.string) for match in self._matches()):
            return False
        kinds = {(match["step"], "ema" if match["rate"] else match["kind"] or "model") for match in self._matches()}
        with_state = {step for step, kind in kinds if kind == "state"}
        return not any(kind == "ema" and step not in with_state for step, kind in kinds)

    def set_aside_pieces(self, note: Note) -> None:
        """Move checkpoint files of which none is whole, and the rows of their steps, out of a new run's way."""
        names = sorted(match.string for match in self._matches() if not is_safetensors(match.string))
        if not names:
            return
        aside = self / ASIDE
        aside.mkdir(exist_ok=True)
        for name in [*names, "progress.csv"]:
            if (self / name).exists():
                os.replace(self / name, aside / name)
        note(f"{self.path} holds pieces of checkpoints and none that is whole: training starts at step 0, and they are "
             f"kept in {aside} ({', '.join(names[:5])})")

    def open(self, facts: Row) -> None:
        """Make the folder and write config.json: kind and config of the network, options, data, versions.

        What a killed run left half-written is removed: the caller holds the folder's lock, so that no run is at it.
        """
        for folder in (self.path, self / PICTURES):
            sweep(folder, before=math.inf, names=UNFINISHED)
        save_json(self / CONFIG_NAME, facts)

    def note(self, entries: Row) -> None:
        """Write entries of config.json anew, such as "train", the options of the run, with all else as it was."""
        save_json(self / CONFIG_NAME, read_json(self / CONFIG_NAME, {str: object}) | entries)

    def save(self, step: int, model: dict[str, Any], emas: dict[str, dict[str, Any]], optimizer: dict[str, Any],
             state: dict[str, Any]) -> None:
        """Write the checkpoint of `step`: model, one file per EMA rate, optimiser, and last the training state.

        The state file lists the others with their sizes and SHA-256, so a checkpoint is whole once all of them are
        there. All take their names when all are written, the state first and then the weights: where the disk is full,
        none does, and what a kill leaves half-named is known by the state that lacks the rest.

        Args:
            model, optimizer: state dicts. emas: {rate as text: state dict}. state: what else resuming needs.
        """
        files = {f"ema_{rate}_{step:06d}.pt": weights for rate, weights in reversed(emas.items())}
        files |= {f"model{step:06d}.pt": model, f"opt{step:06d}.pt": optimizer}
        sizes: dict[str, int] = {}
        digests: dict[str, str] = {}
        with written_together() as write_one:
            for name, content in files.items():
                sizes[name] = write_one(self / name, _hashed_writer(content, name, digests))
            write_one(self / f"state{step:06d}.pt",
                      torch_writer({"step": step, "files": sizes, "sha256": digests, **state}))

    def steps(self) -> list[int]:
        """Return the steps that have a state file, newest first."""
        return sorted((int(match["step"]) for match in self._matches()
                       if match["kind"] == "state" and not is_safetensors(match.string)), reverse=True)

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
        state = read_training_state(self / f"state{step:06d}.pt")
        found: dict[str, Any] = {"state": state, "ema": {}, "step": step}
        for name in state["files"]:
            file = self / name
            check_listed(self.path, name, state)
            match = NAME.match(name)
            if match is None:
                raise UserError(f"{self / f'state{step:06d}.pt'} names {name}, which is no file of a checkpoint")
            if match["rate"]:
                found["ema"][match["rate"]] = read_state(file)
            else:
                found[match["kind"] or "model"] = read_state(file)
        return found

    def begin_progress(self, step: int) -> None:
        """Keep the rows of progress.csv up to `step`; later ones belong to steps that are run again."""
        rows = [row for row in self.read_progress() if None not in row.values()
                and row.get("step", "").isdecimal() and int(row["step"]) <= step]  # the others were cut short
        self._write_progress(rows)

    def complete_progress(self, step: int, values: Row) -> None:
        """Enter values, by their names, in the row of a step of progress.csv."""
        self._write_progress([row | values if row["step"] == str(step) else row for row in self.read_progress()])

    def _write_progress(self, rows):
        write_atomically(self / "progress.csv", lambda file: file.write(self._csv_text(rows, header=True).encode()))

    def append_progress(self, row: Row) -> None:
        """Append one row, a dict with names of `fields`."""
        append_text(self / "progress.csv", self._csv_text([row]))

    def read_progress(self) -> list[dict[str, str]]:
        """Return the rows of progress.csv as dicts of text."""
        path = self / "progress.csv"
        if not path.exists():
            return []
        return read_rows(path, advice="remove it, and the run goes on with a new one")

    def progress_of(self, step: int) -> dict[str, str] | None:
        """Return the row of a step of progress.csv as a dict of text, or None where there is none."""
        return next((row for row in self.read_progress() if row["step"] == str(step)), None)

    def last_measured(self) -> dict[str, str] | None:
        """Return the newest row of progress.csv with measurements on held-out data, a dict of text, or None."""
        return next((row for row in reversed(self.read_progress()) if row.get("val_loss")), None)

    def _csv_text(self, rows, header=False):
        lines = [",".join(self.fields)] if header else []
        for row in rows:
            lines.append(",".join(_cell(row.get(name, "")) for name in self.fields))
        return "".join(line + "\n" for line in lines)


def _hashed_writer(content, name, digests):
    """Return write(file) that writes as torch_writer does, and enters the SHA-256 of what it wrote in `digests`."""
    def write(file):
        hashed: Any = HashedFile(file)
        torch_writer(content)(hashed)
        digests[name] = hashed.sha256

    return write


def _cell(value):
    return f"{value:.6g}" if isinstance(value, float) else str(value)
