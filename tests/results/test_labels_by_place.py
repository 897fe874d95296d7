"""Label rules side by side by the place in the series."""
import pytest

from add.classification.label_rules import READABLE_RULES
from add.results.labels_by_place import LABEL, MEANS, labels_by_place, place_table
from add.results.translation_series import write_rows


def write_labels(folder, rule, shares):
    """Write the labels of two series with m = 1, 2: the share of the target, domain 0, for each image."""
    name = "labels.csv" if rule == "depth" else f"labels_{rule}.csv"
    places = [(series, m) for series in "ab" for m in (1, 2)]
    write_rows(folder / name, [(f"images/{series}_m{m}.png", f"{series}.png", 1, 0, m, m, share, 1 - share)
                               for (series, m), share in zip(places, shares, strict=True)], 2)


def test_every_rule_has_its_mean_share_of_the_target(tmp_path):
    write_labels(tmp_path, "depth", [0.5, 1, 0.5, 1])
    write_labels(tmp_path, "classifier", [0.0, 0.6, 0.2, 1.0])
    found = labels_by_place(tmp_path)
    assert list(found) == ["m", "label_depth", "label_classifier"] and found["label_depth"] == [0.5, 1]
    assert found["label_classifier"] == pytest.approx([0.1, 0.8])
    lines = place_table(found | {"own": [3.0, 4.0]})
    assert lines[:4] == ["| m | label_depth | label_classifier | own |", "| --- | --- | --- | --- |",
                         "| 1 | 0.5 | 0.1 | 3 |", "| 2 | 1 | 0.8 | 4 |"]
    assert lines[5:] == [f"- {name}: {MEANS[name]}." for name in list(found)[1:]]


def test_every_rule_is_explained():
    assert {LABEL + rule for rule in READABLE_RULES} <= set(MEANS)


def test_a_chain_has_no_share_of_one_target(tmp_path):
    write_rows(tmp_path / "labels.csv", [("images/a_m1.png", "a.png", 0, 2, 1, 9, 0, 1, 0),
                                         ("images/a_m2.png", "a.png", 0, 2, 2, 9, 0, 0, 1)], 3)
    assert labels_by_place(tmp_path) == {"m": [1, 2]}


def test_a_place_whose_images_were_all_rejected_has_no_mean(tmp_path):
    write_labels(tmp_path, "depth", [0.5, 1, 0.5, 1])
    write_rows(tmp_path / "labels_reviewed.csv", [("images/a_m1.png", "a.png", 1, 0, 1, 1, 0.25, 0.75)], 2)
    found = labels_by_place(tmp_path)
    assert found["label_reviewed"] == [0.25, None]
    assert place_table(found)[:4] == ["| m | label_depth | label_reviewed |", "| --- | --- | --- |",
                                      "| 1 | 0.5 | 0.25 |", "| 2 | 1 | - |"]
