"""Answers come by mail: what is damaged, foreign or double is one sentence."""
import json

import pytest

from add.errors import UserError
from add.review.reading_answers import read_readers
from add.review.reading_items import Item
from add.review.reading_key import Key, read_key, write_key

ANSWER = {"item": "001", "real": True, "place": 0.25, "keep": True, "reason": "", "seconds": 3}
WHOLE = {"format": 1, "reading": "abc", "reader": "Ann", "answers": [ANSWER]}


@pytest.fixture
def key():
    items = {name: Item(name, "001" if name == "003" else "", "generated", 0, f"{name}.png", 1, "0")
             for name in ("001", "002", "003")}
    return Key("abc", ("mild", "severe"), (0, 1), 0, ("t",), items)


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_answers_are_read_as_they_were_given(tmp_path, key):
    rejected = ANSWER | {"item": "002", "place": None, "keep": False, "reason": " a\nb\x00c".replace("\x00", "\x1b")}
    reader, = read_readers([write(tmp_path / "a.json", WHOLE | {"answers": [ANSWER, rejected]})], key)
    assert reader.name == "Ann" and reader.answers["001"] == (True, 0.25, True, "", 3.0)
    assert reader.answers["002"] == (True, None, False, "a b c", 3.0)


@pytest.mark.parametrize(("content", "said"), [
    ("", "is damaged or of another kind"), ("{", "expected a whole JSON file"), ("[]", "is damaged"),
    (WHOLE | {"format": 2}, "format is 2"), (WHOLE | {"reading": "xyz"}, "answers to the reading 'xyz', expected"),
    (WHOLE | {"answers": []}, "holds no answers"), (WHOLE | {"answers": [ANSWER, ANSWER]}, "stands there twice"),
    (WHOLE | {"answers": [ANSWER | {"item": "009"}]}, "item '009' is unknown"),
    (WHOLE | {"answers": [ANSWER | {"place": 1.5}]}, "place 1.5"),
    (WHOLE | {"answers": [ANSWER | {"place": None}]}, "place None"),
    (WHOLE | {"answers": [ANSWER | {"real": "yes"}]}, r"answers\[0\].real is 'yes', expected true or false"),
    (WHOLE | {"answers": [ANSWER | {"seconds": -1}]}, "-1 seconds"),
    (WHOLE | {"answers": [{"item": "001"}]}, r"it lacks answers\[0\].real"),
])
def test_what_is_no_file_of_answers_is_one_sentence(tmp_path, key, content, said):
    with pytest.raises(UserError, match=said) as caught:
        read_readers([write(tmp_path / "a.json", content)], key)
    assert str(tmp_path / "a.json") in str(caught.value)


def test_a_missing_file_and_one_reader_twice_are_refused(tmp_path, key):
    path = write(tmp_path / "a.json", WHOLE)
    with pytest.raises(UserError, match="b.json is not there"):
        read_readers([path, tmp_path / "b.json"], key)
    with pytest.raises(UserError, match="both hold answers of the reader 'Ann'"):
        read_readers([path, write(tmp_path / "b.json", WHOLE)], key)


def test_the_key_is_read_as_it_was_written(tmp_path, key):
    write_key(tmp_path, key, {"seed": 1})
    assert read_key(tmp_path) == key and read_key(tmp_path).repeats() == [("001", "003")]


@pytest.mark.parametrize(("old", "new", "said"), [
    ("generated,0", "generated,1", "generated 1"), ("generated,0", "drawn,0", "drawn 0"),
    ("003,001", "003,007", "repeats 007"), ("001,,", "001,003,", "repeats 0"), (",1,0\n", ",one,0\n", "m is 'one'")])
def test_a_damaged_key_is_one_sentence(tmp_path, key, old, new, said):
    write_key(tmp_path, key, {})
    path = tmp_path / "key.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(UserError, match=f"key.csv is damaged .*{said}"):
        read_key(tmp_path)


def test_a_folder_without_a_key_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no reading: expected key.csv"):
        read_key(tmp_path)
