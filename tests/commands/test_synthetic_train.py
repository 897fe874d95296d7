"""scripts/synthetic_train.py: a run of one point set, which the model is told apart by."""
import csv
import json

from add.training import load_model
from tests.commands.commands import run

TINY = ["--num_channels", 32, "--num_res_blocks", 1, "--batch_size", 256, "--tensorboard", False, "--device", "cpu",
        "--log_interval", 20, "--preview_steps", 3, "--val_interval", 20]


def test_it_learns_a_point_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("synthetic_train", "--task", 4, *TINY, "--max_steps", 60, "--lr_warmup_steps", 5) == 0
    out = tmp_path / "runs" / "synthetic" / "olympic_rings"
    assert "points of the set OLYMPIC_RINGS" in capsys.readouterr().out
    with open(out / "progress.csv") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["loss"]) < 0.6 * float(rows[0]["loss"])
    assert float(rows[-1]["val_loss"]) < 0.8 * float(rows[0]["val_loss"])
    assert load_model(out, kind="points")[2].model.task == 4
    assert json.loads((out / "config.json").read_text())["data"]["fingerprint"] == "points OLYMPIC_RINGS"
    assert (out / "samples" / "samples000060.png").exists()
    assert run("synthetic_train", "--task", 3, "--run_dir", out, *TINY) == 2  # another set
    assert "task: 4 there, 3 given" in capsys.readouterr().err
    assert run("synthetic_train", "--task", 6, *TINY) == 2
    assert "expected 5 or less" in capsys.readouterr().err
