"""Setup of a training run: what is checked before it begins, and what config.json says."""
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from add.errors import UserError
from add.runtime.world import World
from add.training.training_images import IMAGES_NAME
from tests.tiny import make_images
from tests.training.runs import configs, gradients, scrambled, start


def test_config_json_explains_the_run(tmp_path, images):
    start(tmp_path / "run", images, prediction="v", val_fraction=0.3, lr=0.5)
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert saved["diffusion"]["prediction"] == "v" and saved["model"]["image_size"] == 16
    assert saved["train"]["lr"] == 0.5 and saved["processes"] == 1
    digests = [saved["data"].pop(name) for name in ("fingerprint", "held_out_sha256")]
    assert saved["data"] == {"images": 7, "held_out": 2, "classes": None, "bad": 0}
    assert all(len(digest) == 64 for digest in digests)
    assert saved["versions"]["torch"] == torch.__version__


def test_a_batch_larger_than_the_set_repeats_images(tmp_path, images):
    notes = []
    trainer = start(tmp_path / "run", images, note=notes.append, batch_size=20, max_steps=1)
    trainer.run()
    assert trainer.step == 1 and any("larger than the set of 7" in text for text in notes)


def test_other_options_are_refused_before_anything_is_written(tmp_path, images):
    start(tmp_path / "run", images)
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(UserError, match="(?s)num_heads: 4 there, 2 given.*prediction: 'epsilon' there, 'v' given"):
        start(tmp_path / "run", images, num_heads=2, prediction="v")
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    start(tmp_path / "run", images, lr=0.1)  # training options may change


@pytest.mark.parametrize("options, message", [
    ({"init_from": "nowhere.pt"}, "does not exist"),
    ({"resume_checkpoint": "weights.pt"}, "expected modelNNNNNN.pt"),
    ({"resume_checkpoint": "model000001.pt"}, "does not exist"),
    ({"num_channels": 33}, "33"),
    ({"image_size": 0}, "image_size is 0, expected 1 or more"),
    ({"image_size": -16, "data_dir": "nowhere"}, "image_size is -16, expected 1"),  # said before images are read
    ({"diffusion_steps": 0, "data_dir": "nowhere"}, "diffusion_steps is 0, expected 1 or more"),
    ({"channel_mult": "1,1,1,1,1,1"}, "cannot be halved"),
    ({"class_cond": True}, "file names tell no class"),
])
def test_what_cannot_work_leaves_no_folder(tmp_path, images, options, message):
    with pytest.raises(UserError, match=message):
        start(tmp_path / "run", options.pop("data_dir", images), **options)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, images):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        start(tmp_path / "file" / "run", images)


def test_bad_images_are_refused_or_counted(tmp_path):
    folder = make_images(tmp_path / "mixed", count=3)
    (folder / "text.png").write_text("no image")
    whole = (folder / "a0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(UserError, match="(?s)2 of 5 files cannot be read.*--skip_bad"):
        start(tmp_path / "run", folder)
    assert not (tmp_path / "run").exists()
    notes = []
    start(tmp_path / "run", folder, note=notes.append, skip_bad=True)
    assert any("2 unreadable images left out" in text and "cut.png" in text for text in notes)
    assert any("3 training images" in text for text in notes)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["bad"] == 2


def test_a_folder_of_folders_asks_what_they_are(tmp_path):
    for name in ("gland", "stroma"):
        make_images(tmp_path / "root" / name)
    with pytest.raises(UserError, match="no images beside them: expected --domain NAME .*--domain all .*--domain [.] "
                                        "where they are the slides or patients of one domain.*--class_cond"):
        start(tmp_path / "run", tmp_path / "root")


def test_a_folder_that_is_one_domain_is_read_with_its_slides(tmp_path):
    for seed, name in enumerate(("slide1", "slide2")):
        make_images(tmp_path / "mild" / name, seed=seed)
    notes = []
    start(tmp_path / "run", tmp_path / "mild", note=notes.append, domain=".", image_size=32)
    assert "6 images, all of them in its subfolders slide1, slide2" in notes
    assert ("6 of 6 images are smaller than 32 pixels and were enlarged, up to 2 times: slide1/a0.png is 16 x 16"
            in notes)
    assert f"6 training images, 0 held out, from {tmp_path / 'mild'}" in notes


def test_classes_come_from_folders(tmp_path):
    for name, count in (("gland", 2), ("stroma", 3)):
        make_images(tmp_path / "root" / name, count=count)
    notes = []
    trainer = start(tmp_path / "run", tmp_path / "root", note=notes.append, class_cond=True, num_classes=2, max_steps=2,
                    val_fraction=0.2, num_preview=4, preview_steps=2)
    assert "2 classes: 0 gland, 1 stroma" in notes
    trainer.run()
    assert trainer.step == 2 and set(trainer.held_out[1].tolist()) == {0, 1}
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["classes"] == ["gland", "stroma"]


def test_classes_come_from_names_and_reach_the_network(tmp_path):
    folder = tmp_path / "flat"
    folder.mkdir()
    for name in ("dog_1", "cat_1", "cat_2"):
        Image.fromarray(np.full((16, 16, 3), len(name), np.uint8)).save(folder / f"{name}.png")
    trainer = scrambled(start(tmp_path / "run", folder, class_cond=True, num_classes=3, batch_size=3))
    gradients(trainer)
    moved = trainer.model.label_emb.weight.grad.abs().sum(dim=1) > 0
    assert moved.tolist() == [True, True, False]


def test_more_classes_than_the_network_has_are_refused(tmp_path):
    for name in "abc":
        make_images(tmp_path / "root" / name, count=1)
    with pytest.raises(UserError, match="3 classes, expected at most --num_classes 2"):
        start(tmp_path / "run", tmp_path / "root", class_cond=True, num_classes=2)


def test_network_and_diffusion_must_agree_on_learn_sigma(tmp_path, images):
    from add.diffusion import DiffusionConfig
    from add.training import prepare

    train, model, _ = configs(run_dir=str(tmp_path / "run"), data_dir=str(images), learn_sigma=True)
    with pytest.raises(UserError, match="learn_sigma is True for the network and False for the diffusion"):
        prepare(train, model, DiffusionConfig(), SimpleNamespace(is_main=True))


def test_random_crops_and_other_sizes_train(tmp_path):
    folder = make_images(tmp_path / "large", count=3, size=40)
    trainer = start(tmp_path / "run", folder, crop="random", augment="flips", val_fraction=0.3, max_steps=1)
    trainer.run()
    assert trainer.step == 1 and trainer.held_out[0].shape == (1, 3, 16, 16)


def test_another_table_of_groups_is_refused_once_images_are_held_out(tmp_path):
    """It would hold out other images, some of which the run has trained on."""
    images = make_images(tmp_path / "images", count=8, size=16)
    names = sorted(path.name for path in images.iterdir())
    start(tmp_path / "plain", images, val_fraction=0.25, max_steps=1).run()
    (tmp_path / "groups.csv").write_text("image,group\n" + "".join(
        f"images/{name},{place // 2}\n" for place, name in enumerate(names)))
    with pytest.raises(UserError, match="restore its groups.csv"):
        start(tmp_path / "plain", images, val_fraction=0.25, max_steps=2)
    start(tmp_path / "grouped", images, val_fraction=0.25, max_steps=1).run()
    assert start(tmp_path / "grouped", images, val_fraction=0.25, max_steps=2).step == 1
    saved = json.loads((tmp_path / "plain" / "config.json").read_text())
    del saved["data"]["held_out_sha256"]  # as of an earlier version
    (tmp_path / "plain" / "config.json").write_text(json.dumps(saved))
    assert start(tmp_path / "plain", images, val_fraction=0.25, max_steps=2).step == 1


def test_all_processes_wait_until_the_images_are_listed(tmp_path, images):
    seen = []

    class Waiting(World):
        def barrier(self):
            seen.append((tmp_path / "run" / IMAGES_NAME).exists())

    start(tmp_path / "run", images, world=Waiting())
    assert seen == [True]
