"""Every run keeps which files it was trained on."""
import hashlib
import json
import os
from pathlib import Path

import pytest

from add.baselines.baseline_models import METHODS
from add.baselines.baseline_setup import BaselineConfig, prepare_rival
from add.errors import UserError
from add.networks import PointConfig
from add.runtime.processes import World
from add.training import prepare
from add.training.run_config import PointTrainConfig
from add.training.training_images import IMAGES_NAME, read_training_digests, trained_on, write_training_images
from tests.training.runs import configs, start


def digests(paths):
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_images_trained_on_and_held_out_are_kept_apart(tmp_path, images):
    trainer = start(tmp_path / "run", images, val_fraction=0.3)
    saved = json.loads((tmp_path / "run" / IMAGES_NAME).read_text())
    assert sorted(saved) == ["held_out", "trained_on"]
    assert set(saved["held_out"].values()) | set(saved["trained_on"].values()) == digests(images.iterdir())
    assert len(saved["trained_on"]) == len(trainer.stream.image_set) and len(saved["held_out"]) == 2
    assert all({digest} == digests([Path(path)]) for path, digest in saved["trained_on"].items())
    assert read_training_digests(tmp_path / "run") == set(saved["trained_on"].values())
    assert not read_training_digests(tmp_path / "run") & set(saved["held_out"].values())


def test_a_resumed_run_writes_nothing_anew(tmp_path, images):
    start(tmp_path / "run", images, max_steps=1).run()
    path = tmp_path / "run" / IMAGES_NAME
    os.utime(path, (1, 1))
    start(tmp_path / "run", images, max_steps=2)
    assert path.stat().st_mtime == 1
    path.unlink()  # as of a run that an earlier version began
    start(tmp_path / "run", images, max_steps=2)
    assert read_training_digests(tmp_path / "run") == digests(images.iterdir())


def test_points_have_no_such_file(tmp_path):
    _, _, diffusion = configs()
    prepare(PointTrainConfig(run_dir=str(tmp_path / "points"), device="cpu"), PointConfig(), diffusion, World())
    assert sorted(path.name for path in (tmp_path / "points").iterdir()) == ["config.json"]
    assert read_training_digests(tmp_path / "points") == frozenset()


def test_baselines_keep_them_as_well(tmp_path, images):
    config = BaselineConfig(data_dir=str(images), run_dir=str(tmp_path / "run"), image_size=32, batch_size=4,
                            device="cpu")
    prepare_rival(config, METHODS["progan"][0](), World())
    assert read_training_digests(tmp_path / "run") == digests(images.iterdir())


def test_files_trained_on_are_found_by_their_bytes(tmp_path, images):
    """Also under another name; the held-out ones and strangers are none of them, and a checkpoint's file will do."""
    start(tmp_path / "run", images, val_fraction=0.3, max_steps=1).run()
    uses = {path: use for use, files in json.loads((tmp_path / "run" / IMAGES_NAME).read_text()).items()
            for path in files}
    renamed = tmp_path / "renamed.png"
    known = [path for path in map(str, sorted(images.iterdir())) if uses[path] == "trained_on"]
    renamed.write_bytes(Path(known[0]).read_bytes())
    stranger = tmp_path / "stranger.png"
    stranger.write_bytes(b"other bytes")
    asked = [stranger, *sorted(images.iterdir(), reverse=True), renamed]
    for model_path in (tmp_path / "run", tmp_path / "run" / "model000001.pt"):
        assert trained_on(model_path, asked) == [*reversed(known), str(renamed)]
    (tmp_path / "run" / IMAGES_NAME).unlink()
    assert trained_on(tmp_path / "run", asked) == []


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"trained_on": ["a"]}', '{"trained_on": 3}'])
def test_a_damaged_file_is_reported(tmp_path, text):
    (tmp_path / IMAGES_NAME).write_text(text)
    with pytest.raises(UserError, match="training_images.json is damaged.*remove it"):
        read_training_digests(tmp_path)


def test_names_that_are_no_text_are_written(tmp_path):
    """A name in Latin-1 reaches Python with surrogates, which UTF-8 has no place for."""
    path = os.fsdecode(os.fsencode(str(tmp_path)) + b"/caf\xe9.png")
    try:
        with open(path, "wb") as file:
            file.write(b"pixels")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    write_training_images(tmp_path / "run", {"trained_on": [path], "held_out": []})
    assert read_training_digests(tmp_path / "run") == {hashlib.sha256(b"pixels").hexdigest()}
