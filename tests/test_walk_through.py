"""The walk-through's nine commands, as docs/walk-through.md has them, on small slides and with few steps."""
import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from tests.commands.commands import ROOT, run, with_changes

SMALLER = {
    "make_phantom": ["--field_size", "416x256"],
    "train": ["--max_minutes", "", "--max_steps", "8", "--batch_size", "4", "--num_channels", "32",
              "--channel_mult", "1", "--save_interval", "8", "--num_preview", "0", "--threads", "1"],
    "translate": ["--amount", "3", "--num_images", "2", "--encode_steps", "6", "--decode_steps", "4"],
    "soft_labels": ["--steps", "4"], "classify": ["--steps", "25", "--num_seeds", "2", "--lr", "5e-3"]}
SMALLER["grade"] = SMALLER["classify"]


def commands_of(page):
    """Return the words of each command in the code blocks of a page of docs/."""
    blocks = re.findall(r"```\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.strip().splitlines()]


def test_drawn_slides_become_a_graded_slide(tmp_path, monkeypatch):
    pytest.importorskip("openslide"), pytest.importorskip("shapely"), pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    commands = commands_of("walk-through.md")
    assert len(commands) == 9 and all(words[0] == "add" for words in commands)
    for _, name, *words in commands:
        trains = name != "grade" or "--data_dir" in words
        assert run(name, *with_changes(words, SMALLER.get(name, []) if trains else [])) == 0
    with open(tmp_path / "results" / "graded" / "grades.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(tmp_path / "data" / "drawn" / "truth" / "field_3.csv", newline="") as file:
        truth = {(row["x"], row["y"]): float(row["severity"]) for row in csv.DictReader(file)}
    assert len(rows) > 40
    severity, true = np.array([(float(row["severity"]), truth[row["x"], row["y"]]) for row in rows]).T
    assert np.corrcoef(severity, true)[0, 1] > 0.4
    assert Path("results/graded/field_3_heatmap.png").is_file() and Path("results/graded/field_3.geojson").is_file()
