"""Files appear whole or not at all."""
import errno
import io
import json
import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from add.data import files
from add.errors import UserError


def test_a_file_is_written_and_its_folder_made(tmp_path):
    path = tmp_path / "new" / "deep" / "a.txt"
    files.write_atomically(path, lambda file: file.write(b"whole"))
    assert path.read_bytes() == b"whole"
    assert os.listdir(path.parent) == ["a.txt"]


def test_finished_files_have_the_usual_rights(tmp_path):
    files.write_atomically(tmp_path / "a", lambda file: file.write(b""))
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_failing_writer_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise RuntimeError("stopped half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        files.write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_that_cannot_be_made_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="expected a folder that can be written"):
        files.write_atomically(tmp_path / "file" / "a.txt", lambda file: None)


def test_a_full_disk_is_the_users_error(tmp_path):
    def fill(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="No space left.*free some space"):
        files.write_atomically(tmp_path / "a.txt", fill)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number, advice", [(errno.ENOSPC, "free some space"), (errno.EFBIG, "free some space"),
                                            (errno.EROFS, "see to the disk"), (errno.EIO, "see to the disk"),
                                            (errno.EACCES, "change their rights"), (errno.EPERM, "change their rights"),
                                            (errno.EINVAL, "write elsewhere")])
def test_a_disk_that_refuses_a_checkpoint_is_named(tmp_path, monkeypatch, number, advice):
    """torch.save alone says `unexpected pos` and not a word of the disk."""
    class Refusing(io.FileIO):
        def write(self, data):
            if self.tell() + len(data) > 5000:
                raise OSError(number, os.strerror(number))
            return super().write(data)

    monkeypatch.setattr(files, "_open_beside", lambda path: Refusing(tmp_path / "beside", "w"))
    with pytest.raises(UserError, match=f"cannot write .*a.pt: {os.strerror(number)}.*{advice}"):
        files.save_torch(tmp_path / "a.pt", {"weight": torch.ones(5000)})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("words, expected", [
    ("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0", "cannot write .*a.pt: .*unexpected.*disk"),
    ("a bug", "^a bug$")])
def test_what_torch_says_of_a_file_that_it_cannot_write_is_told_from_a_bug(tmp_path, monkeypatch, words, expected):
    def fail(content, file):
        raise RuntimeError(words)

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises((UserError, RuntimeError), match=expected):
        files.save_torch(tmp_path / "a.pt", {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number, message", [
    (errno.ENOSPC, "free some space"), (errno.EROFS, "see to the disk"), (errno.EACCES, "choose another or change"),
    (errno.EMFILE, r"cannot write .*a.txt: too many open files: .*ulimit -n"), (errno.ENOMEM, "out of memory")])
def test_a_temporary_file_that_cannot_be_opened_is_explained(tmp_path, monkeypatch, number, message):
    def refuse(path, *args):
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(files, "open", refuse, raising=False)
    with pytest.raises(UserError, match=message):
        files.write_atomically(tmp_path / "a.txt", lambda file: None)


def test_what_a_writer_cannot_read_is_not_laid_to_the_file_it_writes(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(FileNotFoundError, match="source.png"):
        files.write_atomically(tmp_path / "out" / "a.txt", lambda file: os.stat(tmp_path / "source.png"))


def test_what_cannot_be_pickled_is_no_fault_of_the_disk(tmp_path):
    with pytest.raises((AttributeError, pickle.PicklingError)):
        files.save_torch(tmp_path / "a.pt", {"weight": lambda: 0})
    assert os.listdir(tmp_path) == []


def test_files_written_together_appear_together(tmp_path):
    (tmp_path / "b").write_text("old")
    with pytest.raises(RuntimeError, match="the second"), files.written_together() as write_one:
        assert write_one(tmp_path / "a", lambda file: file.write(b"first")) == 5
        assert os.listdir(tmp_path) != ["b"] and not (tmp_path / "a").exists()
        raise RuntimeError("the second")
    assert os.listdir(tmp_path) == ["b"] and (tmp_path / "b").read_text() == "old"
    with files.written_together() as write_one:
        write_one(tmp_path / "a", lambda file: file.write(b"first"))
        write_one(tmp_path / "b", lambda file: file.write(b"second"))
    assert [(tmp_path / name).read_text() for name in "ab"] == ["first", "second"] and len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("refused", "abc")
def test_files_that_cannot_all_take_their_names_leave_none(tmp_path, monkeypatch, refused):
    replace, named = os.replace, []

    def refuse(source, target):
        if os.path.basename(target) == refused:
            raise PermissionError(errno.EACCES, "Permission denied", source)
        replace(source, target)
        named.append(os.path.basename(target))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match=f"cannot write .*{refused}: Permission denied.*change their rights"), \
            files.written_together() as write_one:
        for name in "abc":
            write_one(tmp_path / name, lambda file: file.write(b"whole"))
    assert os.listdir(tmp_path) == [] and named == list("cba"[:"cba".index(refused)])


def test_text_is_appended_and_a_full_disk_names_the_file(tmp_path):
    files.append_text(tmp_path / "a.csv", "1,2\n")
    files.append_text(tmp_path / "a.csv", "3,4\n")
    assert (tmp_path / "a.csv").read_text() == "1,2\n3,4\n"
    if os.path.exists("/dev/full"):
        with pytest.raises(UserError, match="cannot write /dev/full: No space left"):
            files.append_text("/dev/full", "5,6\n")


def test_a_folder_in_the_files_place_is_the_users_error(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(UserError, match="a folder of that name exists"):
        files.write_atomically(tmp_path / "a.txt", lambda file: None)
    assert os.listdir(tmp_path) == ["a.txt"]


def test_each_kind_of_file_comes_back(tmp_path):
    image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    files.save_png(tmp_path / "a.png", image)
    files.save_json(tmp_path / "a.json", {"Zürich": [1, 2.5]})
    files.save_npy(tmp_path / "a.npy", image)
    files.save_torch(tmp_path / "a.pt", {"weight": torch.ones(2)})
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), image)
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"Zürich": [1, 2.5]}
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), image)
    assert torch.load(tmp_path / "a.pt", weights_only=True)["weight"].tolist() == [1, 1]


def test_values_that_would_be_garbled_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected uint8"):
        files.save_png(tmp_path / "a.png", np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match="JSON"):
        files.save_json(tmp_path / "a.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


def test_urls_join_with_slashes():
    assert files.join("gs://bucket/a", "b", "c.png") == "gs://bucket/a/b/c.png"
    assert files.is_url("az://x/y") and not files.is_url("/data/x")


@pytest.mark.parametrize("change", ["name", "size", "content", "fewer"])
def test_a_fingerprint_tells_sets_of_files_apart(tmp_path, change):
    names = ("a.png", "sub/b.png")
    paths = {}
    for folder in ("one", "two"):
        paths[folder] = [tmp_path / folder / name for name in names]
        for path in paths[folder]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"same")
    expected = files.fingerprint(tmp_path / "one", paths["one"])
    assert files.fingerprint(tmp_path / "two", reversed(paths["two"])) == expected
    assert files.fingerprint(f"{tmp_path}/two/", paths["two"]) == expected
    last = paths["two"][-1]
    if change == "name":
        paths["two"][-1] = last.rename(last.with_name("c.png"))
    elif change == "fewer":
        paths["two"].pop()
    else:
        last.write_bytes(b"longer" if change == "size" else b"Same")
    assert files.fingerprint(tmp_path / "two", paths["two"]) != expected


def test_changed_settings_are_named(tmp_path):
    path = tmp_path / "settings.json"
    assert files.changed_settings(path, {"seed": 1}) == []
    files.save_json(path, {"seed": 1, "size": 32, "old": True})
    assert files.changed_settings(path, {"seed": 1, "size": 32, "old": True}) == []
    assert files.changed_settings(path, {"seed": 2, "size": 32, "new": 0}) == ["seed", "new", "old"]
    assert files.changed_settings(path, {"seed": 2, "size": 32}, ignored={"old"}) == ["seed"]


def test_names_that_a_file_is_too_old_for_have_their_defaults(tmp_path):
    files.save_json(tmp_path / "settings.json", {"seed": 1})
    given = {"seed": 1, "steps": 300}
    assert files.changed_settings(tmp_path / "settings.json", given) == ["steps"]
    assert files.changed_settings(tmp_path / "settings.json", given, defaults={"seed": 0, "steps": 300}) == []
    assert files.changed_settings(tmp_path / "settings.json", {"seed": 1, "steps": 50},
                                  defaults={"steps": 300}) == ["steps"]


def test_an_option_that_came_since_changes_nothing_while_it_is_empty(tmp_path):
    files.save_json(tmp_path / "a.json", {"seed": 1, "rule": "", "gone": ""})
    given = {"seed": 1, "rule": "", "domains": ""}
    assert files.changed_settings(tmp_path / "a.json", given) == []
    assert files.changed_settings(tmp_path / "a.json", given | {"domains": "b,a", "seed": 2}) == ["seed", "domains"]
    assert files.changed_settings(tmp_path / "a.json", given | {"rule": "depth"}) == ["rule"]
    files.save_json(tmp_path / "a.json", {"seed": 0, "steps": 5})
    assert files.changed_settings(tmp_path / "a.json", {"seed": 0, "more": 0}, {"steps"}) == ["more"]


@pytest.mark.parametrize("text", ["{", "3", '["a"]', "\xff"])
def test_damaged_settings_are_named(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="a.json is damaged"):
        files.changed_settings(tmp_path / "a.json", {})
