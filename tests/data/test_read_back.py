"""Files read back: what is well is returned, and whatever is wrong is told in one sentence that names the file."""
import os

import numpy as np
import pytest

from add.data.files import save_json
from add.data.read_back import mismatch, read_json, read_npy, read_npz, read_rows
from add.errors import UserError

SHAPE = {"name": str, "depths": [range(11)], "seconds": float, "reason?": (None, str), "means": {str: float}}
RECORD = {"name": "a", "depths": [0, 10], "seconds": 2, "reason": None, "means": {"x": 0.5}, "more": [[]]}


def refused(read, *args):
    with pytest.raises(UserError) as caught:
        read(*args)
    return str(caught.value)


def test_json_of_the_shape_is_returned_whole(tmp_path):
    save_json(tmp_path / "a.json", RECORD)
    assert read_json(tmp_path / "a.json", SHAPE) == RECORD
    (tmp_path / "a.json").write_text('{"é": -9223372036854775808}', encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"é": -2**63}


@pytest.mark.parametrize(("content", "message"), [
    (b"", "Expecting value"),
    (b'{"a": 1', "Expecting"),
    (b"\xff\xfe", "can't decode"),
    (b"[NaN]", "NaN is no finite number"),
    (b"[1e999]", "1e999 is no finite number"),
    (b"[9223372036854775808]", "has more than 64 bits"),
    (b"[" + b"9" * 5000 + b"]", "digits"),
    (b"[" * 100_000, "recursion"),
    (b'{"a":' * 100_000, "recursion"),
])
def test_what_is_no_json_is_refused(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    said = refused(read_json, tmp_path / "a.json", object, "remove it")
    assert message in said and "a.json is damaged" in said and said.endswith("remove it") and len(said) < 500


@pytest.mark.parametrize(("changes", "message"), [
    ({"name": 3}, "name is 3, expected text"),
    ({"name": "a\0"}, "name is 'a\\x00', expected text"),
    ({"name": "\ud800"}, "name is '\\ud800', expected text"),
    ({"depths": [3, 11]}, "depths[1] is 11, expected a whole number from 0 to 10"),
    ({"depths": [True]}, "depths[0] is True"),
    ({"depths": {}}, "depths is {}, expected a list"),
    ({"seconds": "1"}, "seconds is '1', expected a number"),
    ({"seconds": False}, "seconds is False"),
    ({"reason": 1}, "reason is 1, expected text"),
    ({"means": []}, "means is [], expected names with values"),
    ({"means": {"x": None}}, "means.x is None, expected a number"),
])
def test_json_of_another_shape_is_refused(tmp_path, changes, message):
    assert message in mismatch(RECORD | changes, SHAPE)
    if "name" not in changes:
        save_json(tmp_path / "a.json", RECORD | changes)
        assert message in refused(read_json, tmp_path / "a.json", SHAPE)


def test_names_that_are_missing_are_told():
    without = {name: value for name, value in RECORD.items() if name not in ("reason", "means")}
    assert mismatch(without, SHAPE) == "it lacks means"
    assert mismatch({"a": {}}, {"a": {"b": int}}) == "it lacks a.b"
    assert mismatch({"n": 0, "x": 1.5}, {"n": range(1, 9), str: float}) == "n is 0, expected a whole number from 1 to 8"
    assert mismatch({}, {"n": int, str: float}) == "it lacks n"


def test_a_shape_may_hold_itself():
    shape: dict = {"own": {str: str}}
    shape["before?"] = shape
    assert mismatch({"own": {}, "before": {"own": {}, "before": {"own": {"a": "b"}}}}, shape) == ""
    assert mismatch({"own": {}, "before": {"own": {}, "before": {}}}, shape) == "it lacks before.before.own"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
def test_folders_and_pipes_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        assert f"{path} is no file" in refused(read_json, path)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")


def test_rows_come_in_the_types_of_their_columns(tmp_path):
    (tmp_path / "a.csv").write_text("\ufeffimage,m,share,more\na.png, 3,1e-1\n", encoding="utf-8")
    assert read_rows(tmp_path / "a.csv", {"image": str, "m": int, "share": float}) == [
        {"image": "a.png", "m": 3, "share": 0.1, "more": None}]
    assert read_rows(tmp_path / "a.csv")[0]["m"] == " 3"


@pytest.mark.parametrize(("content", "message"), [
    (b"image,n\na.png\n", "a row without m"),
    (b"image,m\na.png\n", "a row without m"),
    (b"image,m\na.png,x\n", "m is 'x'"),
    (b"image,m\na.png,99999999999999999999\n", "m is '99999999999999999999'"),
    (b"image,m\na\0.png,3\n", ""),
    (b"image,m\n\xff.png,3\n", "can't decode"),
    (b"image,m\n" + b"a" * 200_000 + b",3\n", "field larger than field limit"),
])
def test_what_is_no_table_is_refused(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    said = refused(read_rows, tmp_path / "a.csv", {"image": str, "m": int}, "remove it")
    assert message in said and "a.csv is damaged" in said and said.endswith("remove it") and len(said) < 500


def test_arrays_are_returned(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 3), np.float32))
    assert read_npy(tmp_path / "a.npy", np.floating, (2, None)).sum() == 6
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=0.5)
    found = read_npz(tmp_path / "a.npz", {"x": (np.integer, (None,)), "y": (np.floating, ()), "z?": (np.uint8, (1,))})
    assert found.keys() == {"x", "y"} and found["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(("array", "message"), [
    (np.ones((2, 4)), "is float64 [2, 4]: expected floating [2, 3]"),
    (np.ones(6), "is float64 [6]"),
    (np.ones((2, 3), int), "is int64 [2, 3]"),
    (np.full((2, 3), np.nan), "holds NaN or infinity"),
    (np.array([[{}] * 3] * 2), "it holds Python objects, which could run code"),
])
def test_other_arrays_are_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    assert message in refused(read_npy, tmp_path / "a.npy", np.floating, (2, 3)).replace(")", "")
    np.savez(tmp_path / "a.npz", x=array)
    assert message in refused(read_npz, tmp_path / "a.npz", {"x": (np.floating, (2, 3))}).replace(")", "")


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY", b"PK\x03\x04", b"\x80\x04K\x01.", bytes(100)])
def test_what_is_no_file_of_numpy_is_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert "a is damaged" in refused(read_npy, tmp_path / "a", np.floating, (2,))
    assert "a is damaged" in refused(read_npz, tmp_path / "a", {"x": (np.floating, (2,))})


def test_a_header_that_lies_takes_no_memory(tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**13,)})
    assert "a.npy is damaged" in refused(read_npy, tmp_path / "a.npy", np.floating, (None,))
    np.savez(tmp_path / "b.npz", x=np.ones(2))
    assert "it lacks y" in refused(read_npz, tmp_path / "b.npz", {"y": (np.floating, (2,))})
