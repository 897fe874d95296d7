"""Steps of a study: commands that wait for one another, and a runner that keeps several going at a time."""
import concurrent.futures
import dataclasses
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import add
from add.data.files import save_json
from add.data.read_back import read_json
from add.errors import UserError
from add.interfaces import Count, Note, PathLike, Row

PROGRAM = (sys.executable, "-P", "-m", "add")  # in front of every command
DONE, LOGS = "done", "logs"  # folders below that of the steps
DONE_SHAPE = {"command": str, "seconds": float}
RUN_AGAIN = "remove it, and the same study runs that step again"
OLD_SCRIPTS = {"translate": "frequency_generating_m_samples"}  # of commands whose script is named otherwise
SHOWN_LINES = 20  # of a failed command's log


@dataclasses.dataclass(frozen=True)
class Step:
    """One command of a study.

    Args:
        name: unique in its folder.
        script, arguments: what is run.
        needs: names of the steps of its folder that come first.
    """

    name: str
    script: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command line, as a user would type it."""
        return shlex.join(["add", self.script, *self.arguments])

    @property
    def spellings(self) -> tuple[str, str]:
        """The command line, and the one that earlier versions noted for it."""
        script = OLD_SCRIPTS.get(self.script, self.script)
        return self.command, shlex.join(["python", f"scripts/{script}.py", *self.arguments])


def run_steps(steps: Iterable[tuple[PathLike, Step]], jobs: int = 1, note: Note = lambda text: None,
              count: Count = lambda number: None) -> None:
    """Run the steps that have not ended before, each when what it needs is done.

    A finished step leaves FOLDER/done/NAME.json; with other arguments it is run anew. Of several at a time, each writes
    its output to FOLDER/logs/NAME.txt; a single one lets it pass through.

    Args:
        steps: (folder, Step) pairs, each behind those that it needs.
        jobs: how many to run at a time.
        note: called with a sentence that the user should read, from one thread at a time.
        count: called with 1 for each step that ended, where several run at a time.

    Raises:
        UserError: a step failed; those that were running are waited for, and no other is begun.
        KeyboardInterrupt: as it came; steps that end after it do not count as finished, for trainings stop early then.
    """
    speaking, interrupted, failed = threading.Lock(), threading.Event(), threading.Event()

    def say(text):
        with speaking:
            note(text)

    def run(folder, step):
        if not _is_done(folder, step):
            try:
                _run_step(folder, step, jobs > 1, interrupted, say)
            except UserError:
                failed.set()
                raise

    waiting = [(Path(folder), step) for folder, step in steps]
    if jobs == 1:
        for place, (folder, step) in enumerate(waiting, start=1):
            if not _is_done(folder, step):
                say(f"\nstep {place} of {len(waiting)}: {step.name}")
            run(folder, step)
        return
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        try:
            _run_side_by_side(waiting, jobs, lambda *step: pool.submit(run, *step), count, failed)
        except KeyboardInterrupt:
            interrupted.set()
            raise


def _run_side_by_side(waiting, jobs, submit, count, failed):
    """Submit (folder, Step) pairs, so many at a time and each when what it needs has ended; submit gives a future.

    None is begun once the event `failed` is set.
    """
    unfinished = {(folder, step.name) for folder, step in waiting}
    running: dict[concurrent.futures.Future[None], tuple[Path, str]] = {}
    while waiting or running:
        for folder, step in [entry for entry in waiting
                             if not any((entry[0], name) in unfinished for name in entry[1].needs)]:
            if len(running) < jobs and not failed.is_set():
                waiting.remove((folder, step))
                running[submit(folder, step)] = (folder, step.name)
        ended, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
        for future in ended:
            unfinished.discard(running.pop(future))
            future.result()
            count(1)


def read_done(folder: Path) -> dict[str, Row]:
    """Return {step: {"command", "seconds"}} of the finished steps of a size."""
    return {path.stem: read_json(path, DONE_SHAPE, RUN_AGAIN) for path in sorted((folder / DONE).glob("*.json"))}


def execute(name: str, arguments: Sequence[str], log: Path | None = None) -> int:
    """Run a command of the project in a process of its own and return its exit status.

    A Ctrl-C reaches that process, too: it is waited for, since a training saves what it has.

    Args:
        log: file that its output goes to; left out, it passes through.
    """
    command = [*PROGRAM, name, *arguments]
    # This very package runs, whatever else of its name lies in the folder that the study runs in.
    paths = [str(Path(add.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    if log is None:
        return _wait(subprocess.Popen(command, env=environment))
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as file:
        return _wait(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment))


def _wait(process):
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def _is_done(folder, step):
    done = _done_file(folder, step)
    return done.exists() and read_json(done, DONE_SHAPE, RUN_AGAIN)["command"] in step.spellings


def _done_file(folder, step):
    return folder / DONE / f"{step.name}.json"


def _run_step(folder, step, to_log, interrupted, note):
    log = folder / LOGS / f"{step.name}.txt" if to_log else None
    note(f"\n{step.command}" + (f"\n  > {log}" if to_log else ""))
    start = time.monotonic()
    status = execute(step.script, step.arguments, log)
    seconds = round(time.monotonic() - start, 1)
    if interrupted.is_set():
        return
    if status:
        said = "is above"
        if log is not None:
            note("\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN_LINES:]))
            said = f"is above and in {log}"
        raise UserError(f"the step {step.name} ended with status {status}, its message {said}: the same study "
                        f"continues with it")
    save_json(_done_file(folder, step), {"command": step.command, "seconds": seconds})
    if to_log:
        note(f"{step.name} done in {seconds:.0f} s")
