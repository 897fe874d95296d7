"""One step of a study's workflow: `python -m add.study.workflow_step OUT/workflow.json RULE`, as Snakemake starts it.

Runs the step's command, keeps its output in a log, and writes the file that says that it has ended. The last lines of
a failed command's log are printed. A step that a signal ends hands it on to its command, waits for it,
and does not count as finished.
"""
import os
import sys
import time
from pathlib import Path

from add.data.files import save_json
from add.data.read_back import read_json
from add.interfaces import Row
from add.study.study_steps import Step, execute, write_done
from add.study.workflow import FAILED

SHOWN_LINES = 20  # of a failed command's log
INTERRUPTED = 130
STEP = {"rule": str, "name": str, "folder": str, "script": str, "arguments": [str], "done": str, "log": str}
SHAPE = {"steps": [STEP], "program": [str], "directory": str}


def main(path: str, rule: str) -> int:
    """Run a step of a workflow and return its exit status."""
    workflow = read_json(path, SHAPE)
    found = next(step for step in workflow["steps"] if step["rule"] == rule)
    step, log = Step(found["name"], found["script"], tuple(found["arguments"])), Path(found["log"])
    os.chdir(workflow["directory"])  # where the study was started: its commands name files from there
    print(f"\n{step.command}\n  > {log}", flush=True)
    start = time.monotonic()
    try:
        status = execute(step.script, step.arguments, log, workflow["program"], own_session=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    if status:
        shown = log.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN_LINES:]
        print("\n".join(shown), flush=True)
        save_json(Path(path).with_name(FAILED), {"step": step.name, "status": status, "log": str(log)})
        return status
    seconds = time.monotonic() - start
    write_done(Path(found["folder"]), step, seconds)
    print(f"{step.name} done in {seconds:.0f} s ({_ended(workflow)} of {len(workflow['steps'])} steps)", flush=True)
    return 0


def _ended(workflow: Row) -> int:
    return sum(Path(step["done"]).exists() for step in workflow["steps"])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
