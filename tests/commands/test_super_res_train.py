"""scripts/super_res_train.py: pairs are made from large images, and the model depends on the small one."""
import csv

import torch

from add.data import read_image
from add.training import load_model
from tests.commands.commands import run
from tests.tiny import make_images


def test_it_trains_on_pairs_and_resumes(tmp_path, capsys):
    images, out = make_images(tmp_path / "images", count=5, size=32), tmp_path / "run"
    command = ["--data_dir", images, "--run_dir", out, "--large_size", 32, "--small_size", 8, "--num_channels", 32,
               "--num_res_blocks", 1, "--attention_resolutions", "", "--batch_size", 4, "--num_preview", 3,
               "--preview_steps", 2, "--tensorboard", False, "--device", "cpu", "--lr", 1e-3, "--log_interval", 20,
               "--prediction", "v", "--val_fraction", 0.2]
    assert run("super_res_train", *command, "--max_steps", 40) == 0
    with open(out / "progress.csv") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["loss"]) < 0.8 * float(rows[0]["loss"]) and float(rows[-1]["val_loss"]) > 0
    assert read_image(out / "samples" / "samples000040.png").shape == (304, 304, 3)  # small, made, true: 3 x 3
    network, _, loaded = load_model(out, kind="super_res")
    assert (loaded.model.large_size, loaded.model.small_size) == (32, 8)
    x, t, low_res = torch.randn(2, 3, 32, 32), torch.tensor([10, 10]), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert (network(x, t, low_res=low_res) - network(x, t, low_res=-low_res)).abs().max() > 0.01
    assert run("super_res_train", *command, "--max_steps", 41) == 0
    assert "at step 40" in capsys.readouterr().out
    assert run("super_res_train", *command, "--small_size", 16) == 2
    assert "small_size: 8 there, 16 given" in capsys.readouterr().err


def test_a_folder_must_be_given(capsys):
    assert run("super_res_train") == 2
    assert "no --data_dir was given" in capsys.readouterr().err
