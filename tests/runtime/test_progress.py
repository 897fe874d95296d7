import sys
import time

import pytest

from add.runtime.progress import TrainingDisplay, minutes, status_line

ROW = {"step": 500, "loss": 0.03125, "mse": 0.03125, "grad_norm": 0.5, "lr": 1e-4, "sec_per_step": 2.0,
       "images_per_sec": 8.0, "minutes": 16.0}


@pytest.mark.parametrize("value, text", [
    (0.0, "0 s"), (0.75, "45 s"), (3.2, "3 min"), (59.4, "59 min"), (125, "2 h 05 min"), (60, "1 h 00 min")])
def test_durations(value, text):
    assert minutes(value) == text


def test_the_status_line_has_losses_rate_and_eta():
    assert status_line(ROW, 4000, 7000) == (
        "step 500/4000  loss 0.03125  grad_norm 0.5  lr 0.0001  8.0 images/s  ETA 1 h 57 min")
    assert status_line(ROW | {"mse": 0.03, "vb": 0.00125, "val_loss": 0.04}, 0) == (
        "step 500  loss 0.03125  mse 0.03  vb 0.00125  val_loss 0.04  grad_norm 0.5  lr 0.0001  8.0 images/s")


def test_the_eta_is_what_ends_first(capsys):
    for total, max_minutes, expected in ((600, 0, "ETA 3 min"), (600, 2, "ETA 2 min"), (0, 90, "ETA 1 h 30 min")):
        display = TrainingDisplay(total, max_minutes)
        display.begin(400)
        display.started = time.monotonic()
        display.report(ROW)
        display.close()
        assert expected in capsys.readouterr().out
    display = TrainingDisplay()
    display.begin(0)
    display.report(ROW)
    assert "ETA" not in capsys.readouterr().out


def test_other_processes_are_silent(tmp_path, capsys):
    display = TrainingDisplay(10, silent=True)
    display.note("hello")
    display.begin(0, tmp_path / "tensorboard")
    display.report(ROW)
    display.close()
    assert capsys.readouterr() == ("", "") and list(tmp_path.iterdir()) == []


def test_events_are_written_where_tensorboard_is_installed(tmp_path):
    pytest.importorskip("tensorboard")
    display = TrainingDisplay(600)
    display.begin(0, tmp_path / "events")
    display.report(ROW)
    display.close()
    assert [path.name[:6] for path in (tmp_path / "events").iterdir()] == ["events"]


def test_without_tensorboard_training_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    display = TrainingDisplay(600)
    display.begin(0, tmp_path / "events")
    display.report(ROW)
    display.close()
    assert list(tmp_path.iterdir()) == [] and "it is not installed" in capsys.readouterr().out
