"""Steps of a study: commands that wait for one another, and what says that they have ended."""
import dataclasses
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import add
from add.data.files import save_json
from add.data.read_back import read_json
from add.errors import UserError
from add.interfaces import Note, PathLike, Row
from add.runtime.child_process import wait_for

PROGRAM = (sys.executable, "-P", "-m", "add")  # in front of every command
DONE, LOGS = "done", "logs"  # folders below that of the steps
DONE_SHAPE = {"command": str, "seconds": float}
RUN_AGAIN = "remove it, and the same study runs that step again"
OLD_SCRIPTS = {"translate": "frequency_generating_m_samples"}  # of commands whose script is named otherwise


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


def run_steps(steps: Iterable[tuple[PathLike, Step]], note: Note = lambda text: None) -> None:
    """Run the steps that have not ended before, one after the other; their output passes through.

    A finished step leaves FOLDER/done/NAME.json; with other arguments it is run anew. `add.study.workflow` runs several
    at a time.

    Args:
        steps: (folder, Step) pairs, each behind those that it needs.
        note: called with a sentence that the user should read.

    Raises:
        UserError: a step failed.
    """
    waiting = [(Path(folder), step) for folder, step in steps]
    for place, (folder, step) in enumerate(waiting, start=1):
        if is_done(folder, step):
            continue
        note(f"\nstep {place} of {len(waiting)}: {step.name}\n\n{step.command}")
        start = time.monotonic()
        if status := execute(step.script, step.arguments):
            raise step_failed(step.name, status)
        write_done(folder, step, time.monotonic() - start)


def step_failed(name: str, status: int, log: PathLike | None = None) -> UserError:
    """Return the UserError that says which step failed."""
    place = "above" if log is None else f"above and in {log}"
    return UserError(f"the step {name} ended with status {status}, its message is {place}: the same study continues "
                     f"with it")


def read_done(folder: Path) -> dict[str, Row]:
    """Return {step: {"command", "seconds"}} of the finished steps of a size."""
    return {path.stem: read_json(path, DONE_SHAPE, RUN_AGAIN) for path in sorted((folder / DONE).glob("*.json"))}


def execute(name: str, arguments: Sequence[str], log: Path | None = None,
            program: Sequence[str] | None = None, own_session: bool = False) -> int:
    """Run a command of the project in a process of its own and return its exit status.

    A Ctrl-C and what else ends this process reach that one, too: it is waited for, since a training saves what it has.

    Args:
        log: file that its output goes to; left out, it passes through. program: left out: PROGRAM.
        own_session: keep from it, and from its reading processes, what is sent to all processes of this one's group:
            it gets each signal once, from here.
    """
    command = [*(program or PROGRAM), name, *arguments]
    environment = own_environment()
    if log is None:
        return wait_for(subprocess.Popen(command, env=environment, start_new_session=own_session), own_session)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as file:
        return wait_for(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment,
                                         start_new_session=own_session), own_session)


def own_environment() -> dict[str, str]:
    """Return an environment by which this very package runs, whatever else of its name lies in the working folder."""
    paths = [str(Path(add.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def is_done(folder: Path, step: Step) -> bool:
    """Return whether a step has ended before, by the same command."""
    done = done_file(folder, step)
    return done.exists() and read_json(done, DONE_SHAPE, RUN_AGAIN)["command"] in step.spellings


def done_file(folder: Path, step: Step) -> Path:
    """Return the file that says that a step has ended."""
    return folder / DONE / f"{step.name}.json"


def write_done(folder: Path, step: Step, seconds: float) -> None:
    """Note that a step has ended."""
    save_json(done_file(folder, step), {"command": step.command, "seconds": round(seconds, 1)})
