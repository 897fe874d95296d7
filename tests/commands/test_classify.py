"""scripts/classify.py as a user starts it."""
import json

import pytest

from tests.commands.commands import load, run
from tests.tiny import make_images

QUICK = ["--steps", 2, "--batch_size", 4, "--num_seeds", 1, "--methods", "plain,flips"]


@pytest.fixture
def folders(tmp_path):
    """Return the options naming training and test images of two domains."""
    for i, name in enumerate(("train/a", "train/b", "test/a", "test/b")):
        make_images(tmp_path / name, 3, seed=i)
    return ["--data_dir", tmp_path / "train", "--test_dir", tmp_path / "test", "--out_dir", tmp_path / "out"]


def test_the_script_writes_and_prints_its_table(folders, tmp_path, capsys):
    assert run("classify", *folders, *QUICK) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "out" / "classification.md").read_text() in printed
    assert "flips: 1 runs trained" in printed and f"written: {tmp_path / 'out'}/classification.json" in printed
    result = json.loads((tmp_path / "out" / "classification.json").read_text())
    assert result["settings"]["classifier"]["steps"] == 2 and set(result["tests"]["test"]) == {"plain", "flips"}
    accuracy = result["tests"]["test"]["plain"]["accuracy"]["mean"]
    assert f"| plain | {accuracy:.4f} |" in printed
    assert {path.name for path in (tmp_path / "out" / "runs").iterdir()} == {
        f"{name}_seed0.{kind}" for name in ("plain", "flips") for kind in ("json", "pt")}


def test_all_options_are_there():
    words = ["--network", "densenet121", "--label_rule", "depth", "--lr", "0.1"]
    parsed = load("classify").build_options().parse(words)
    assert (parsed.network, parsed.label_rule, parsed.lr, parsed.num_seeds) == ("densenet121", "depth", 0.1, 5)


@pytest.mark.parametrize(("words", "message"), [
    (["--data_dir", ""], "no --data_dir was given"),
    (["--methods", "flips,magic"], "method 'magic' is unknown: expected one of plain, flips, mixup"),
    (["--label_rule", "looks"], "--label_rule is 'looks', expected one of depth, power, classifier"),
    (["--synthetic_share", "2"], "expected shares between 0 and 1"),
    (["--num_seed", "3"], "did you mean --num_seeds"),
])
def test_refusals_are_one_message_and_leave_no_trace(folders, tmp_path, capsys, words, message):
    assert run("classify", *folders, *QUICK, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "out").exists()
