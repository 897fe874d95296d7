"""Sorting images with a measured order into the folders of a study."""
import csv
from pathlib import Path

import pytest

from add.errors import UserError
from benchmarks.study_sets import SETS, evenly, sort_images


def write_cells(folder):
    """Write a table of cells of ten smears, two photographs of each, eight for training; a file holds its name."""
    (folder / "images").mkdir(parents=True)
    rows = ["image,smear,photograph,split,type,axis_ratio"]
    for i in range(100):
        name = f"images/c{i:03d}.png"
        (folder / name).write_text(name)
        split, kind = "test" if i % 10 > 7 else "train", "normal" if i < 60 else "ovalocyte"
        rows.append(f"{name},s{i % 10},{i % 20},{split},{kind},{1 - i / 100:.2f}")
    (folder / "cells.csv").write_text("\n".join(rows))
    return folder / "cells.csv"


def rows_of(path):
    with open(path, newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_ends_are_what_the_definition_says_and_groups_stay_apart(tmp_path):
    counts = sort_images(SETS["red_cells"], write_cells(tmp_path / "cells"), tmp_path / "out")
    parts = ("train", "test", "test_all")
    severity = {part: rows_of(tmp_path / "out" / part / "severity.csv") for part in parts}
    for part in ("train", "test"):
        for name, row in severity[part].items():
            value = float(row["severity"])
            assert value <= 0.12 + 1e-6 if name.startswith("round/") else value >= 0.60 - 1e-6
    groups = {part: {row["group"] for row in rows_of(tmp_path / "out" / part / "groups.csv").values()}
              for part in parts}
    assert groups["train"] == {f"s{k}" for k in range(8)} and groups["test"] | groups["test_all"] == {"s8", "s9"}
    assert counts["train"] == {"round": 11, "elongated": 32} and counts["test"] == {"round": 2, "elongated": 8}
    image = next(iter(severity["train"]))
    assert (tmp_path / "out" / "train" / image).read_text() == f"images/{image.split('/')[1]}"
    between = {path.name for path in (tmp_path / "out" / "unlabelled").glob("*.png")}
    assert counts["unlabelled"] == {"images": 37} and len(between) == 37
    assert set(rows_of(tmp_path / "out" / "unlabelled" / "groups.csv")) == between
    with pytest.raises(UserError, match="--out_dir .* exists, expected a new folder"):
        sort_images(SETS["red_cells"], tmp_path / "cells" / "cells.csv", tmp_path / "out")


def test_bins_of_the_severity_count_alike_as_far_as_they_go():
    """Bins of 1, 3 and 7: the median holds 3."""
    rows = [{"severity": severity} for severity in [0.01] + [0.12] * 3 + [0.41 + i / 1000 for i in range(7)]]
    found = evenly(rows, lambda row: row["severity"], seed=0)
    assert [row["severity"] for row in found[:4]] == [0.01, 0.12, 0.12, 0.12] and len(found) == 7
    other = [evenly(rows, lambda row: row["severity"], seed)[4:] for seed in range(5)]
    assert len({tuple(row["severity"] for row in own) for own in other}) > 1


def test_an_image_between_the_ends_is_sorted_by_the_nearer_one(tmp_path):
    sort_images(SETS["red_cells"], write_cells(tmp_path / "cells"), tmp_path / "out")
    found = rows_of(tmp_path / "out" / "test_all" / "severity.csv")
    assert {name.split("/")[0] for name, row in found.items() if float(row["severity"]) > 0.21} == {"elongated"}
    assert {name.split("/")[0] for name, row in found.items() if float(row["severity"]) <= 0.21} == {"round"}


def test_a_set_leaves_out_what_it_does_not_know(tmp_path):
    (tmp_path / "images").mkdir()
    rows = ["image,field,split,class"]
    for i, kind in enumerate(("NILM", "ASC-US", "LSIL", "HSIL") * 2):
        (tmp_path / f"images/{i}.png").write_text("")
        rows.append(f"images/{i}.png,f{i},{'test' if i < 4 else 'train'},{kind}")
    (tmp_path / "cells.csv").write_text("\n".join(rows))
    counts = sort_images(SETS["pap_cells"], tmp_path / "cells.csv", tmp_path / "out")
    assert counts == {"train": {"NILM": 1, "LSIL": 1}, "test": {"NILM": 1, "LSIL": 1},
                      "test_all": {"NILM": 2, "LSIL": 1}, "unlabelled": {"images": 1}}


def test_matched_photographs_tell_nothing_of_the_end(tmp_path):
    """Of the cells' sixteen photographs each has no or one round cell and two elongated ones."""
    counts = sort_images(SETS["red_cells"], write_cells(tmp_path / "cells"), tmp_path / "out", matched=True)
    assert counts["train"] == {"round": 11, "elongated": 11} and counts["test"] == {"round": 2, "elongated": 8}
    known = rows_of(tmp_path / "out" / "train" / "groups.csv")
    found = [sorted(int(Path(name).stem[1:]) % 20 for name in known if name.startswith(end))
             for end in ("round", "elongated")]
    assert found[0] == found[1]
    assert {row["group"] for row in known.values()} <= {f"s{i}" for i in range(8)}
    other = [sort_images(SETS["red_cells"], tmp_path / "cells" / "cells.csv", tmp_path / f"out{seed}", seed, True)
             and tuple(rows_of(tmp_path / f"out{seed}" / "train" / "severity.csv")) for seed in (0, 1, 2)]
    assert other[0] == tuple(rows_of(tmp_path / "out" / "train" / "severity.csv")) and len(set(other)) > 1
