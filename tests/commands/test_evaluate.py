"""scripts/evaluate.py as a user starts it."""
import json

import pytest

from tests.commands.commands import load, run
from tests.tiny import make_images

QUIET = ["--device", "cpu", "--threads", 1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return (the output folder, the folders of 4 real and 4 other images); only for reading."""
    root = tmp_path_factory.mktemp("evaluated")
    return root / "out", make_images(root / "real", 4, 32, seed=1), make_images(root / "fake", 4, 32, seed=2)


def test_the_script_writes_and_prints_its_table(finished, capsys):
    out, real, fake = finished
    assert run("evaluate", real, fake, "--out_dir", out, *QUIET) == 0
    printed = capsys.readouterr().out
    assert (out / "evaluation.md").read_text() in printed
    result = json.loads((out / "evaluation.json").read_text())
    assert result["settings"]["real_dir"] == str(real) and result["settings"]["fake_dir"] == str(fake)
    assert f"| fid_efficientnet_lite0 | {result['metrics']['fid_efficientnet_lite0']['fake']:.4g} |" in printed
    assert (out / "closest.png").is_file() and f"all numbers: {out / 'evaluation.json'}" in printed


@pytest.mark.parametrize("order", [lambda real, fake, flags: [real, fake, *flags],
                                   lambda real, fake, flags: [*flags, real, fake],
                                   lambda real, fake, flags: ["--fake_dir", fake, *flags, "--real_dir", real]])
def test_the_folders_are_words_or_options(order):
    parsed = load("evaluate").build_options().parse(order("a", "b", ["--max_images", "7"]))
    assert (parsed.real_dir, parsed.fake_dir, parsed.max_images) == ("a", "b", 7)


@pytest.mark.parametrize(("words", "message"), [
    ([], "python scripts/evaluate.py REAL FAKE"),
    (["real"], "python scripts/evaluate.py REAL FAKE"),
    (["real", "nowhere"], "nowhere does not exist"),
    (["real", "real", "--features", "inception"], "set inception_path"),
    (["real", "real", "--max_image", "3"], "did you mean --max_images"),
])
def test_refusals_are_one_message_and_leave_no_trace(tmp_path, monkeypatch, capsys, words, message):
    make_images(tmp_path / "real", 2, 32)
    monkeypatch.chdir(tmp_path)
    assert run("evaluate", *words, *QUIET) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert [path.name for path in tmp_path.iterdir()] == ["real"]
