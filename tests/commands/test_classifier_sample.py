"""scripts/classifier_sample.py as a user starts it."""
import json

import numpy as np

from add.data import read_image
from tests.commands.commands import run
from tests.tiny import make_run

QUICK = ["--device", "cpu", "--threads", 1]


def test_the_script_samples_the_classifier_s_classes(tmp_path, capsys):
    """guided-diffusion's flags: DDIM on some steps, one scale; the same command again makes nothing twice."""
    model = make_run(tmp_path / "model", image_size=32)
    classifier = make_run(tmp_path / "classifier", kind="classifier", classes=["mild", "severe"])
    command = ["classifier_sample", "--model_path", model, "--classifier_path", classifier, "--classifier_scale", 4.0,
               "--timestep_respacing", "ddim4", "--use_ddim", "True", "--num_samples", 3, "--batch_size", 2,
               "--save_npz", "True", "--out_dir", tmp_path / "out", *QUICK]
    assert run(*command) == 0
    assert f"done: 3 samples in {tmp_path / 'out'}" in capsys.readouterr().out
    assert (tmp_path / "out" / "labels.csv").read_text().splitlines()[1:] == [
        "sample_000000.png,0,mild", "sample_000001.png,1,severe", "sample_000002.png,0,mild"]
    images = [read_image(tmp_path / "out" / f"sample_{i:06d}.png") for i in range(3)]
    with np.load(tmp_path / "out" / "samples_3x32x32x3.npz") as archive:
        np.testing.assert_array_equal(archive["arr_0"], images)
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert facts["sampler"] == "ddim" and facts["options"]["classifier_scale"] == 4.0
    assert (facts["nfe_per_image"], facts["classifier_nfe_per_image"]) == (4, 4)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("sample_*.png")}
    assert run(*command) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("sample_*.png")} == made


def test_without_a_classifier_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("classifier_sample", "--model_path", make_run(tmp_path / "model"), "--out_dir", "out", *QUICK) == 2
    assert "no --classifier_path was given: expected a checkpoint or run folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
