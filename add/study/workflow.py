"""A study as a workflow of Snakemake: several steps at a time, here or on a cluster.

Köster and Rahmann 2012 (Bioinformatics 28, 2520); Mölder et al. 2021 (F1000Research 10, 33). The rules are those of the
package's Snakefile, which reads the steps from OUT/workflow.json. Each runs `add.study.workflow_step`. What is done is
told by the same files as where steps run one by one, so that a study can go on either way.
"""
import importlib.util
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from add.data.files import save_json
from add.data.read_back import read_json
from add.errors import UserError
from add.extras import install_command
from add.interfaces import PathLike, Row
from add.runtime.child_process import wait_for
from add.study import study_steps
from add.study.study_steps import LOGS, Step, done_file, is_done, own_environment, step_failed

SNAKEFILE = Path(__file__).with_name("Snakefile")
FILE, FAILED, MESSAGES = "workflow.json", "failed.json", "snakemake.txt"
NETWORKS = ("train", "translate", "image_sample", "baseline_train", "baseline_sample", "soft_labels")  # may use a GPU
RUNNER = (sys.executable, "-P", "-m", "add.study.workflow_step")
FAILURE = {"step": str, "status": int, "log": str}


def write_workflow(out_dir: PathLike, steps: Iterable[tuple[PathLike, Step]], threads: int = 1, gpus: int = 0) -> Path:
    """Write OUT/workflow.json of (folder, Step) pairs and return its path; changed steps are to be redone.

    Args:
        threads: of each step. gpus: of the machine; with some, a step of a network asks for one.
    """
    out = Path(out_dir).resolve()
    pairs = [(Path(folder).resolve(), step) for folder, step in steps]
    for folder, step in pairs:
        if not is_done(folder, step):
            done_file(folder, step).unlink(missing_ok=True)
    if braced := [str(folder / step.name) for folder, step in pairs if set("{}") & set(str(folder / step.name))]:
        raise UserError(f"{braced[0]} has a brace in its name, which a workflow takes for a placeholder: expected "
                        f"names without; rename it, or take --jobs 1")
    rows: list[Row] = []
    for folder, step in pairs:
        needs = [] if is_done(folder, step) else [str(done_file(folder, Step(name, "", ()))) for name in step.needs]
        rows.append({"rule": _rule(out, folder, step.name), "name": step.name, "folder": str(folder),
                     "script": step.script, "arguments": list(step.arguments), "done": str(done_file(folder, step)),
                     "needs": needs,  # of what is done none, so that nothing makes it run again
                     "log": str(folder / LOGS / f"{step.name}.txt"), "threads": max(1, threads),
                     "gpu": int(gpus > 0 and step.script in NETWORKS)})
    path = out / FILE
    save_json(path, {"steps": rows, "file": str(path), "program": list(study_steps.PROGRAM), "runner": list(RUNNER),
                     "directory": os.getcwd()})
    return path


def _rule(out, folder, name):
    """Return the name of a step's rule, unique in the study: letters, digits and _."""
    parts = [*folder.relative_to(out).parts, name]
    return "_".join("".join(letter if letter.isalnum() else "_" for letter in part) for part in parts)


def run_workflow(path: Path, jobs: int, restarts: int = 0, gpus: int = 0) -> None:
    """Run what a workflow lacks, so many steps at a time; each writes its output to FOLDER/logs/NAME.txt.

    Raises:
        UserError: Snakemake is not installed, or a step failed; those that were running are waited for, and no other is
            begun.
        KeyboardInterrupt, SystemExit: a Ctrl-C or another signal came, and the running steps have ended; they do not
            count as finished.
    """
    if importlib.util.find_spec("snakemake") is None:
        raise UserError(f"--jobs {jobs} needs Snakemake, which is not installed: expected it to import; run "
                        f"`{install_command('study', 'snakemake')}`, or take --jobs 1")
    failed = path.with_name(FAILED)
    failed.unlink(missing_ok=True)
    own = path.parent / ".workflow"
    own.mkdir(exist_ok=True)
    command = [sys.executable, "-m", *engine_words(path), "--cores", str(jobs), "--directory", str(own), "--retries",
               str(restarts), *(["--resources", f"gpu={gpus}"] if gpus else [])]
    with open(own / MESSAGES, "w", encoding="utf-8") as messages:
        status = wait_for(subprocess.Popen(command, env=own_environment(), stderr=messages, start_new_session=True),
                          own_session=True, whole_group=True)
    if status and failed.exists():
        found = read_json(failed, FAILURE)
        raise step_failed(found["step"], found["status"], found["log"])
    if status:
        raise UserError(f"Snakemake ended with status {status}, its messages are in {own / MESSAGES}: expected it to "
                        f"run the steps of {path}; the same study continues, or take --jobs 1")


def engine_words(path: Path) -> list[str]:
    """Return the words that start Snakemake on a workflow, but for where and how many at a time.

    Its lock is left out: a killed run would leave it behind. A step that is done needs no files in the workflow, so
    that no copied or touched one makes it run again.
    """
    return ["snakemake", "-s", str(SNAKEFILE), "--configfile", str(path), "--nolock", "--rerun-incomplete",
            "--rerun-triggers", "mtime"]


def elsewhere(path: Path) -> str:
    """Return the command that starts a workflow on a cluster with Slurm, as typed."""
    return shlex.join([*engine_words(path), "--executor", "slurm", "--jobs", "20"])
