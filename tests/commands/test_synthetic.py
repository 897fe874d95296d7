"""scripts/synthetic_sample.py, synthetic_translation.py and synthetic_cycle.py as a user starts them."""
import json

import numpy as np
import pytest

from tests.commands.commands import run
from tests.point_runs import make_point_run

QUICK = ["--device", "cpu", "--threads", 1, "--num_samples", 30, "--decode_steps", 3]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make_point_run(folder / "moons", task=0, seed=1)
    make_point_run(folder / "checkerboard", task=1, seed=2)
    return folder


def test_samples_are_made_once(runs, tmp_path, capsys):
    command = ["synthetic_sample", "--task", 1, "--models_dir", runs, "--out_dir", tmp_path, *QUICK]
    assert run(*command) == 0
    said = capsys.readouterr().out
    assert "latent: mean" in said and f"done: 30 points, overview.png, run.json in {tmp_path / 'sample_1'}" in said
    assert np.load(tmp_path / "sample_1" / "points.npy").shape == (30, 2)
    assert run(*command) == 0
    assert f"finished already: {tmp_path / 'sample_1'}" in capsys.readouterr().out


def test_a_translation_and_its_cycle(runs, tmp_path, capsys):
    flags = ["--models_dir", runs, "--out_dir", tmp_path, "--encode_steps", 3, *QUICK]
    assert run("synthetic_translation", "--source", 1, "--target", 0, *flags) == 0
    assert run("synthetic_cycle", "--source", 1, "--target", 0, *flags) == 0
    assert "L2 distance of the round trip: mean" in capsys.readouterr().out
    there, cycle = tmp_path / "translation_1_0", tmp_path / "translation_cycle_1_0"
    np.testing.assert_array_equal(np.load(there / "target.npy"), np.load(cycle / "target.npy"))
    distance = np.linalg.norm(np.load(cycle / "source_2.npy") - np.load(cycle / "source.npy"), axis=1)
    errors = json.loads((cycle / "run.json").read_text())["cycle_error"]
    assert errors["max"] == pytest.approx(distance.max()) and errors["mean"] == pytest.approx(distance.mean())


@pytest.mark.parametrize(("name", "words", "message"), [
    ("synthetic_sample", ["--models_dir", "nowhere"], "nowhere holds no model of point set 0"),
    ("synthetic_translation", ["--targets", "3"], "did you mean --target"),
    ("synthetic_cycle", ["--source", "7"], "--source is 7, expected 5 or less"),
])
def test_refusals_are_one_message_and_leave_no_trace(tmp_path, monkeypatch, capsys, name, words, message):
    monkeypatch.chdir(tmp_path)
    assert run(name, "--out_dir", "out", *words, *QUICK) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert list(tmp_path.iterdir()) == []
