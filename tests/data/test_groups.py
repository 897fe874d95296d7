"""Groups of images: found by name and by table, and never divided by a split."""
import numpy as np
import pytest

from add.data.dataset import ImageSet
from add.data.groups import TABLE, divide_by_group, hint_at_groups, hold_out, read_groups, refuse_shared
from add.errors import UserError


@pytest.mark.parametrize(("pattern", "expected"), [
    (r"^p\d+", ["p1", "p1", "p2"]), (r"_(s\d)_", ["s1", "s2", "s1"]), ("^[^/]+(?=/)|x", ["p1_s1_a", "x", "p2_s1_x"])])
def test_a_pattern_names_groups_by_its_bracket_or_match(tmp_path, pattern, expected):
    paths = [tmp_path / name for name in ("p1_s1_a/t.png", "p1_s2_x.png", "p2_s1_x/y.png")]
    assert read_groups(tmp_path, paths, pattern) == expected


def test_a_table_in_the_folder_or_beside_it_names_groups(tmp_path):
    paths = [tmp_path / "mild" / "a.png", tmp_path / "severe" / "b.png"]
    assert read_groups(tmp_path, paths) is None
    (tmp_path / TABLE).write_text("image,group\nmild/a.png,p1\nsevere/b.png,p2\n")
    assert read_groups(tmp_path, paths) == ["p1", "p2"]
    assert read_groups(tmp_path / "severe", paths[1:]) == ["p2"]


def test_a_table_may_come_from_a_spreadsheet(tmp_path):
    (tmp_path / TABLE).write_bytes("image,group\r\nä.png,Müller\r\n".encode("utf-8-sig"))
    assert read_groups(tmp_path, [tmp_path / "ä.png"]) == ["Müller"]
    (tmp_path / TABLE).write_bytes("image,group\nä.png,1\n".encode("latin-1"))
    with pytest.raises(UserError, match="groups.csv is damaged .*can't decode byte"):
        read_groups(tmp_path, [tmp_path / "ä.png"])


@pytest.mark.parametrize(("pattern", "table", "message"), [
    ("[", "", "regular expression"), ("p9", "", "matches nothing in 1 of 1"),
    ("", "image,patient\na.png,1\n", "expected the columns image, group"),
    ("", "image,group\nb.png,1\n", "for every image"),
    ("", "image,group\na.png,\n", "empty group")])
def test_what_does_not_name_every_image_is_refused(tmp_path, pattern, table, message):
    if table:
        (tmp_path / TABLE).write_text(table)
    with pytest.raises(UserError, match=message):
        read_groups(tmp_path, [tmp_path / "a.png"], pattern)


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_divided_and_each_class_is_held_out(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 12, 90)
    labels = np.where(groups < 6, 0, rng.integers(0, 2, 90))
    held = hold_out(labels, 0.2, rng.permutation(90), groups.tolist())
    kept = np.setdiff1d(np.arange(90), held)
    assert not set(groups[held]) & set(groups[kept])
    assert set(labels[held]) == set(labels[kept]) == {0, 1}
    assert 4 <= len(held) <= 30


def test_the_smallest_group_is_taken_where_none_fits():
    groups = ["a"] * 6 + ["b"] * 4
    assert hold_out(np.zeros(10), 0.1, np.arange(10), groups).tolist() == [6, 7, 8, 9]


def test_one_group_alone_cannot_be_held_out():
    with pytest.raises(UserError, match="two groups or more"):
        hold_out([0, 0, 1, 1], 0.5, np.arange(4), ["a", "a", "b", "c"])


def test_without_a_fraction_nothing_is_held_out():
    assert hold_out([0, 0, 1], 0.0, np.arange(3), ["a", "b", "a"]).tolist() == []


def test_an_image_set_is_split_by_group():
    images = ImageSet(np.zeros((8, 4, 4, 3), np.uint8), paths=[f"p{i // 2}_{i}.png" for i in range(8)])
    train, held_out = images.split(0.25, seed=1, groups=[path[:2] for path in images.files])
    assert len(held_out) == 2 and len({path[:2] for path in held_out.files}) == 1
    assert not {path[:2] for path in held_out.files} & {path[:2] for path in train.files}


def test_a_group_on_both_sides_is_refused_by_name():
    refuse_shared(["a", "b"], ["c"], "training and test images")
    refuse_shared(None, ["c"], "training and test images")
    with pytest.raises(UserError, match=r"1 groups have training and test images \(b\)"):
        refuse_shared(["a", "b"], ["b", "b"], "training and test images")


def test_subfolders_are_hinted_at_where_all_images_lie_in_some(tmp_path):
    paths = [tmp_path / "mild" / name / "t.png" for name in ("p1", "p2")]
    assert "such as p1: " in (hint := hint_at_groups(tmp_path, paths, depth=2))
    assert hint == hint_at_groups(tmp_path / "mild", paths) and "'([^/]+)/[^/]+$'" in hint
    for folder in (tmp_path, tmp_path / "mild"):
        assert read_groups(folder, paths, "([^/]+)/[^/]+$") == ["p1", "p2"]
    assert hint_at_groups(tmp_path / "mild", [*paths, tmp_path / "mild" / "t.png"]) == ""


def test_groups_are_dealt_out_undivided_and_evenly():
    """Nine patients in one set and six in another; three have images in both."""
    rng = np.random.default_rng(0)
    first = [f"p{i}" for i in rng.integers(0, 9, 60)]
    second = [f"p{i}" for i in rng.integers(6, 12, 40)]
    parts = divide_by_group([first, second], 3, rng.permutation(len({*first, *second})))
    together = {}
    for groups, own in zip((first, second), parts, strict=True):
        assert np.bincount(own, minlength=3).min() >= len(groups) / 6
        for group, part in zip(groups, own.tolist(), strict=True):
            assert together.setdefault(group, part) == part


def test_too_few_groups_for_the_parts_are_refused():
    with pytest.raises(UserError, match="2 or more groups in every domain; lower --label_folds"):
        divide_by_group([["a", "a"], ["b", "c"]], 2, [0, 1, 2])


@pytest.mark.parametrize("fraction", [0, 0.1, 0.5, 0.99])
def test_images_without_groups_are_groups_of_one(fraction):
    rng = np.random.default_rng(0)
    labels, order = rng.integers(0, 3, 200), rng.permutation(200)
    alone = hold_out(labels, fraction, order)
    assert alone.tolist() == hold_out(labels, fraction, order, list(range(200))).tolist()
    assert alone.dtype == np.int64
