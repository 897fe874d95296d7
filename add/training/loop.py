"""Training loop: steps, and at intervals rows of progress.csv, measurements, checkpoints and sample pictures."""
import ctypes
import io
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from add.data.files import save_png
from add.errors import UserError
from add.extras import install_command
from add.interfaces import Note, PathLike, Processes, Row
from add.training.compiler_errors import compiler_errors_explained
from add.training.run_config import LoopConfig
from add.training.run_folder import PICTURES, RunFolder
from add.training.training_curves import CURVES_NAME, draw_curves
from add.training.training_data import Labelled

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
CURVES_EVERY = 20.0  # seconds between two drawings of the curves, which take half a one each
WHOLE_HEAP = 2**31 - 1  # bytes, the largest number that mallopt takes


class StepMeans(Protocol):
    """Means of the losses over the steps between two rows of progress.csv."""

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Take in what `Loop.advance` returned for a step."""

    def summary(self, world: Processes) -> Row:
        """Return the losses by name, "grad_norm" and "sec_per_step", over all processes."""

    def state_dict(self) -> Row:
        """Return what was added and the seconds it took, on the CPU, for a run that is resumed between two rows."""

    def load_state_dict(self, state: Row, device: torch.device) -> None:
        """Go on with what gave `state`, of this process."""


class Plan(Protocol):
    """A plan by time that a loop follows, such as `time_budget.TimePlan`."""

    @property
    def seconds(self) -> float:
        """The seconds that all will take."""

    def correct(self, loop: "Loop") -> None:
        """Look, before a step, whether the loop must end earlier or later than planned, and tell it so."""


class Loop:
    """Training loop that saves and reports at intervals; a subclass defines the step.

    A subclass has advance(), new_window(), checkpoint() and restore(), and where it wants to warn(),
    measure(on_interval), quality(), picture(), and `held_out`, `finite`.

    Args:
        config: LoopConfig of any kind.
        run: the run folder; only the main process writes to it.
        world: the processes of the run.
        report: called with a row of progress.csv at each log interval, in the main process.
        note: called with a sentence that the user should read.
    """

    config: Any  # LoopConfig of the subclass's kind
    held_out: Labelled | None = None  # what measure() measures on; where there is any, config has a held_out_interval

    def __init__(self, config: LoopConfig, run: RunFolder, world: Processes,
                 report: Callable[[Row], None] = lambda row: None, note: Note = lambda text: None) -> None:
        self.config, self.run_folder, self.world = config, run, world
        self.report, self.note = report, note
        self.step = 0
        self.saved_step: int | None = None
        self.seconds = 0.0  # of training, over all resumed parts
        self.kept_windows: list[Row] = []  # of each process, where the run was stopped between two rows
        self.plan: Plan | None = None  # by time, where one was made
        self.draws_curves, self.last_drawing = True, time.monotonic()

    def run(self, should_stop: Callable[[], bool] = lambda: False, on_step: Callable[[], None] = lambda: None) -> None:
        """Train until config.last_step, max_minutes or should_stop(); save at the intervals and at the end.

        Where should_stop() ended it, the run that resumes writes the rows and pictures that an unbroken one writes.

        Args:
            on_step: called after each step.

        Raises:
            UserError: a loss is NaN or infinite, and nothing is written then, the last good checkpoint stays; or
                the network can't be compiled.
        """
        config = self.config
        keep_freed_memory()
        self.warn()
        if self.world.is_main:
            self.run_folder.begin_progress(self.step)
            self._make_up_for_a_stop()
        self.world.barrier()  # which may take the main process long
        started, seconds_before, window = time.monotonic(), self.seconds, self._first_window()
        stop = self.finished
        while not stop:
            if self.plan is not None:
                self.seconds = seconds_before + time.monotonic() - started
                self.plan.correct(self)
            with compiler_errors_explained():
                window.add(*self.advance())
            on_step()
            elapsed = time.monotonic() - started
            self.seconds = seconds_before + elapsed
            asked, out_of_time = should_stop(), 0 < config.max_minutes * 60 <= elapsed
            stop = self.finished or self.world.any(out_of_time or asked)
            at_once = stop and self.world.any(asked)  # nobody waits for measurements and pictures then
            measuring = self.held_out is not None and self.step % config.held_out_interval == 0
            due = self._ends_a_part or measuring or self.step % config.log_interval == 0
            saving = stop or self._ends_a_part
            if at_once and not due:
                self._save_between_rows(window)
            elif due or saving:
                self._record(window, last=stop and not at_once, judged=saving and not at_once)
                if saving:
                    self.save(pictured=not at_once, last=stop)
                self.world.barrier()  # the main process has more to do than the others
                window = self.new_window()

    @property
    def finished(self) -> bool:
        """Whether the last step is done."""
        return 0 < self.config.last_step <= self.step

    @property
    def _ends_a_part(self) -> bool:
        """Whether an unbroken run writes a checkpoint with samples at this step."""
        return self.finished or self.step % self.config.save_interval == 0

    def _first_window(self):
        """Return empty means, or those that the run was stopped with, where as many processes go on."""
        window = self.new_window()
        if len(self.kept_windows) == self.world.size:
            window.load_state_dict(self.kept_windows[self.world.rank], self.world.device)
        self.kept_windows = []
        return window

    def _save_between_rows(self, window):
        """Write a checkpoint that keeps the means since the last row, for the row that comes next."""
        self._check_finite(window.summary(self.world))
        self.save(pictured=False, windows=self.world.gather(window.state_dict()))

    def _make_up_for_a_stop(self):
        """Make what a signal, or a kill, kept from the row and the pictures of the step that is resumed."""
        row = self.run_folder.progress_of(self.step)
        if row is None or not self._ends_a_part:
            return
        lacking: Row = {}
        if self.held_out is not None and self.finished and not row.get("val_loss"):
            lacking |= self.measure(on_interval=False)
        if not row.get("kid_x1000"):
            lacking |= self.quality()
        if lacking:
            self.run_folder.complete_progress(self.step, lacking)
        unpictured = self.config.num_preview and not self._picture_path.exists()
        if lacking or unpictured or not (self.run_folder / CURVES_NAME).exists():
            self._save_curves()
        if unpictured:
            self._save_picture()

    def seconds_ahead(self) -> float | None:
        """Return the seconds that the rest will take by its plan, else by the steps before, or None where none tell."""
        if self.plan is not None:
            return self.plan.seconds
        if not (self.seconds and self.step and self.config.last_step):
            return None
        return self.seconds / self.step * max(0, self.config.last_step - self.step)

    def rehearse_save(self) -> None:
        """Do the work of a save for the time that it takes, and write nothing."""
        torch.save(self.checkpoint(), io.BytesIO())
        self.quality()
        if self.config.num_preview:
            self.picture()

    def save(self, pictured: bool = True, windows: Sequence[Row] = (), last: bool = False) -> None:
        """Write a checkpoint, and then pictures of curves and samples unless told not to, in the main process.

        Args:
            last: whether the run ends here; before, curves are drawn where the last drawing is CURVES_EVERY ago.
            windows: the state of each process's means, where the row that they are for is still to come.
        """
        if self.world.is_main:
            content = self.checkpoint()
            if windows:
                content["state"]["windows"] = list(windows)
            self.run_folder.save(self.step, **content)
            if pictured:
                if last or time.monotonic() - self.last_drawing >= CURVES_EVERY:
                    self._save_curves()
                self._save_picture()
            else:
                self.note(f"the checkpoint of step {self.step} is written; nothing is measured or drawn at a stop")
        self.saved_step = self.step

    # What a subclass says

    def advance(self) -> tuple[Any, ...]:
        """Take one step and add 1 to `step`; return what the window's add() takes."""
        raise NotImplementedError

    def new_window(self) -> StepMeans:
        """Return empty means, for the steps up to the next row."""
        raise NotImplementedError

    def checkpoint(self) -> dict[str, Any]:
        """Return what RunFolder.save takes beside the step."""
        raise NotImplementedError

    def restore(self, found: dict[str, Any], path: PathLike) -> None:
        """Continue from a checkpoint as RunFolder.read returns it; `path` is for messages."""
        raise NotImplementedError

    # What a subclass may leave as it is

    def warn(self) -> None:
        """Note what the user should know before the first step."""

    def last_rate(self) -> float:
        """Return the learning rate of the step before."""
        return self.config.learning_rate(self.step - 1)

    def measure(self, on_interval: bool) -> dict[str, float]:
        """Return the measurements on held-out data for a row; on_interval: False at the run's end only."""
        return {}

    def quality(self) -> dict[str, float]:
        """Return measurements of samples for the row of a save."""
        return {}

    def picture(self) -> np.ndarray | None:
        """Return a uint8 picture of samples, [height, width, 3], or None."""
        return None

    @property
    def finite(self) -> tuple[str, ...]:
        """Names in a row that must be finite numbers."""
        return "loss", "grad_norm"

    def _record(self, window, last, judged):
        """Write and report the row of a window that ends at this step; judged: with measurements of samples."""
        row = window.summary(self.world)
        self._check_finite(row)
        images = self.config.batch_size * self.world.size
        row |= {"step": self.step, "lr": self.last_rate(), "minutes": self.seconds / 60,
                "images_per_sec": images / row["sec_per_step"]}
        if not self.world.is_main:
            return
        if self.held_out is not None:
            on_interval = self.step % self.config.held_out_interval == 0
            row |= self.measure(on_interval) if on_interval or last else {}
        row |= self.quality() if judged else {}
        self.run_folder.append_progress(row)
        self.report(row)

    def _save_curves(self):
        """Draw curves.png; whatever fails is noted, once, and costs the training nothing more."""
        if not self.draws_curves:
            return
        try:
            draw_curves(self.run_folder / CURVES_NAME, self.run_folder.read_progress())
            self.last_drawing = time.monotonic()
        except ImportError:
            self.draws_curves = False
            self.note(f"{CURVES_NAME} is left out: matplotlib is not installed "
                      f"({install_command('eval', 'matplotlib')})")
        except Exception as error:  # a picture beside the point must not end a run of days
            self.draws_curves = False
            self.note(f"{CURVES_NAME} is left out ({type(error).__name__}: {error})")

    @property
    def _picture_path(self) -> Path:
        return self.run_folder / PICTURES / f"samples{self.step:06d}.png"

    def _save_picture(self):
        if self.config.num_preview and (picture := self.picture()) is not None:
            save_png(self._picture_path, picture)

    def _check_finite(self, row):
        bad = [f"{name} {row[name]}" for name in self.finite if not math.isfinite(row[name])]
        if bad:
            kept = "nothing is saved" if self.saved_step is None else f"the checkpoint of step {self.saved_step} stays"
            raise UserError(f"training broke down by step {self.step}: {', '.join(bad)}, expected finite numbers; "
                            f"{kept}; lower --lr, set --grad_clip 1, or use --precision bf16 or fp32, and run it again")


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for the next step; return whether its allocator can (glibc).

    By default glibc hands large blocks back and has the kernel zero and map them anew at the next step: in a step of
    a network of 1.36 M parameters on a CPU some 50000 page faults, 9 % of its time. Other allocators are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return False
    return all([mallopt(M_MMAP_THRESHOLD, WHOLE_HEAP), mallopt(M_TRIM_THRESHOLD, WHOLE_HEAP)])
