"""scripts/soft_labels.py as a user starts it."""
import csv

import pytest

from add.results.translation_series import write_rows
from tests.commands.commands import run


@pytest.fixture
def folder(tmp_path):
    """A translation of one image in two steps: labels.csv only."""
    write_rows(tmp_path / "labels.csv", [(f"a_m{m}.png", "a.png", 0, 1, m, 10, 1 - m / 2, m / 2) for m in (1, 2)], 2)
    return tmp_path


def test_the_script_writes_labels_beside_the_others(folder, capsys):
    before = (folder / "labels.csv").read_bytes()
    assert run("soft_labels", "--rule", "power", "--gamma", 2, "--translations", folder) == 0
    assert f"2 soft labels by the rule power: {folder / 'labels_power.csv'}" in capsys.readouterr().out
    with open(folder / "labels_power.csv", newline="") as file:
        assert [row["p_1"] for row in csv.DictReader(file)] == ["0.250000", "1.000000"]
    assert (folder / "labels.csv").read_bytes() == before


@pytest.mark.parametrize(("words", "message"), [
    (["--translations", ""], "expected --translations FOLDER"),
    (["--translations", "nowhere"], "nowhere is no finished translation"),
    ([], "the rule classifier is calibrated with real images: expected --data_dir"),
    (["--rule", "colour"], "--rule is 'colour', expected one of depth, power, classifier, likelihood, blend"),
    (["--gama", "2"], "did you mean --gamma"),
])
def test_refusals_are_one_message_and_leave_no_trace(folder, capsys, words, message):
    assert run("soft_labels", "--translations", folder, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert [path.name for path in folder.iterdir()] == ["labels.csv"]
