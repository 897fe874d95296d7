"""Starts from another run's weights: shares of steps and budgets, and what run folders keep of them."""
import json
import shutil

import pytest

from add.errors import UserError
from add.networks import ModelConfig
from add.runtime.world import World
from add.training import TrainConfig, prepare
from add.training.checkpoints import trained_parts
from add.training.domain_starts import follower, going_on, on_its_own, saved_start, with_share
from add.training.run_config import BaseTrainConfig, duration_seconds, duration_text
from add.training.training_data import open_source
from add.training.training_images import IMAGES_NAME, read_training_digests, read_training_images
from tests.tiny import make_images
from tests.training.runs import QUICK, configs, start

PLAN = ("max_steps", "lr_anneal_steps", "lr_anneal_start", "lr_warmup_steps")


@pytest.mark.parametrize("options, share, plan", [
    ({"max_steps": 1000}, 0.5, (500, 0, 0, 0)),
    ({"lr_anneal_steps": 1000, "lr_anneal_start": 600, "lr_warmup_steps": 30}, 0.5, (500, 500, 300, 30)),
    ({"max_steps": 900, "lr_anneal_steps": 1000, "lr_warmup_steps": 200}, 0.4, (360, 400, 0, 36)),
    ({}, 0.25, (5000, 0, 0, 0)),  # of the 20000 that are the default
    ({"max_steps": 0, "lr_anneal_steps": 10, "lr_warmup_steps": 7}, 0.5, (0, 5, 0, 7)),  # no end stays none
    ({"max_steps": 1, "lr_anneal_steps": 3, "lr_anneal_start": 2}, 0.2, (1, 1, 0, 0)),
    ({"max_steps": 9, "lr_warmup_steps": 5}, 1.0, (9, 0, 0, 5)),
], ids=str)
def test_steps_and_learning_rate_are_shared_alike(options, share, plan):
    shared = with_share(TrainConfig(start_share=share, **options))
    assert tuple(getattr(shared, name) for name in PLAN) == plan


def test_a_budget_is_shared_and_the_steps_left_to_it():
    config = TrainConfig(budget="1h30m", start_share=0.5, max_steps=10, lr_warmup_steps=5)
    assert with_share(config).budget == "45m" and with_share(config).max_steps == 10


@pytest.mark.parametrize("seconds, text", [(5400, "1h30m"), (7200, "2h"), (900, "15m"), (45, "45s"), (0.15, "0.15s"),
                                           (100000.5, "100000.5s")])
def test_times_are_written_as_they_are_read(seconds, text):
    assert duration_text(seconds) == text and duration_seconds(text) == seconds


def test_a_run_keeps_what_it_started_from_and_its_share(tmp_path, images):
    start(tmp_path / "mild", images, max_steps=1).run()
    config = TrainConfig(run_dir=str(tmp_path / "severe"), max_steps=4)
    assert saved_start(config.run_dir) == {} and going_on(config) == on_its_own(config)
    begun = follower(config, tmp_path / "mild", "first")
    options = {name: getattr(begun, name) for name in ("init_from", "start_from")}
    start(config.run_dir, images, max_steps=1, **options).run()
    assert saved_start(config.run_dir) == options
    assert going_on(config) == begun and begun.max_steps == 2
    assert start(config.run_dir, images, max_steps=2).step == 1  # a command that says nothing of it
    assert saved_start(config.run_dir) == options
    other = follower(config, tmp_path / "elsewhere", "base")
    start(config.run_dir, images, max_steps=2, init_from=other.init_from, start_from="base")  # or something else
    assert saved_start(config.run_dir) == options


def test_a_run_that_was_resumed_by_name_keeps_its_start(tmp_path, images):
    start(tmp_path / "a", images, max_steps=1).run()
    start(tmp_path / "b", images, max_steps=1, init_from=str(tmp_path / "a")).run()
    go_on = {"max_steps": 2, "resume_checkpoint": str(tmp_path / "b" / "model000001.pt")}
    assert start(tmp_path / "b", images, **go_on).step == 1
    assert saved_start(tmp_path / "b")["init_from"] == str(tmp_path / "a")


def test_images_of_the_start_count_as_trained_on(tmp_path, images):
    """Over two starts, also where the list is written anew and for a checkpoint file."""
    others = [make_images(tmp_path / f"images{seed}", seed=seed) for seed in (1, 2)]
    start(tmp_path / "a", others[0], max_steps=1).run()
    start(tmp_path / "b", others[1], max_steps=1, init_from=str(tmp_path / "a" / "model000001.pt")).run()
    start(tmp_path / "c", images, max_steps=1, val_fraction=0.3, init_from=str(tmp_path / "b")).run()
    lists = {name: read_training_images(tmp_path / name) for name in "abc"}
    assert "started_from" not in lists["a"] and lists["c"]["started_from"] == lists["b"]
    assert lists["b"]["started_from"] == lists["a"]
    own = set(lists["c"]["trained_on"].values())
    assert len(own) == 5
    assert read_training_digests(tmp_path / "c") == own | {
        digest for name in "ab" for digest in lists[name]["trained_on"].values()}
    (tmp_path / "c" / IMAGES_NAME).unlink()
    start(tmp_path / "c", images, max_steps=2, val_fraction=0.3)
    assert read_training_images(tmp_path / "c") == lists["c"]
    start(tmp_path / "d", images, max_steps=2, val_fraction=0.3,
          resume_checkpoint=str(tmp_path / "c" / "model000001.pt"))
    assert read_training_digests(tmp_path / "d") == read_training_digests(tmp_path / "c")


def test_a_start_that_is_gone_is_told_of_where_its_images_are_asked_for(tmp_path, images):
    notes = []
    start(tmp_path / "a", images, max_steps=1).run()
    start(tmp_path / "b", images, max_steps=1, init_from=str(tmp_path / "a")).run()
    shutil.rmtree(tmp_path / "a")
    start(tmp_path / "b", images, max_steps=2, note=notes.append)
    assert not any("is gone" in text for text in notes)
    (tmp_path / "b" / IMAGES_NAME).unlink()
    start(tmp_path / "b", images, max_steps=2, note=notes.append)
    assert any(f"{tmp_path / 'a'}, which this run started from, is gone" in text for text in notes)


def test_held_out_images_that_the_start_has_seen_are_told_of(tmp_path, images):
    start(tmp_path / "a", images, max_steps=1, val_fraction=0.3).run()
    for fraction, told in ((0.3, []), (0.5, ["2 of 4 held-out images were trained on by the run that this one "])):
        notes = []
        start(tmp_path / f"b{fraction}", images, note=notes.append, val_fraction=fraction,
              init_from=str(tmp_path / "a"))
        assert [text[:len(told[0])] if told else text for text in notes if "were trained on" in text] == told


def domains(folder, **counts):
    for seed, (name, count) in enumerate(counts.items()):
        make_images(folder / name, count=count, seed=seed)
    return folder


def base_source(folder, **options):
    config = BaseTrainConfig(**{"data_dir": str(folder), "domains_dir": str(folder), "parts": "mild,severe",
                                "domain": "all"} | options)
    return open_source(config, ModelConfig(image_size=16), World())


def names(paths, folder):
    return {str(path).removeprefix(f"{folder}/") for path in paths}


@pytest.mark.parametrize("options", [{"val_fraction": 0.3}, {"val_fraction": 0.4, "seed": 5}, {"val_fraction": 0.0},
                                     {"val_fraction": 0.3, "group_pattern": "^a[0-3]|^a"}], ids=str)
def test_the_base_is_trained_on_what_no_domain_holds_out(tmp_path, options):
    folder = domains(tmp_path / "images", mild=7, severe=10, left_out=3)
    base = base_source(folder, **options)
    own = [open_source(TrainConfig(data_dir=str(folder / name), domain="all", **options), ModelConfig(image_size=16),
                       World()) for name in ("mild", "severe")]
    for use in ("trained_on", "held_out"):
        assert sorted(base.files[use]) == sorted(path for source in own for path in source.files[use])
    assert base.facts["images"] == 17 and base.facts["held_out"] == len(base.files["held_out"])
    assert len(base.stream.image_set) == len(base.files["trained_on"])
    moved = shutil.copytree(folder, tmp_path / "moved")
    again = base_source(moved, **options)
    assert all(again.facts[name] == base.facts[name] for name in ("fingerprint", "held_out_sha256"))


def test_a_patient_on_both_sides_of_two_domains_is_told_of(tmp_path):
    folder = domains(tmp_path / "images", mild=4, severe=9)
    options = {"val_fraction": 0.3, "group_pattern": "a[0-9]"}
    (sentence,) = [text for text in base_source(folder, **options).sentences if "groups such as patients" in text]
    assert "another is trained on its own" in sentence
    assert not any("patients" in text for text in base_source(folder, group_pattern="a[0-9]").sentences)


def test_unlabelled_images_train_the_base_without_those_held_out(tmp_path):
    """Copies under other names are found by their bytes."""
    folder = domains(tmp_path / "images", mild=7, severe=10)
    other = make_images(tmp_path / "other" / "slide_1" / "left", count=4, seed=9)
    own = base_source(folder, val_fraction=0.3).files
    held_out = own["held_out"]
    for place, path in enumerate([held_out[0], held_out[-1], own["trained_on"][0]]):
        shutil.copy(path, tmp_path / "other" / f"copy{place}.png")
    source = base_source(folder, val_fraction=0.3, data_dir=str(other.parents[1]), base_data_dir=str(other.parents[1]))
    assert names(source.files["trained_on"], other.parents[1]) == {
        "copy2.png", *(f"slide_1/left/a{i}.png" for i in range(4))}
    assert source.files["held_out"] == held_out and source.facts["images"] == 7
    assert any("2 of 7 images" in text and "a domain holds them out" in text for text in source.sentences)
    shutil.rmtree(tmp_path / "other" / "slide_1")
    (tmp_path / "other" / "copy2.png").unlink()
    with pytest.raises(UserError, match="all 2 images of --base_data_dir .* are held out by a domain"):
        base_source(folder, val_fraction=0.3, data_dir=str(tmp_path / "other"), base_data_dir=str(tmp_path / "other"))


def test_unlabelled_images_of_a_held_out_patient_are_left_out(tmp_path):
    folder = domains(tmp_path / "images", mild=6, severe=6)
    other = make_images(tmp_path / "other", count=10, seed=9)
    options = {"val_fraction": 0.3, "data_dir": str(other), "base_data_dir": str(other)}
    source = base_source(folder, group_pattern="a[0-9]", **options)
    held_out = {path[-6:] for path in source.files["held_out"]}
    assert names(source.files["trained_on"], other) == {f"a{i}.png" for i in range(10)} - held_out
    (folder / "groups.csv").write_text("image,group\n" + "".join(
        f"{name}/a{i}.png,p{i}\n" for name in ("mild", "severe") for i in range(6)), encoding="utf-8")
    source = base_source(folder, **options)
    assert len(source.files["trained_on"]) == 10
    assert any("nothing tells those of" in text and "--group_pattern" in text for text in source.sentences)


def test_config_json_says_what_a_base_is_for(tmp_path):
    folder = domains(tmp_path / "images", mild=3, severe=3)
    _, model, diffusion = configs()
    config = BaseTrainConfig(**QUICK | {"data_dir": str(folder), "domains_dir": str(folder), "parts": "mild,severe",
                                        "domain": "all", "run_dir": str(tmp_path / "base")})
    prepare(config, model, diffusion, World())
    assert trained_parts(tmp_path / "base") == ("mild", "severe") and trained_parts(tmp_path) == ()
    assert json.loads((tmp_path / "base" / "config.json").read_text(encoding="utf-8"))["data"]["images"] == 6
