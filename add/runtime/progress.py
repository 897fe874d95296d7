"""Progress bar, status lines and TensorBoard events of a long run."""
import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from add.interfaces import PathLike, Row
from add.runtime.options import Parsed
from add.runtime.processes import process_group
from add.runtime.world import World

SHOWN = ("loss", "mse", "vb", "discriminator_loss", "accuracy", "val_loss", "val_accuracy", "grad_norm")


class TrainingDisplay:
    """Sentences, progress bar, status lines and TensorBoard events of a run; silent on all but the main process.

    Args:
        total: last step, or 0 where only time or the user ends the run.
        max_minutes: minutes after `begin` at which the run ends, or 0.
        silent: show and write nothing.
    """

    def __init__(self, total: int = 0, max_minutes: float = 0.0, silent: bool = False):
        self.total, self.max_minutes, self.silent = total, max_minutes, silent
        self.bar: tqdm | None = None
        self.events: Any = None

    def note(self, text: str) -> None:
        """Show a sentence."""
        if not self.silent:
            _say(text)

    def begin(self, step: int, tensorboard_dir: PathLike | None = None) -> None:
        """Start the bar at `step`, and events in a folder where TensorBoard is installed."""
        self.started = time.monotonic()
        self.bar = tqdm(total=self.total or None, initial=step, unit="step", dynamic_ncols=True,
                        disable=self.silent or not sys.stderr.isatty())
        if tensorboard_dir and not self.silent:
            self.events = _event_writer(tensorboard_dir, step)
            self.note("TensorBoard events: " + (str(tensorboard_dir) if self.events else "none, it is not installed"))

    def report(self, row: Row) -> None:
        """Show one row of progress.csv; `begin` comes first."""
        if self.silent:
            return
        assert self.bar is not None, "report() was called before begin()"
        self.bar.update(row["step"] - self.bar.n)
        _say(status_line(row, self.total, self._seconds_left(row)))
        if self.events is not None:
            for name, value in row.items():
                if name != "step":
                    self.events.add_scalar(name, value, row["step"])

    def _seconds_left(self, row):
        """Return the seconds until steps or minutes are used up, or None where nothing limits them."""
        limits = [(self.total - row["step"]) * row["sec_per_step"]] if self.total else []
        if self.max_minutes:
            limits.append(self.started + 60 * self.max_minutes - time.monotonic())
        return max(0.0, min(limits)) if limits else None

    def close(self) -> None:
        """End the bar and the event file."""
        for part in (self.bar, self.events):
            if part is not None:
                part.close()


def status_line(row: Row, total: int, seconds_left: float | None = None) -> str:
    """Return the status line of a row of progress.csv, such as `step 500/4000  loss 0.0312 ...  ETA 12 min`."""
    parts = [f"step {row['step']}" + (f"/{total}" if total else "")]
    parts += [f"{name} {row[name]:.4g}" for name in SHOWN if name in row
              and not (name == "mse" and row["mse"] == row["loss"])]
    parts += [f"lr {row['lr']:.2g}", f"{row['images_per_sec']:.1f} images/s"]
    if seconds_left is not None:
        parts.append(f"ETA {minutes(seconds_left / 60)}")
    return "  ".join(parts)


def minutes(value: float) -> str:
    """Return a duration in minutes as text, such as `45 s`, `3 min` or `2 h 05 min`."""
    whole = round(value)
    if value < 1:
        return f"{round(value * 60)} s"
    return f"{whole} min" if whole < 60 else f"{whole // 60} h {whole % 60:02d} min"


def _say(text):
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def _event_writer(folder, step):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder, purge_step=step)  # drops events of steps that are run again


class EvaluationBar:
    """Progress bar that counts network evaluations, in images; silent on all but the main process."""

    def __init__(self, description: str, silent: bool = False):
        self.silent = silent
        self.bar = tqdm(desc=description, unit="eval", disable=silent or not sys.stderr.isatty(), dynamic_ncols=True)

    def add(self, evaluations: int) -> None:
        """Count evaluations of a network, in images."""
        self.bar.update(evaluations)

    def note(self, text: str) -> None:
        """Show a sentence."""
        if not self.silent:
            _say(text)

    def close(self) -> None:
        """End the bar."""
        self.bar.close()


@contextlib.contextmanager
def processes_and_bar(parsed: Parsed, what: str = "evaluations") -> Iterator[tuple[World, EvaluationBar]]:
    """Give the processes of a command with the options device and threads, and a progress bar that counts `what`."""
    with (process_group(parsed.device, parsed.threads) as world,
          contextlib.closing(EvaluationBar(what, silent=not world.is_main)) as bar):
        yield world, bar
