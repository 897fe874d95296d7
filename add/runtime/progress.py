"""Progress of long work: a bar on a terminal, lines elsewhere; status lines of training."""
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

from add.interfaces import Row
from add.runtime.options import Parsed
from add.runtime.processes import process_group
from add.runtime.run_logs import RunLogs
from add.runtime.world import World

SHOWN = ("vb", "discriminator_loss", "accuracy", "grad_norm")  # of a row, behind its losses
HELD_OUT = {"loss": "val_loss", "mse": "val_loss", "accuracy": "val_accuracy"}  # the same measure of held-out images
INTERVAL = 30.0  # seconds between lines where there is no terminal
WIDTH, HEIGHT = 100, 24  # characters and lines of a terminal that doesn't tell its size


class EvaluationBar:
    """Progress of work that is counted, such as network evaluations; silent on all but the main process.

    On a terminal it is a bar. Elsewhere (a cluster's log, a notebook, a pipe) it is a line at once, one every
    `interval` seconds, also while nothing is counted, and one at the end. Any thread may count.

    Args:
        description: what is being done, such as "translating".
        total: how much there is to do, or None; it may be set later.
        unit: what is counted, in the singular.
        silent: show nothing.
        initial: how much was done before.
        max_seconds: seconds after which the work ends, whatever is done by then; 0: no such limit.
        expected_seconds: what all is expected to take, where that is known before: of the time left it tells at first
            alone, and then the less, the more is done.
        interval: seconds between two lines.
        clock: gives seconds, as time.monotonic does.
    """

    def __init__(self, description: str, total: int | None = None, unit: str = "eval", silent: bool = False, *,
                 initial: int = 0, max_seconds: float = 0.0, expected_seconds: float | None = None,
                 interval: float = INTERVAL, clock: Callable[[], float] = time.monotonic) -> None:
        self.description, self.unit, self.silent, self.clock = description, unit, silent, clock
        self.initial = self.done = initial
        self.max_seconds, self.expected_seconds = max_seconds, expected_seconds
        self._total = total
        self._lock = threading.Lock()
        self._started = self._spoke = clock()
        self._first: tuple[float, int] | None = None  # when the first count came, and what had been done by then
        self._ended = threading.Event()
        on_terminal = sys.stderr.isatty()
        self.bar = tqdm(desc=description, total=total, initial=initial, unit=unit, disable=silent or not on_terminal,
                        **_size())
        self._words = ""
        if max_seconds or expected_seconds is not None:
            self._put_behind_bar(refresh=True)
        self.in_lines = not silent and not on_terminal
        if self.in_lines:
            self.note(f"{description}: starting" if total is None else self.status())
            threading.Thread(target=self._speak_at_intervals, args=(interval,), daemon=True).start()

    @property
    def total(self) -> int | None:
        """How much there is to do, or None where that is not known yet; a better guess may follow the first."""
        return self._total

    @total.setter
    def total(self, total: int | None) -> None:
        with self._lock:
            known, self._total = self._total, total
            self.bar.total = total
        self.bar.refresh()
        if self.in_lines and known is None:
            self.note(self.status())

    def add(self, count: int = 1) -> None:
        """Count what was done."""
        with self._lock:
            self.done += count
            if self._first is None:
                self._first = (self.clock(), self.done)
            self._put_behind_bar(refresh=False)
            self.bar.update(count)

    def show(self, words: str) -> None:
        """Put words behind the bar, where there is one."""
        self._words = words
        self._put_behind_bar(refresh=True)

    def note(self, text: str) -> None:
        """Show a sentence."""
        self._spoke = self.clock()
        if not self.silent:
            say(text)

    def status(self) -> str:
        """Return the line that says how far the work is, such as `translating: 24/96 evals, 3.1 eval/s, ETA 23 s`."""
        of = "" if self.total is None else f"/{self.total}"
        parts = [f"{self.description}: {self.done}{of} {self.unit}s"]
        if rate := self.rate():
            parts.append(_speed(rate, self.unit))
        parts.append(f"after {minutes((self.clock() - self._started) / 60)}")
        if (left := self.seconds_left()) is not None:
            parts.append(f"ETA {minutes(left / 60)}")
        return ", ".join(parts)

    def rate(self) -> float | None:
        """Return what is done in a second, or None before anything is.

        The time before the first count holds what is done once (loading, compiling): it is left out from the second
        count on.
        """
        if self._first is None:
            return None
        since, before = self._first if self.done > self._first[1] else (self._started, self.initial)
        seconds = self.clock() - since
        return (self.done - before) / seconds if seconds > 0 else None

    def seconds_left(self) -> float | None:
        """Return the seconds until all is done or the time is up, or None where neither is known."""
        limits = []
        if (left := self._seconds_of_work()) is not None:
            limits.append(left)
        if self.max_seconds:
            limits.append(self.seconds_before_time_is_up())
        return max(0.0, min(limits)) if limits else None

    def _seconds_of_work(self):
        """Return the seconds until all is done, by the rate and by what was expected, or None."""
        rate = self.rate()
        expected = None if self.expected_seconds is None else self._started + self.expected_seconds - self.clock()
        if self.total is None or not rate:
            return expected
        by_rate = (self.total - self.done) / rate
        if expected is None or self.total <= self.initial:
            return by_rate
        done = (self.done - self.initial) / (self.total - self.initial)
        return done * by_rate + (1 - done) * max(0.0, expected)

    def seconds_before_time_is_up(self) -> float:
        """Return what is left of max_seconds; below 0 where they are over."""
        return self._started + self.max_seconds - self.clock()

    def close(self) -> None:
        """End the bar; where there is none, say what was done in which time."""
        if self._ended.is_set():
            return
        self._ended.set()
        self.bar.close()
        if self.in_lines and self.done > self.initial:
            seconds = self.clock() - self._started
            speed = f", {_speed((self.done - self.initial) / seconds, self.unit)}" if seconds > 0 else ""
            self.note(f"{self.description}: {self.done - self.initial} {self.unit}s in {minutes(seconds / 60)}{speed}")

    def _put_behind_bar(self, refresh):
        """Put the words there, and the time left where the bar itself, which knows its own rate alone, can't tell."""
        parts = [self._words] if self._words else []
        own = self.max_seconds or self._first is None
        if own and (left := self.seconds_left()) is not None:
            parts.append(f"ETA {minutes(left / 60)}")
        self.bar.set_postfix_str(", ".join(parts), refresh=refresh)

    def _speak_at_intervals(self, interval):
        """Say the status where nothing else was said for an interval, until the work ends."""
        wait = interval
        while not self._ended.wait(wait):
            quiet = self.clock() - self._spoke
            if quiet < interval:
                wait = interval - quiet
                continue
            wait = interval
            with contextlib.suppress(OSError, ValueError):  # nobody listens any more: no reason to end the work
                self.note(self.status())


class TrainingDisplay:
    """Sentences, progress, status lines and logs of a run; silent on all but the main process.

    Args:
        total: last step, or 0 where only time or the user ends the run.
        max_minutes: minutes after `begin` at which the run ends, or 0.
        silent: show and write nothing.
    """

    def __init__(self, total: int = 0, max_minutes: float = 0.0, silent: bool = False):
        self.total, self.max_minutes, self.silent = total, max_minutes, silent
        self.bar: EvaluationBar | None = None
        self.logs: RunLogs | None = None

    def note(self, text: str) -> None:
        """Show a sentence."""
        if self.bar is not None:
            self.bar.note(text)
        elif not self.silent:
            say(text)

    def begin(self, step: int, logs: RunLogs | None = None, expected_seconds: float | None = None) -> None:
        """Start the progress at `step`.

        Args:
            logs: what the rows go to as well.
            expected_seconds: what the steps from there on are expected to take, or None where nothing tells.
        """
        self.logs = logs
        self.bar = EvaluationBar("training", self.total or None, "step", self.silent, initial=step,
                                 max_seconds=60 * self.max_minutes, expected_seconds=expected_seconds)

    def stepped(self, total: int | None = None) -> None:
        """Count a step; the first one is told of, with its time and what the whole run will take; `begin` first.

        Args:
            total: the last step, where that may have changed.
        """
        assert self.bar is not None, "stepped() was called before begin()"
        if total and total != self.total:
            self.total = self.bar.total = total
        first = self.bar.done == self.bar.initial
        self.bar.add()
        if first and self.bar.in_lines:
            self.bar.note(self.bar.status())

    def report(self, row: Row) -> None:
        """Show one row of progress.csv; `begin` comes first."""
        if self.silent:
            return
        assert self.bar is not None, "report() was called before begin()"
        self.bar.show(" ".join([*losses(row)[-1:], *kid_words(row)]))
        self.note(status_line(row, self.total, self.bar.seconds_left()))
        if self.logs is not None:
            self.logs.row(row)

    def close(self) -> None:
        """End the progress and the logs."""
        for part in (self.bar, self.logs):
            if part is not None:
                part.close()


def status_line(row: Row, total: int, seconds_left: float | None = None) -> str:
    """Return the status line of a row of progress.csv, such as `step 500/4000  loss 0.0312 ...  ETA 12 min`."""
    parts = [f"step {row['step']}" + (f"/{total}" if total else "")]
    parts += losses(row) + [_beside_held_out(row, name) for name in SHOWN if name in row] + kid_words(row)
    parts += [f"lr {row['lr']:.2g}", f"{row['images_per_sec']:.1f} images/s"]
    if seconds_left is not None:
        parts.append(f"ETA {minutes(seconds_left / 60)}")
    return "  ".join(parts)


def losses(row: Row) -> list[str]:
    """Return the losses of a row of progress.csv as text; the last one has beside it what compares with it.

    The held-out loss is a plain mean squared error: beside a loss that weights timesteps (min-SNR) or has further terms
    it would tell nothing.
    """
    weighted = "mse" in row and row["mse"] != row["loss"]
    return [f"loss {row['loss']:.4g}", _beside_held_out(row, "mse")] if weighted else [_beside_held_out(row, "loss")]


def kid_words(row: Row) -> list[str]:
    """Return [`KID 12.3`], of the samples of --preview_kid, or [] of a row without it."""
    return [f"KID {row['kid_x1000']:.1f}"] if "kid_x1000" in row else []


def _beside_held_out(row, name):
    """Return a measure of a row as text, such as `mse 0.031 val 0.033`: the same of held-out images beside it."""
    held_out = HELD_OUT.get(name)
    return f"{name} {row[name]:.4g}" + (f" val {row[held_out]:.4g}" if held_out in row else "")


def minutes(value: float) -> str:
    """Return a duration in minutes as text, such as `45 s`, `3 min` or `2 h 05 min`."""
    whole = round(value)
    if value < 1:
        return f"{round(value * 60)} s"
    return f"{whole} min" if whole < 60 else f"{whole // 60} h {whole % 60:02d} min"


def _size():
    """Return tqdm's options of size: the terminal's own, or a fixed one where it tells none, as in some containers."""
    try:
        known = os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):
        known = False
    return {"dynamic_ncols": True} if known else {"ncols": WIDTH, "nrows": HEIGHT}


def _speed(rate, unit):
    """Return a rate per second as text: `12.3 step/s`, and of slow work `5.3 s/step`."""
    return f"{rate:.1f} {unit}/s" if rate >= 1 else f"{1 / rate:.1f} s/{unit}"


def say(text: str) -> None:
    """Print a sentence at once, above a bar where there is one."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


@contextlib.contextmanager
def processes_and_bar(parsed: Parsed, what: str = "evaluations", total: int | None = None, unit: str = "eval"
                      ) -> Iterator[tuple[World, EvaluationBar]]:
    """Give the processes of a command with the options device, threads and timeout, and the progress of `what`."""
    with (process_group(parsed.device, parsed.threads, parsed.timeout) as world,
          contextlib.closing(EvaluationBar(what, total, unit, silent=not world.is_main)) as bar):
        yield world, bar
