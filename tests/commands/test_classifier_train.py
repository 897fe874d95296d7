"""scripts/classifier_train.py: the classes are the folders; accuracy by noise level; guidance can use the result."""
import csv
import json

import numpy as np
import torch

from add.data import save_png
from add.training import load_model
from tests.commands.commands import run

TINY = ["--image_size", 32, "--classifier_width", 32, "--classifier_depth", 1, "--classifier_attention_resolutions", 8,
        "--classifier_pool", "adaptive", "--batch_size", 8, "--tensorboard", False, "--device", "cpu",
        "--log_interval", 10, "--diffusion_steps", 100]


def grey_images(root, count=10):
    """Write three classes that differ in brightness, and return their folder."""
    random = np.random.default_rng(0)
    for name, grey in (("dark", 30), ("light", 220), ("medium", 125)):
        for i in range(count):
            noise = random.integers(-10, 11, (32, 32, 3))
            save_png(root / name / f"{i}.png", (grey + noise).astype(np.uint8))
    return root


def test_it_learns_the_folders_and_tells_accuracy_by_noise(tmp_path, capsys):
    data, out = grey_images(tmp_path / "data"), tmp_path / "run"
    command = ["--data_dir", data, "--run_dir", out, *TINY, "--lr", 3e-3]
    assert run("classifier_train", *command, "--iterations", 100, "--anneal_lr", "--eval_interval", 50) == 0
    text = capsys.readouterr().out
    assert "held-out accuracy at step 100" in text and "10 equal parts" in text
    with open(out / "progress.csv") as file:
        rows = list(csv.DictReader(file))
    last = rows[-1]
    assert float(last["loss"]) < 0.9 * float(rows[0]["loss"]) and float(last["accuracy"]) > 0.4
    assert float(last["val_accuracy_0"]) > 0.9 > float(last["val_accuracy_9"])
    assert [row["step"] for row in rows if row["val_loss"]] == ["50", "100"]
    classifier, diffusion, loaded = load_model(out, kind="classifier")
    assert loaded.classes == ("dark", "light", "medium") and loaded.model.num_classes == 3
    with torch.no_grad():
        x = torch.tensor([-0.76, 0.72, -0.02])[:, None, None, None].expand(3, 3, 32, 32)
        assert classifier(x, torch.zeros(3)).argmax(dim=1).tolist() == [0, 1, 2]
    assert json.loads((out / "config.json").read_text())["kind"] == "classifier"
    assert not (out / "samples").exists() and diffusion.num_timesteps == 100


def test_it_resumes_and_refuses_what_cannot_work(tmp_path, capsys):
    data, out = grey_images(tmp_path / "data", count=3), tmp_path / "run"
    command = ["--data_dir", data, "--run_dir", out, *TINY, "--noised", False]
    assert run("classifier_train", *command, "--iterations", 2) == 0
    assert run("classifier_train", *command, "--iterations", 3) == 0
    assert "at step 2" in capsys.readouterr().out and (out / "model000003.pt").exists()
    assert run("classifier_train", *command, "--iterations", 3, "--classifier_depth", 2) == 2
    assert "classifier_depth: 1 there, 2 given" in capsys.readouterr().err
    assert run("train", "--data_dir", data, "--class_cond", "--run_dir", out) == 2
    assert "kind: 'classifier' there, 'image' given" in capsys.readouterr().err
    assert run("classifier_train", "--anneal_lr", "--max_steps", 0) == 2
    assert "expected a number of steps" in capsys.readouterr().err
