"""The folder of a translation: a source image is finished while its record and pictures are as they were written."""
import json

import numpy as np
import pytest

from add.data.files import save_json
from add.errors import UserError
from add.results.translation_folder import TranslationFolder

RECORD = {"source_image": "a.png", "source_sha256": "1", "depths": [3, 9], "depth_rule": "uniform", "reason": "",
          "nfe": 4, "seconds": 0.5}
PICTURES = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


@pytest.fixture
def folder(tmp_path):
    found = TranslationFolder(tmp_path, ["a"], amount=2)
    found.open({"seed": 0})
    found.write_images("a", PICTURES, RECORD, PICTURES.transpose(0, 3, 1, 2))
    return found


def test_what_was_written_is_finished(folder):
    assert folder.is_finished("a", "1", with_latents=True) and not folder.is_finished("a", "2")
    assert folder.records()[0] | RECORD == folder.records()[0]


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_a_picture_that_changed_is_to_be_made_again(folder, caplog, content):
    path = folder.path / folder.image_path("a", 2)
    path.write_bytes(path.read_bytes()[:-5] if content is None else content)
    assert not folder.is_finished("a", "1")
    assert "pictures of a in" in caplog.text and "are made again" in caplog.text
    folder.write_images("a", PICTURES, RECORD)
    assert folder.is_finished("a", "1")


@pytest.mark.parametrize("text", ["", "[", "{}", json.dumps(RECORD | {"depths": [3]}),
                                  json.dumps(RECORD | {"depths": "3, 9"}), json.dumps(RECORD | {"seconds": None})])
def test_a_damaged_record_is_to_be_made_again(folder, caplog, text):
    path = folder.path / "records" / "a.json"
    path.write_text(text, encoding="utf-8")
    assert not folder.is_finished("a", "1")
    assert f"{path} is damaged: the images of a are made again" in caplog.text
    with pytest.raises(UserError, match="a.json is damaged .*the same command makes its images again"):
        folder.records()


def test_a_record_of_an_earlier_version_is_taken(folder):
    save_json(folder.path / "records" / "a.json", RECORD)
    assert folder.is_finished("a", "1")


def test_damaged_settings_are_refused(folder):
    (folder.path / "records" / "settings.json").write_text("[]")
    with pytest.raises(UserError, match="settings.json is damaged .*give another --out_dir"):
        folder.check({"seed": 0})


def test_other_latents_are_refused(folder):
    np.save(folder.path / "records" / "a_latents.npy", PICTURES[:1])
    with pytest.raises(UserError, match="a_latents.npy is damaged"):
        folder.write_arrays(folder.records(), [np.zeros((3, 4, 4), np.float32)])
