"""scripts/image_sample.py as a user starts it."""
import json

import pytest

from add.data import read_image
from tests.scripts.commands import run
from tests.tiny import make_run

QUICK = ["--device", "cpu", "--threads", 1, "--decode_steps", 3]


def test_the_script_makes_samples_and_continues(tmp_path, capsys):
    command = ["image_sample", "--model_path", make_run(tmp_path / "run"), "--out_dir", tmp_path / "out", *QUICK]
    assert run(*command, "--num_samples", 1) == 0
    first = (tmp_path / "out" / "sample_000000.png").read_bytes()
    assert run(*command, "--num_samples", 2) == 0
    assert f"done: 2 samples in {tmp_path / 'out'}" in capsys.readouterr().out
    assert (tmp_path / "out" / "sample_000000.png").read_bytes() == first
    assert read_image(tmp_path / "out" / "sample_000001.png").shape == (16, 16, 3)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["options"]["num_samples"] == 2


@pytest.mark.parametrize(("words", "message"), [
    ([], "no --model_path was given"),
    (["--model_path", "nowhere"], "nowhere"),
    (["--num_sample", "3"], "did you mean --num_samples"),
    (["--sampler", "obelm"], "--sampler is 'obelm', expected one of"),
])
def test_refusals_are_one_message_and_leave_no_trace(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert run("image_sample", "--out_dir", "out", *words, *QUICK) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert list(tmp_path.iterdir()) == []
