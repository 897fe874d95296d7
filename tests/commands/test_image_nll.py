"""scripts/image_nll.py as a user starts it."""
import json

import pytest

from tests.commands.commands import run
from tests.tiny import make_images, make_run

QUICK = ["--device", "cpu", "--threads", 1, "--timestep_respacing", 4]


def test_the_script_measures_a_folder_and_continues(tmp_path, capsys):
    command = ["image_nll", "--model_path", make_run(tmp_path / "run"), "--out_dir", tmp_path / "out", *QUICK,
               "--data_dir", make_images(tmp_path / "images", count=2)]
    assert run(*command, "--num_samples", 1) == 0
    first = json.loads((tmp_path / "out" / "nll.json").read_text())
    assert run(*command) == 0
    second = json.loads((tmp_path / "out" / "nll.json").read_text())
    assert second["images"][0] == first["images"][0] and second["num_images"] == 2
    assert first["interval"]["low"] is None and second["interval"]["low"] < second["bits_per_dim"]
    assert "bits per dimension (95 % confidence" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "message"), [
    ([], "no --model_path was given"),
    (["--model_path", "nowhere"], "no --data_dir was given"),
    (["--model_path", "nowhere", "--data_dir", "."], "nowhere does not exist"),
    (["--batch_size", "0"], "--batch_size is 0, expected 1 or more"),
])
def test_refusals_are_one_message_and_leave_no_trace(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert run("image_nll", "--out_dir", "out", *words, *QUICK) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert list(tmp_path.iterdir()) == []
