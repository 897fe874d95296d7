"""scripts/super_res_sample.py as a user starts it, after image_sample.py."""
import json

import numpy as np
import pytest

from add.data import read_image
from tests.commands.commands import run
from tests.tiny import make_run

QUICK = ["--device", "cpu", "--threads", 1, "--decode_steps", 3]


def test_samples_become_large(tmp_path):
    """From the folder and from the npz of image_sample.py, which hold the same images and classes."""
    model = make_run(tmp_path / "model", class_cond=True, num_classes=2)
    large = make_run(tmp_path / "large", diffusion={"prediction": "x_start"}, kind="super_res", class_cond=True,
                     num_classes=2)
    assert run("image_sample", "--model_path", model, "--num_samples", 3, "--save_npz", "--out_dir", tmp_path / "small",
               *QUICK) == 0
    found = {}
    for name, base in (("folder", tmp_path / "small"), ("npz", tmp_path / "small" / "samples_3x16x16x3.npz")):
        assert run("super_res_sample", "--model_path", large, "--base_samples", base, "--batch_size", 2, "--save_npz",
                   "--out_dir", tmp_path / name, *QUICK) == 0
        with np.load(tmp_path / name / "samples_3x32x32x3.npz") as archive:
            found[name] = archive["arr_0"]
            assert archive["arr_1"].tolist() == [0, 1, 0]
    np.testing.assert_array_equal(found["folder"], found["npz"])
    np.testing.assert_array_equal(found["npz"][2], read_image(tmp_path / "npz" / "sample_000002.png"))
    assert np.abs(found["npz"][0].astype(int) - found["npz"][2]).mean() > 1
    assert json.loads((tmp_path / "npz" / "run.json").read_text())["nfe_per_image"] == 3


@pytest.mark.parametrize(("words", "message"), [
    ([], "no --model_path was given"), (["--model_path", "nowhere"], "no --base_samples were given"),
    (["--small_sise", "3"], "did you mean --small_size")])
def test_refusals_are_one_message_and_leave_no_trace(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert run("super_res_sample", "--out_dir", "out", *words, *QUICK) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert list(tmp_path.iterdir()) == []
