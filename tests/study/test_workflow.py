"""A study's steps on Snakemake: side by side, each after what it needs, once, with failures and Ctrl-C."""
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from add.errors import UserError
from add.study import study_steps, workflow
from add.study.study_steps import Step, read_done, run_steps
from add.study.workflow import FILE, engine_words, own_environment, run_workflow, write_workflow

pytest.importorskip("snakemake")
# A command of a study: notes when it began and ended; waits for others to begin, fails, or saves when a signal ends it.
PROGRAM = """
import pathlib, signal, sys, time
def stop(number, frame):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, stop)
root, (name, *words) = pathlib.Path(sys.argv[0]).parent, sys.argv[1:]
with open(root / "order.txt", "a") as file:
    file.write(f"{name} begins\\n")
(root / f"{name}.begun").touch()
print("hello", name)
try:
    for word in words:
        if word.startswith("after="):
            end = time.monotonic() + 30
            while not (root / f"{word[6:]}.begun").exists() and time.monotonic() < end:
                time.sleep(0.02)
        elif word == "fail":
            sys.exit("what went wrong")
        else:
            time.sleep(float(word))
except KeyboardInterrupt:
    time.sleep(0.5)
    (root / f"{name}.saved").touch()
with open(root / "order.txt", "a") as file:
    file.write(f"{name} ends\\n")
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder for a study whose commands are PROGRAM."""
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setattr(study_steps, "PROGRAM", (sys.executable, str(tmp_path / "program.py")))
    return tmp_path


def heeding():
    """Let a process heed SIGINT, which those of a shell's background job ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def order(place):
    return (place / "order.txt").read_text().splitlines()


def test_steps_run_side_by_side_each_after_what_it_needs_and_once(place, capfd):
    """a and b begin before either ends, c waits for both; what ran one by one before is not run again."""
    steps = [(place / "n 5", Step("old", "old", ())), (place / "n 5", Step("a", "a", ("after=b",))),
             (place / "n 5", Step("b", "b", ("after=a",))), (place / "n 5", Step("c", "c", (), ("a", "b", "old")))]
    run_steps(steps[:1])
    assert capfd.readouterr().out == "hello old\n"
    run_workflow(write_workflow(place, steps), jobs=2)
    lines = order(place)
    assert lines[:2] == ["old begins", "old ends"] and set(lines[2:4]) == {"a begins", "b begins"}
    assert lines[-2:] == ["c begins", "c ends"] and len(lines) == 8
    said = capfd.readouterr().out
    assert "add a after=b\n  > " in said and "c done in 0 s (4 of 4 steps)" in said and "hello" not in said
    assert (place / "n 5" / "logs" / "a.txt").read_text() == "hello a\n"
    assert set(read_done(place / "n 5")) == {"old", "a", "b", "c"}
    assert sorted(path.name for path in place.iterdir() if path.name.startswith(".")) == [".workflow"]
    steps[1] = (place / "n 5", Step("a", "a", ("0",)))  # a step that has changed runs again, and nothing else
    run_workflow(write_workflow(place, steps), jobs=2)
    assert order(place)[8:] == ["a begins", "a ends"]
    assert read_done(place / "n 5")["a"]["command"] == "add a 0"


def test_a_failure_lets_the_others_end_begins_no_more_and_is_told(place, capfd):
    steps = [(place, Step("bad", "bad", ("after=good", "fail"))), (place, Step("good", "good", ("2",))),
             (place, Step("later", "later", (), ("good",)))]
    with pytest.raises(UserError, match=r"the step bad ended with status 1, its message is above and in .*bad\.txt"):
        run_workflow(write_workflow(place, steps), jobs=2)
    assert "what went wrong" in capfd.readouterr().out
    assert set(read_done(place)) == {"good"} and "later begins" not in order(place)


@pytest.mark.parametrize(("ends", "number", "jobs"), [(os.killpg, signal.SIGINT, 2), (os.kill, signal.SIGTERM, 2),
                                                      (os.kill, signal.SIGTERM, 1)])
def test_a_step_that_a_signal_ends_saves_and_does_not_count_as_finished(place, ends, number, jobs):
    """A Ctrl-C, as a terminal sends it, to all processes of the group; `kill`, to the study alone: none goes on."""
    steps = [(place, Step("slow", "slow", ("60",))), (place, Step("after", "after", (), ("slow",)))]
    path = write_workflow(place, steps)
    code = f"""
import pathlib
from add.study import study_steps, workflow
study_steps.PROGRAM = {study_steps.PROGRAM!r}
path, steps = pathlib.Path({str(path)!r}), [(pathlib.Path({str(place)!r}), study_steps.Step("slow", "slow", ("60",)))]
study_steps.run_steps(steps) if {jobs} == 1 else workflow.run_workflow(path, {jobs})
"""
    command = subprocess.Popen([sys.executable, "-c", code], env=own_environment(), start_new_session=True,
                               preexec_fn=heeding)
    end = time.monotonic() + 60
    while not (place / "slow.begun").exists() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.3)
    ends(command.pid, number)
    status = command.wait(60)
    assert status == 143 if number == signal.SIGTERM else status != 0
    assert (place / "slow.saved").exists() and "after begins" not in order(place) and read_done(place) == {}


def test_a_workflow_says_what_each_step_needs_of_a_machine(place):
    steps = [(place / "n5", Step("train_mild", "train", ())), (place / "n5", Step("classify", "classify", (), (
        "train_mild",)))]
    found = json.loads(write_workflow(place, steps, threads=4, gpus=1).read_text())
    assert [(row["rule"], row["threads"], row["gpu"]) for row in found["steps"]] == [
        ("n5_train_mild", 4, 1), ("n5_classify", 4, 0)]
    assert found["steps"][1]["needs"] == [found["steps"][0]["done"]]
    words = engine_words(place / FILE)
    assert words[0] == "snakemake" and os.path.isfile(words[2])
    with pytest.raises(UserError, match="has a brace in its name"):
        write_workflow(place, [(place / "n5", Step("train_{x}", "train", ()))])


def test_what_to_install_is_told(place, monkeypatch):
    monkeypatch.setattr(workflow.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match='needs Snakemake.*pip install "snakemake>=8"'):
        run_workflow(place / FILE, jobs=2)
