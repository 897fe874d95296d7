import contextlib
import os
import sys
import threading
import time

import pytest

from add.runtime.progress import EvaluationBar, TrainingDisplay, losses, minutes, status_line

ROW = {"step": 500, "loss": 0.03125, "mse": 0.03125, "grad_norm": 0.5, "lr": 1e-4, "sec_per_step": 2.0,
       "images_per_sec": 8.0, "minutes": 16.0}


@pytest.mark.parametrize("value, text", [
    (0.0, "0 s"), (0.75, "45 s"), (3.2, "3 min"), (59.4, "59 min"), (125, "2 h 05 min"), (60, "1 h 00 min")])
def test_durations(value, text):
    assert minutes(value) == text


class Clock:
    """Clock that stands still until it is told to go on."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_progress_says_how_much_how_fast_and_how_long(capsys):
    clock = Clock()
    bar = EvaluationBar("translating", unit="image", clock=clock)
    bar.total = 96
    clock.now += 40  # loading, and the first batch
    bar.add(8)
    assert bar.status() == "translating: 8/96 images, 5.0 s/image, after 40 s, ETA 7 min"
    clock.now += 8
    bar.add(16)
    assert bar.status() == "translating: 24/96 images, 2.0 image/s, after 48 s, ETA 36 s"
    clock.now += 36
    bar.add(72)
    bar.close()
    bar.close()
    assert capsys.readouterr().out.splitlines() == [
        "translating: starting", "translating: 0/96 images, after 0 s", "translating: 96 images in 1 min, 1.1 image/s"]


def test_progress_without_a_total_knows_no_end():
    clock = Clock()
    with contextlib.closing(EvaluationBar("evaluations", clock=clock)) as bar:
        assert bar.seconds_left() is None
        clock.now += 10
        bar.add(30)
        assert bar.status() == "evaluations: 30 evals, 3.0 eval/s, after 10 s"
    with contextlib.closing(EvaluationBar("training", clock=clock, max_seconds=60)) as bar:
        clock.now += 20
        assert bar.seconds_left() == 40


def test_a_sign_of_life_comes_also_where_nothing_is_counted(capsys):
    with contextlib.closing(EvaluationBar("measuring", 5, interval=0.02)):
        deadline = time.monotonic() + 20
        seen = ""
        while seen.count("measuring: 0/5 evals") < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
            seen += capsys.readouterr().out
    assert seen.count("measuring: 0/5 evals") >= 3


def test_all_threads_may_count():
    with contextlib.closing(EvaluationBar("measuring", 4000)) as bar:
        threads = [threading.Thread(target=lambda: [bar.add(1) for _ in range(1000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert bar.done == 4000


def test_a_terminal_gets_a_bar_and_no_lines(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with contextlib.closing(EvaluationBar("translating", unit="image")) as bar:
        bar.total = 96
        bar.add(96)
    shown = capsys.readouterr()
    assert shown.out == "" and "96/96" in shown.err and "image/s" in shown.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_that_tells_no_size_gets_a_bar(monkeypatch):
    """Its columns and rows are 0, and tqdm alone would draw nothing."""
    master, slave = os.openpty()
    with open(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with contextlib.closing(EvaluationBar("translating", 96, unit="image")) as bar:
            bar.add(96)
        terminal.flush()
        shown = ""
        while "96/96" not in shown:  # what was written arrives in parts
            shown += os.read(master, 10000).decode()
    os.close(master)
    assert "96/96" in shown and "image/s" in shown


def test_the_first_step_is_told_of(capsys):
    display = TrainingDisplay(600)
    display.begin(400)
    display.stepped()
    display.stepped()
    display.close()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "training: 400/600 steps", "training: 401/600 steps", "training: 2 steps in 0 s"] and "ETA" in lines[1]


def test_the_status_line_has_losses_rate_and_eta():
    assert status_line(ROW, 4000, 7000) == (
        "step 500/4000  loss 0.03125  grad_norm 0.5  lr 0.0001  8.0 images/s  ETA 1 h 57 min")
    assert status_line(ROW | {"kid_x1000": 12.345}, 0) == (
        "step 500  loss 0.03125  grad_norm 0.5  KID 12.3  lr 0.0001  8.0 images/s")


@pytest.mark.parametrize("row, said", [
    ({"loss": 0.03, "mse": 0.03, "val_loss": 0.04}, ["loss 0.03 val 0.04"]),
    ({"loss": 0.01, "mse": 0.03, "val_loss": 0.04}, ["loss 0.01", "mse 0.03 val 0.04"]),  # min-SNR weights
    ({"loss": 0.01, "mse": 0.03}, ["loss 0.01", "mse 0.03"]),
    ({"loss": 0.7, "val_loss": 0.8}, ["loss 0.7 val 0.8"])])
def test_beside_the_held_out_loss_stands_the_one_that_compares(row, said):
    assert losses(row) == said


def test_a_classifier_tells_its_held_out_accuracy_beside_the_other():
    row = ROW | {"accuracy": 0.75, "val_loss": 0.5, "val_accuracy": 0.625}
    del row["mse"]
    assert "loss 0.03125 val 0.5  accuracy 0.75 val 0.625  grad_norm" in status_line(row, 0)


@pytest.mark.parametrize("total, max_minutes, expected", [
    (500, 0, "ETA 3 min"), (500, 2, "ETA 2 min"), (0, 90, "ETA 1 h 30 min")])
def test_the_eta_is_what_ends_first(capsys, total, max_minutes, expected):
    """A step takes 2 s, and at step 400 training goes on."""
    display, clock = TrainingDisplay(total, max_minutes), Clock()
    display.begin(400)
    display.bar.close()
    display.bar = EvaluationBar("training", total or None, "step", initial=400, max_seconds=60 * max_minutes,
                                clock=clock)
    clock.now += 2
    display.stepped()
    display.report(ROW)
    display.close()
    first, row = capsys.readouterr().out.splitlines()[-3:-1]
    assert first.endswith(expected) and row.endswith(expected)


def test_a_training_without_an_end_has_no_eta(capsys):
    display = TrainingDisplay()
    display.begin(0)
    display.stepped()
    display.report(ROW)
    display.close()
    assert "ETA" not in capsys.readouterr().out


def test_what_is_expected_tells_the_time_left_from_the_first_line_on(capsys):
    """At first it alone does, and half-way half of it: 45 s by the rate, and none left of what was expected."""
    clock = Clock()
    bar = EvaluationBar("training", 110, "step", initial=10, expected_seconds=100, clock=clock)
    clock.now += 10
    assert bar.seconds_left() == 90
    bar.add(0)  # the first count, at which the rate begins
    clock.now += 90
    bar.add(50)
    assert bar.seconds_left() == 45
    bar.close()
    assert capsys.readouterr().out.splitlines()[0] == "training: 10/110 steps, after 0 s, ETA 2 min"


def test_a_corrected_end_is_the_one_that_is_shown(capsys):
    display = TrainingDisplay(10)
    display.begin(0)
    display.stepped(10)
    display.stepped(8)
    display.report(ROW | {"step": 2})
    display.close()
    assert "step 2/8 " in capsys.readouterr().out


def test_a_bar_tells_the_time_left_where_only_time_ends_the_work(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    clock = Clock()
    with contextlib.closing(EvaluationBar("training", unit="step", max_seconds=600, clock=clock)) as bar:
        assert "ETA 10 min" in capsys.readouterr().err
        clock.now += 120
        bar.add()
        bar.show("loss 0.5")
    assert "loss 0.5, ETA 8 min" in capsys.readouterr().err
    with contextlib.closing(EvaluationBar("training", 10, unit="step", expected_seconds=600, clock=clock)) as bar:
        assert "ETA 10 min" in capsys.readouterr().err
        clock.now += 60
        bar.add()
        bar.show("loss 0.5")  # now the bar's own time left says it
    shown = capsys.readouterr().err
    assert "loss 0.5" in shown and "loss 0.5, ETA" not in shown


def test_other_processes_are_silent(tmp_path, capsys):
    display = TrainingDisplay(10, silent=True)
    display.note("hello")
    display.begin(0)
    display.stepped()
    display.report(ROW)
    display.close()
    with contextlib.closing(EvaluationBar("translating", 10, silent=True)) as bar:
        bar.add(10)
        bar.note("hello")
    assert capsys.readouterr() == ("", "") and list(tmp_path.iterdir()) == []
