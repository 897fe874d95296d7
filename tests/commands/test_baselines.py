"""scripts/baseline_train.py and baseline_sample.py: every method trains a little, resumes, and its samples change."""
import csv
import json

import numpy as np
import pytest

from add.data import read_image
from tests.commands.commands import run
from tests.tiny import make_images

TRAIN = ["--image_size", 32, "--batch_size", 4, "--log_interval", 1, "--tensorboard", False, "--device", "cpu",
         "--num_preview", 4, "--ema_warmup"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of two domains; only for reading."""
    root = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("mild", "severe")):
        make_images(root / name, count=5, size=32, seed=seed)
    return root


def samples(folder):
    return np.stack([read_image(path).astype(int) for path in sorted(folder.glob("sample_*.png"))])


@pytest.mark.parametrize("method", ["progan", "lofgan", "mixdl"])
def test_a_method_trains_resumes_and_samples(data, tmp_path, method, capsys):
    folder = data if method == "lofgan" else data / "mild"
    references = ["--data_dir", data / "severe"] if method == "lofgan" else []
    command = ["--method", method, "--data_dir", folder, "--run_dir", tmp_path / "run", *TRAIN]
    sample = ["--model_path", tmp_path / "run", "--num_samples", 3, *references, "--device", "cpu"]
    assert run("baseline_train", *command, "--max_steps", 2) == 0
    assert run("baseline_sample", *sample, "--out_dir", tmp_path / "early", "--estimate") == 0
    assert " for 3 images; " in capsys.readouterr().out and not (tmp_path / "early").exists()
    assert run("baseline_sample", *sample, "--out_dir", tmp_path / "early") == 0
    assert f"  add evaluate {folder} {tmp_path / 'early'}" in capsys.readouterr().out
    assert run("baseline_train", *command, "--max_steps", 4) == 0
    assert "resuming from" in capsys.readouterr().out
    with open(tmp_path / "run" / "progress.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert len({row["loss"] for row in rows}) == 4 and len({row["discriminator_loss"] for row in rows}) == 4
    assert read_image(tmp_path / "run" / "samples" / "samples000004.png").shape == (204, 204, 3)
    assert run("baseline_sample", *sample, "--out_dir", tmp_path / "late", "--batch_size", 2) == 0
    early, late = samples(tmp_path / "early"), samples(tmp_path / "late")
    assert late.shape == (3, 32, 32, 3) and np.abs(early - late).mean() > 0.1
    assert np.abs(late[0] - late[1]).mean() > 0.1  # a sample has noise of its own
    assert run("baseline_sample", *sample, "--out_dir", tmp_path / "one", "--batch_size", 1) == 0
    assert np.abs(samples(tmp_path / "one") - late).max() <= 1
    facts = json.loads((tmp_path / "late" / "run.json").read_text())
    assert facts["sampler"] == method and facts["num_images"] == 3
    assert (tmp_path / "late" / "contact_sheet.png").exists()


def test_every_domain_gets_a_generator_of_its_own(data, tmp_path):
    assert run("baseline_train", "--data_dir", data, "--domain", "all", "--run_dir", tmp_path / "runs", *TRAIN,
               "--max_steps", 1) == 0
    for name in ("mild", "severe"):
        train = json.loads((tmp_path / "runs" / name / "config.json").read_text())["train"]
        assert train["data_dir"] == str(data / name) and (tmp_path / "runs" / name / "model000001.pt").exists()


@pytest.mark.parametrize(("script", "argv", "message"), [
    ("baseline_train", ["--method", "progan"], "no --data_dir was given"),
    ("baseline_train", ["--method", "stylegan"], "expected one of progan, lofgan, mixdl"),
    ("baseline_train", ["--method", "lofgan", "--data_dir", "{data}/mild"], "has no subfolders: expected one folder"),
    ("baseline_train", ["--method", "mixdl", "--data_dir", "{data}/mild", "--image_size", 48], "image_size is 48"),
    ("baseline_sample", [], "no --model_path was given"),
    ("baseline_sample", ["--model_path", "{data}"], "holds no checkpoint"),
])
def test_what_cannot_work_is_refused(data, tmp_path, monkeypatch, capsys, script, argv, message):
    monkeypatch.chdir(tmp_path)
    assert run(script, *(str(word).format(data=data) for word in argv)) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "runs").exists()
