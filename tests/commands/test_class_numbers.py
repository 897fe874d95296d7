"""What number a class has: by name, by a list, or because its name is the number; else it is refused."""
from types import SimpleNamespace

import pytest

from add.commands.shared.class_numbers import choose_classes, class_names, list_classes, number_classes, parse_classes
from add.errors import UserError
from tests.tiny import make_images


def loaded(classes=None, num_classes=3):
    """Return what matters of a LoadedConfig."""
    return SimpleNamespace(path="run", classes=classes, model=SimpleNamespace(num_classes=num_classes))


def test_subfolders_and_file_names_tell_classes(tmp_path):
    for name in ("cat", "dog"):
        make_images(tmp_path / "folders" / name, count=2)
    make_images(tmp_path / "files", count=2)
    for i, name in enumerate(("7_a.png", "0_b.png")):
        (tmp_path / "files" / f"a{i}.png").rename(tmp_path / "files" / name)
    assert {name: len(paths) for name, paths in list_classes(tmp_path / "folders").items()} == {"cat": 2, "dog": 2}
    assert list_classes(tmp_path / "files") == {"0": [str(tmp_path / "files" / "0_b.png")],
                                                "7": [str(tmp_path / "files" / "7_a.png")]}


def test_names_come_from_the_run_a_list_or_a_file(tmp_path):
    (tmp_path / "names.txt").write_text("cat\n\ndog\nemu\n")
    assert class_names(loaded(("a", "b"))) == ("a", "b")
    assert class_names(loaded()) == ()
    assert class_names(loaded(), "cat, dog,emu") == class_names(loaded(), str(tmp_path / "names.txt")) == (
        "cat", "dog", "emu")
    assert class_names(loaded(["a", "b", "c"]), "a,b,c") == ("a", "b", "c")


@pytest.mark.parametrize("classes, given, words", [
    (None, "a,b", "gives 2 names"), (None, "a,b,a", "2 different ones"),
    (("a", "b", "c"), "a,c,b", "was trained with")])
def test_other_names_than_the_models_are_refused(classes, given, words):
    with pytest.raises(UserError, match=words):
        class_names(loaded(classes), given)


def test_folders_have_the_number_of_their_name():
    """A folder that lacks a class, or lists them in another order, shifts no number."""
    assert number_classes(["emu", "cat"], ("cat", "dog", "emu"), 3) == {2: "emu", 0: "cat"}
    assert number_classes(["283", "7", "010"], (), 1000) == {283: "283", 7: "7", 10: "010"}


@pytest.mark.parametrize("found, names, words", [
    (["cat", "wolf"], ("cat", "dog"), "images of wolf are of no class .* names among cat, dog"),
    (["0", "1"], ("cat", "dog"), "images of 0, 1"),
    (["n01440764", "n01443537"], (), "class numbers from 0 to 999"), (["1000"], (), "--class_names, all in order"),
    (["7", "07"], (), "two have one class number")])
def test_folders_without_a_sure_number_are_refused(found, names, words):
    with pytest.raises(UserError, match=words):
        number_classes(found, names, 1000)


def test_pairs_of_classes():
    assert parse_classes("0,1", "1, 0", (), 1000) == [(0, 1), (1, 0)]
    assert parse_classes("0,0", "1,2", (), 3) == [(0, 1), (0, 2)]
    assert parse_classes("cat,1", "emu,cat", ("cat", "dog", "emu"), 3) == [(0, 2), (1, 0)]
    assert parse_classes("10", "9", ("10", "9"), 2) == [(0, 1)]  # names


@pytest.mark.parametrize("source, target, names, words", [
    ("0,1", "1", (), "list 2 and 1 classes"), ("", "", (), "list 0 and 0"), ("0", "3", (), "--target names 3"),
    ("cat", "0", (), "expected some of 0 to 2"), ("wolf", "0", ("cat", "dog", "emu"), "0 cat, 1 dog, 2 emu"),
    ("1", "1", (), "class 1 to itself"), ("0,0", "1,1", (), "one pair twice"),
    ("0", "10", ("10", "9"), "--source names 0")])
def test_impossible_pairs_are_refused(source, target, names, words):
    with pytest.raises(UserError, match=words):
        parse_classes(source, target, names, 3)


@pytest.mark.parametrize(("text", "names", "expected"), [
    ("", None, [0, 1, 2]), ("1", None, [1]), ("2, 0,2", ("a", "b", "c"), [2, 0, 2]),
    ("b,a,2", ("a", "b", "c"), [1, 0, 2]),
    ("7,a", ("7", "a", "c"), [0, 1])])
def test_classes_to_show_go_by_number_or_name(text, names, expected):
    assert choose_classes(text, 3, names) == expected


@pytest.mark.parametrize(("text", "names", "message"), [
    ("3", None, "--classes names 3, which is no class of the model: expected some of 0 to 2"), ("-1", None, "names -1"),
    ("1,", None, "--classes names ,"), ("mild", None, "names mild"), ("mold", ("mild", "b", "c"), "0 mild, 1 b, 2 c"),
    ("1", ("7", "a", "c"), "names 1"),  # where a name is a number, only names count
])
def test_classes_to_show_that_the_model_lacks_are_refused(text, names, message):
    with pytest.raises(UserError, match=message):
        choose_classes(text, 3, names)


def test_a_list_of_names_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "names.txt").write_bytes("Zürich\nBern\nBasel\n".encode("latin-1"))
    with pytest.raises(UserError, match="is not UTF-8"):
        class_names(loaded(), str(tmp_path / "names.txt"))
