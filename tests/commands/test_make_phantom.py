"""scripts/make_phantom.py as a user starts it."""
import csv

from add.data import folders, phantom
from tests.commands.commands import load, run

FEW = ["--num_train", 2, "--num_test", 1, "--size", 32]


def test_the_script_writes_domains_and_their_truth(tmp_path, capsys):
    assert run("make_phantom", "--out_dir", tmp_path / "set", *FEW, "--bands", "low:0:0.1,high:0.9:1") == 0
    counts = {f"{split}/{name}": len(paths) for split in ("train", "test")
              for name, paths in folders.list_domains(tmp_path / "set" / split).items()}
    assert counts == {"train/low": 2, "train/high": 2, "test/low": 1, "test/high": 1}
    with open(tmp_path / "set" / "severity.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["domain"] for row in rows] == ["low", "low", "high", "high", "low", "high"]
    assert all((float(row["severity"]) > 0.5) == (row["domain"] == "high") for row in rows)
    said = capsys.readouterr().out
    assert said.startswith("drawing: 0/6 images, ") and "drawing: 6 images in " in said
    assert "high: severity 0.9 to 1, 2 training and 1 held-out images" in said
    assert said.splitlines()[-1] == f"  add train --data_dir {tmp_path / 'set' / 'train'} --domain all"


def test_the_default_domains_are_mild_and_severe():
    args = load("make_phantom").build_options().parse(["--out_dir", "out"])
    assert phantom.parse_bands(args.bands) == phantom.DEFAULT_BANDS


def test_refusals_are_one_message_and_leave_no_trace(tmp_path, capsys):
    assert run("make_phantom", "--out_dir", tmp_path / "set", *FEW, "--bands", "mild:0.3") == 2
    assert "error: band 'mild:0.3' is not understood: expected NAME:LOW:HIGH" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()
    (tmp_path / "notes.txt").write_text("mine")
    assert run("make_phantom", "--out_dir", tmp_path, *FEW) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_whole_slides_are_drawn(tmp_path, capsys):
    assert run("make_phantom", "--fields", 1, "--field_size", "250x130", "--size", 32, "--out_dir", tmp_path / "a") == 0
    assert sorted(path.name for path in (tmp_path / "a").rglob("*.*")) == ["field_0.csv", "field_0.geojson",
                                                                           "field_0.tif"]
    said = capsys.readouterr().out
    assert "1 slides of 256 x 160 pixels" in said and "add tiles --slides_dir" in said
    assert run("make_phantom", "--fields", 1, "--field_size", "wide", "--out_dir", tmp_path / "b") == 2
    assert "expected WIDTHxHEIGHT" in capsys.readouterr().err
