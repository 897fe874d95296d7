"""grade: a grader of two ends grades what lies between, says what it does not know, and keeps tiles in place."""
import csv
import json
import shutil

import numpy as np
import pytest
import torch

from add.classification.grader_file import SETTINGS, WEIGHTS, load_grader
from add.commands.grade import DEFAULT_METHOD
from add.data.files import save_png
from add.data.severity_table import write_severity
from tests.commands.commands import run
from tests.commands.slide_fields import MPP, SQUARE, draw_field, write_drawn

QUICK = ("--steps", 25, "--batch_size", 8, "--num_seeds", 2, "--lr", 5e-3)


def write_shades(folder, severities, seed, groups=4):
    """Write noisy images whose brightness is their severity, as FOLDER/pGROUP_i.png, and return {file: severity}."""
    rng = np.random.default_rng(seed)
    for i, severity in enumerate(severities):
        pixels = 60 + 120 * severity + 25 * rng.standard_normal((16, 16, 3))
        save_png(folder / f"p{i % groups + 10 * seed}_{i:02d}.png", pixels.clip(0, 255).astype(np.uint8))
    return {f"{folder.name}/p{i % groups + 10 * seed}_{i:02d}.png": severity for i, severity in enumerate(severities)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folder of train/ with two ends, between/ with images of all severities, and other/ with unlike ones."""
    root = tmp_path_factory.mktemp("data")
    rows = write_shades(root / "train" / "dark", np.linspace(0, 0.2, 12), 1)
    rows |= write_shades(root / "train" / "light", np.linspace(0.8, 1, 12), 2)
    write_severity(root / "train", rows)
    write_severity(root / "between", {name.split("/")[1]: severity for name, severity in write_shades(
        root / "between", np.linspace(0, 1, 12), 3).items()})
    for i in range(4):
        stripes = np.zeros((16, 16, 3), np.uint8)
        stripes[:, i % 2::2] = (255, 0, 40 * i)
        save_png(root / "other" / f"{i}.png", stripes)
    return root


@pytest.fixture(scope="module")
def graded(data, tmp_path_factory):
    """(grader's folder, folder of grades of the images between the ends)."""
    root = tmp_path_factory.mktemp("graded")
    assert run("grade", "--data_dir", data / "train", "--group_pattern", r"(p\d+)_", "--val_fraction", 0.4,
               "--grader_dir", root / "grader", "--images", data / "between", "--out_dir", root / "out", *QUICK) == 0
    return root / "grader", root / "out"


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_images_between_the_classes_are_graded_in_order(data, graded):
    rows = rows_of(graded[1] / "grades.csv")
    assert [row["image"] for row in rows] == sorted(path.name for path in (data / "between").glob("*.png"))
    severity = np.array([float(row["severity"]) for row in rows])
    truth = np.array([float(row["image"].split("_")[1][:2]) / 11 for row in rows])
    assert np.corrcoef(severity, truth)[0, 1] > 0.9
    for row in rows:
        assert float(row["severity_low"]) <= float(row["severity"]) <= float(row["severity_high"])
        assert float(row["p_dark"]) + float(row["p_light"]) == pytest.approx(1, abs=2e-4)
        assert row["class"] == ("dark" if float(row["p_dark"]) > 0.5 else "light")
    settings = json.loads((graded[0] / "grader.json").read_text())
    line = settings["shrinkage"]
    assert settings["method"] == DEFAULT_METHOD
    expected = np.clip(0.5 + line["slope"] * (severity - line["middle"]), 0, 1)
    assert np.array([float(row["severity_shrunk"]) for row in rows]) == pytest.approx(expected, abs=1e-3)


def test_grades_of_other_images_are_not_written_over(data, graded, tmp_path, capsys):
    words = ["grade", "--grader_dir", graded[0], "--images"]
    assert run(*words, data / "between", "--out_dir", tmp_path / "out") == 0
    before = (tmp_path / "out" / "grades.csv").read_bytes()
    assert run(*words, data / "other", "--out_dir", tmp_path / "out") == 2
    assert f"--images {data / 'between'} there, {data / 'other'} given" in capsys.readouterr().err
    assert run(*words, data / "other", "--out_dir", tmp_path / "out", "--estimate") == 2
    assert (tmp_path / "out" / "grades.csv").read_bytes() == before
    assert run(*words, data / "between", "--out_dir", tmp_path / "out") == 0  # the same ones, graded anew


def test_groups_and_scores_are_told(data, graded):
    """Four groups of three images: means of each, and scores with intervals over them."""
    rows, groups = rows_of(graded[1] / "grades.csv"), rows_of(graded[1] / "groups.csv")
    assert [(row["group"], row["images"]) for row in groups] == [(f"p{30 + k}", "3") for k in range(4)]
    own = [float(row["severity"]) for row in rows if row["group"] == "p30"]
    assert float(groups[0]["severity"]) == pytest.approx(np.mean(own), abs=2e-4)
    scores = json.loads((graded[1] / "grades.json").read_text())["scores"]
    assert set(scores) == {"severity_spearman", "severity_rmse_linked", "severity_rmse_shrunk", "severity_in_interval"}
    assert all(own["low"] <= own["value"] <= own["high"] and own["low"] < own["high"] for name, own in scores.items()
               if name == "severity_rmse_linked")


def test_a_grader_of_an_earlier_version_is_calibrated_anew(data, graded, tmp_path, capsys):
    """It has all but how to shrink; as the sentence says, its classifiers are kept."""
    folder = shutil.copytree(graded[0], tmp_path / "grader")
    settings = json.loads((folder / "grader.json").read_text())
    earlier = {key: value for key, value in settings.items() if key != "shrinkage"}
    (folder / "grader.json").write_text(json.dumps(earlier))
    grading = ["--grader_dir", folder, "--images", data / "between", "--out_dir", tmp_path / "out"]
    assert run("grade", *grading) == 2
    assert "was written by an earlier version" in capsys.readouterr().err
    (folder / "grader.json").unlink()
    assert run("grade", "--data_dir", data / "train", "--group_pattern", r"(p\d+)_", "--val_fraction", 0.4, *grading,
               *QUICK) == 0
    assert "the classifiers are there; calibrating them" in capsys.readouterr().out
    assert json.loads((folder / "grader.json").read_text())["shrinkage"] == settings["shrinkage"]


def test_images_of_another_kind_are_unfamiliar(data, graded, tmp_path, capsys):
    """The saved grader alone, without its training images."""
    assert run("grade", "--grader_dir", graded[0], "--images", data / "other", "--out_dir", tmp_path) == 0
    rows = rows_of(tmp_path / "grades.csv")
    assert [row["out_of_domain"] for row in rows] == ["1"] * 4
    told = capsys.readouterr().out
    assert f"likeliest dark {sum(row['class'] == 'dark' for row in rows)}, light " in told
    assert "; 4 unlike all that the grader knows (out_of_domain)\n" in told
    known = rows_of(graded[1] / "grades.csv")
    assert sum(int(row["out_of_domain"]) for row in known) <= len(known) // 3
    assert "class=\"marked\"" in (tmp_path / "index.html").read_text()


def test_a_grader_is_kept_and_says_what_it_is(data, graded, tmp_path):
    grader = load_grader(graded[0])
    assert grader.domains == ("dark", "light") and len(grader.states) == 2 and grader.calibration.temperature >= 1
    card = (graded[0] / "README.md").read_text()
    assert "Not for diagnosis" in card and "of 2 groups" in card
    command = ["grade", "--data_dir", data / "train", "--group_pattern", r"(p\d+)_", "--val_fraction", 0.4,
               "--grader_dir", graded[0], "--out_dir", tmp_path]
    before = (graded[0] / WEIGHTS).stat().st_mtime_ns
    assert run(*command, *QUICK) == 0 and (graded[0] / WEIGHTS).stat().st_mtime_ns == before
    assert run(*command, *QUICK, "--seed", 1) == 2


def test_a_comparison_s_classifiers_are_taken(data, graded, tmp_path, capsys):
    """Nothing is trained again; other images are refused."""
    shutil.copytree(data / "between", tmp_path / "test" / "dark")
    shutil.copytree(data / "other", tmp_path / "test" / "light")
    (tmp_path / "test" / "dark" / "severity.csv").unlink()
    real = ["--data_dir", data / "train", "--val_fraction", 0.4, "--group_pattern", r"(p?\d+)"]
    assert run("classify", *real, "--test_dir", tmp_path / "test", "--methods", "flips,mixup", "--out_dir",
               tmp_path / "compared", *QUICK) == 0
    tests = json.loads((tmp_path / "compared" / "classification.json").read_text())["tests"]
    found = tests["test"]["mixup"]["accuracy"]
    low, high = found["ensemble_interval"]  # over the test images' groups
    assert low <= found["ensemble"] <= high and low < high
    kept = sorted((tmp_path / "compared" / "runs").glob("*.pt"))
    times = [path.stat().st_mtime_ns for path in kept]
    capsys.readouterr()
    assert run("grade", *real, "--classification", tmp_path / "compared", "--method", "mixup", "--grader_dir",
               tmp_path / "grader", *QUICK) == 0
    told = "".join(capsys.readouterr())
    assert "the classifiers are there; calibrating them on" in told and "training classifiers" not in told
    assert [path.stat().st_mtime_ns for path in kept] == times
    states = load_grader(tmp_path / "grader").states
    first = torch.load(tmp_path / "compared" / "runs" / "mixup_seed0.pt", weights_only=True)
    assert all(torch.equal(states[0][name], value) for name, value in first.items())
    assert run("grade", *real, "--classification", tmp_path / "compared", "--grader_dir", tmp_path / "other",
               *QUICK, "--seed", 1, "--val_fraction", 0.2) == 2
    assert "classifiers of other images or options" in capsys.readouterr().err


def test_an_estimate_trains_and_writes_nothing(data, graded, tmp_path, capsys):
    before = sorted(graded[0].rglob("*"))
    words = ("--images", data / "between", "--estimate", "True", "--out_dir", tmp_path / "out")
    assert run("grade", "--grader_dir", graded[0], *words) == 0
    assert "for 12 images or tiles at most" in capsys.readouterr().out
    assert run("grade", "--data_dir", data / "train", "--grader_dir", tmp_path / "new", *words, *QUICK) == 0
    told = capsys.readouterr().out
    assert "for 2 classifiers of 25 steps" in told and "for 12 images or tiles at most" in told
    assert run("grade", "--data_dir", data / "train", "--grader_dir", tmp_path / "new", "--estimate", "True",
               "--val_fraction", 0.25, "--method", "features") == 0
    told = capsys.readouterr().out
    assert "for features of 144 images" in told and "no --images to grade" in told
    assert sorted(graded[0].rglob("*")) == before and not list(tmp_path.iterdir())


@pytest.mark.parametrize("harm, told", [
    (lambda folder: (folder / SETTINGS).unlink(), "holds no finished grader"),
    (lambda folder: (folder / WEIGHTS).unlink(), "grader.safetensors"),
    (lambda folder: (folder / SETTINGS).write_text("{}"), "grader.json"),
    (lambda folder: (folder / WEIGHTS).write_bytes(b"\0" * 30), "grader.safetensors"),
])
def test_a_damaged_grader_is_refused(data, graded, tmp_path, capsys, harm, told):
    shutil.copytree(graded[0], tmp_path / "grader")
    harm(tmp_path / "grader")
    assert run("grade", "--grader_dir", tmp_path / "grader", "--images", data / "other", "--out_dir",
               tmp_path / "out") == 2
    assert told in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_severity_head_learns_from_images_between(data, tmp_path):
    """Translations teach the middle; their generated images are known ones, too."""
    from tests.commands.test_classify import write_translation

    folder = write_translation(tmp_path / "translation", amount=5)
    assert run("grade", "--data_dir", data / "train", "--domains", "dark,light", "--translations", folder,
               "--label_rule", "depth", "--grader_dir", tmp_path / "grader", "--images", data / "between", "--out_dir",
               tmp_path / "out", *QUICK) == 0
    grader = load_grader(tmp_path / "grader")
    assert grader.heads == "class,severity" and grader.method == "progressive" and grader.calibration.lines is not None
    assert grader.facts["num_generated"] == 10
    assert json.loads((tmp_path / "out" / "grades.json").read_text())["scores"]["severity_spearman"]["value"] > 0.8


def test_a_slide_s_tiles_are_graded_where_they_lie(tmp_path, capsys):
    """The left half of a drawn slide is mild, the right half severe, and its upper row is blank."""
    pytest.importorskip("openslide")
    rng = np.random.default_rng(0)
    from add.data import phantom

    for name, low in (("mild", 0.0), ("severe", 0.9)):
        for i in range(10):
            save_png(tmp_path / "train" / name / f"{i}.png", phantom.render(low + 0.1 * rng.random(), SQUARE, rng))
    field = draw_field(4, 8, lambda row, column: row == 0, severity=lambda row, column, cell: 7 * (column >= 4))
    slide = write_drawn(tmp_path / "slides" / "one.tif", field)
    command = ["grade", "--data_dir", tmp_path / "train", "--grader_dir", tmp_path / "grader", "--images", slide,
               "--least_tissue", 0.01, "--out_dir", tmp_path / "out", *QUICK]
    assert run(*command) == 2  # folders do not tell how large pixels are
    assert run(*command, "--mpp", MPP) == 0
    capsys.readouterr()
    assert run(*command, "--mpp", MPP, "--estimate", "True") == 0
    assert "for 32 images or tiles at most" in capsys.readouterr().out
    rows = rows_of(tmp_path / "out" / "grades.csv")
    assert {(int(row["x"]), int(row["y"])) for row in rows} == {
        (SQUARE * column, SQUARE * row) for row in (1, 2, 3) for column in range(8)}
    left, right = ([float(row["severity"]) for row in rows if (int(row["x"]) >= 4 * SQUARE) == side]
                   for side in (False, True))
    assert max(left) < min(right)
    features = json.loads((tmp_path / "out" / "one.geojson").read_text())["features"]
    assert len(features) == len(rows)
    for row, feature in zip(rows, features, strict=True):
        x, y = int(row["x"]), int(row["y"])
        assert feature["geometry"]["coordinates"][0][2] == [x + SQUARE, y + SQUARE]
        assert feature["properties"]["classification"]["name"] == row["class"]
        assert feature["properties"]["measurements"]["severity"] == pytest.approx(float(row["severity"]), abs=1e-4)
    assert (tmp_path / "out" / "one_heatmap.png").is_file()
    assert "one_heatmap.png" in (tmp_path / "out" / "index.html").read_text()


def test_what_lacks_is_told(data, tmp_path, capsys):
    assert run("grade", "--images", data / "other") == 2
    assert "no --grader_dir was given" in capsys.readouterr().err
    assert run("grade", "--grader_dir", tmp_path / "none", "--images", data / "other") == 2
    assert "holds no finished grader" in capsys.readouterr().err
    assert run("grade", "--grader_dir", tmp_path / "none", "--data_dir", data / "train", "--method", "taught_real") == 2
    assert "is a control" in capsys.readouterr().err
