"""What is written as a label file is read again, and a damaged one is named."""
import csv

import numpy as np
import pytest

from add.data.files import save_png
from add.errors import UserError
from add.results.translation_series import label_path, read_series, write_labels, write_rows

HEADER = ["image", "source_image", "source", "target", "m", "depth", "p_0", "p_1"]


@pytest.fixture
def folder(tmp_path):
    """A translation from domain 1 to 0 of two images that share their file name, two progressive images each."""
    rows = [(f"images/{name}_m{m}.png", "a.png", 1, 0, m, 100 * m, m / 2, 1 - m / 2)
            for name in ("a_png", "a_png_2") for m in (1, 2)]
    for i, row in enumerate(rows):
        save_png(tmp_path / row[0], np.full((4, 4, 3), 10 * i, dtype=np.uint8))
    write_rows(tmp_path / "labels.csv", rows, 2)
    return tmp_path


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_rows_are_written_under_the_header(folder):
    assert rows_of(folder / "labels.csv")[:2] == [
        HEADER, ["images/a_png_m1.png", "a.png", "1", "0", "1", "100", "0.500000", "0.500000"]]


def test_a_series_is_what_was_written(folder):
    series = read_series(folder)
    assert (len(series), series.source, series.target, series.amount) == (4, 1, 0, 2)
    assert series.images[2] == "images/a_png_2_m1.png" and series.source_images == ["a.png"] * 4
    assert series.m.tolist() == [1, 2, 1, 2] and series.depths.tolist() == [100, 200, 100, 200]
    assert series.labels.tolist() == [[0.5, 0.5], [1, 0], [0.5, 0.5], [1, 0]]


def test_source_images_of_one_name_are_two_groups(folder):
    assert read_series(folder).groups.tolist() == [0, 0, 1, 1]


def test_images_come_row_by_row(folder):
    assert read_series(folder).image_set(4).batch(range(4))[:, 0, 0, 0].tolist() == [0, 10, 20, 30]


def test_other_rules_stand_beside_it(folder):
    before, series = (folder / "labels.csv").read_bytes(), read_series(folder)
    labels = np.array([[0.123456789, 0.876543211], [1, 0], [0.25, 0.75], [0, 1]])
    write_labels(label_path(folder, "power"), series, labels)
    assert (folder / "labels.csv").read_bytes() == before
    assert [row[:6] for row in rows_of(folder / "labels_power.csv")] == [row[:6] for row in
                                                                       rows_of(folder / "labels.csv")]
    again = read_series(folder, "power")
    assert again.images == series.images and again.depths.tolist() == series.depths.tolist()
    np.testing.assert_allclose(again.labels, labels, atol=5e-7)


def test_three_domains_have_three_columns(tmp_path):
    write_rows(tmp_path / "labels.csv", [("a_m1.png", "a.png", 0, 2, 1, 10, 0.25, 0.0, 0.75)], 3)
    assert rows_of(tmp_path / "labels.csv")[0] == [*HEADER, "p_2"]
    assert read_series(tmp_path).labels.tolist() == [[0.25, 0, 0.75]]


def test_of_many_domains_only_some_have_columns(tmp_path):
    """The ends, those that an image has a share of, and the last one; reading puts the others back as 0."""
    labels = np.zeros((2, 150))
    labels[0, [7, 30]], labels[1, 30] = 0.5, 1
    rows = [(f"a_m{m}.png", "a.png", 7, 120, m, 10 * m, *label) for m, label in enumerate(labels, start=1)]
    write_rows(tmp_path / "labels.csv", rows, 150)
    assert rows_of(tmp_path / "labels.csv")[0] == [*HEADER[:6], "p_7", "p_30", "p_120", "p_149"]
    series = read_series(tmp_path)
    assert (series.labels == labels).all() and series.is_chain
    write_rows(tmp_path / "labels.csv", [row[:6 + 100] for row in rows], 100)
    assert len(rows_of(tmp_path / "labels.csv")[0]) == 106


def test_a_chain_passes_other_domains_than_its_ends(tmp_path):
    for middle, is_chain in ((0.5, True), (0.0, False)):
        rows = [("a_m1.png", "a.png", 0, 2, 1, 10, 0.5, middle, 0.5 - middle)]
        write_rows(tmp_path / "labels.csv", rows, 3)
        assert read_series(tmp_path).is_chain == is_chain


def test_too_few_labels_are_not_written(folder):
    with pytest.raises(ValueError):
        write_labels(folder / "labels_power.csv", read_series(folder), np.ones((3, 2)))
    assert not (folder / "labels_power.csv").exists()


def test_an_unfinished_translation_is_refused(tmp_path):
    for rule in ("depth", "blend"):
        with pytest.raises(UserError, match="is no finished translation: expected labels.csv in it"):
            read_series(tmp_path, rule)


def test_a_missing_rule_says_how_to_make_it(folder):
    with pytest.raises(UserError, match=f"soft_labels --rule blend --translations {folder}"):
        read_series(folder, "blend")


@pytest.mark.parametrize("text", [
    "", ",".join(HEADER) + "\n", "image,p_0\na.png,1\n",
    ",".join(HEADER) + "\na.png,a.png,0,1,one,10,0,1\n", ",".join(HEADER) + "\na.png,a.png,0,1,1,10,0\n",
])
def test_a_damaged_table_is_refused(tmp_path, text):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match="labels.csv is damaged .*columns image, source_image"):
        read_series(tmp_path)


def test_a_chain_has_no_other_rule_and_says_so(tmp_path):
    write_rows(tmp_path / "labels.csv", [("images/a_m1.png", "a.png", 0, 2, 1, 9, 0, 1, 0),
                                         ("images/a_m2.png", "a.png", 0, 2, 2, 9, 0, 0, 1)], 3)
    with pytest.raises(UserError, match="is a chain .* give --label_rule depth"):
        read_series(tmp_path, "classifier")


def test_reviewed_labels_may_lack_rows_and_keep_the_places(folder):
    """Where all full translations were rejected, the last ones that are left are not taken for them."""
    series = read_series(folder)
    write_labels(label_path(folder, "reviewed"), series.subset(series.m == 1), np.array([[0.8, 0.2], [0.8, 0.2]]))
    reviewed = read_series(folder, "reviewed")
    assert (len(reviewed), reviewed.amount, reviewed.m.tolist()) == (2, 2, [1, 1])
    write_labels(label_path(folder, "reviewed"), series.subset(np.array([False, True, False, False])),
                 np.array([[0.9, 0.1]]))
    assert read_series(folder, "reviewed").m.tolist() == [2]  # a place above the number of rows


def test_missing_reviewed_labels_name_the_command_that_writes_them(folder):
    with pytest.raises(UserError, match="add review score --out_dir REVIEW"):
        read_series(folder, "reviewed")
