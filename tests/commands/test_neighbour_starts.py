"""train --domain all: domains that start from the first one's weights, or from a base of them all."""
import json
import shutil

import pytest
import torch

from tests.commands.commands import run
from tests.tiny import make_images

NAMES = ("mild", "none", "severe")
TINY = ["--image_size", 16, "--num_channels", 32, "--num_res_blocks", 1, "--channel_mult", 1, "--attention_resolutions",
        "", "--batch_size", 4, "--log_interval", 1, "--num_preview", 0, "--tensorboard", False, "--device", "cpu",
        "--val_fraction", 0.3, "--lr", 0.01]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of three domains; only for reading."""
    root = tmp_path_factory.mktemp("data") / "images"
    for seed, name in enumerate(NAMES):
        make_images(root / name, count=4 + seed, seed=seed)
    return root


@pytest.fixture(scope="module")
def first(data, tmp_path_factory):
    """Run folders of four steps of the first domain and two of the others; only for reading."""
    runs = tmp_path_factory.mktemp("first") / "runs"
    assert run("train", *command(data, runs)) == 0
    return runs


@pytest.fixture(scope="module")
def based(data, tmp_path_factory):
    """Run folders of four steps of the base and two of each domain; only for reading."""
    runs = tmp_path_factory.mktemp("based") / "runs"
    assert run("train", *command(data, runs), "--start_from", "base") == 0
    return runs


def command(data, runs, *options):
    return ["--data_dir", data, "--run_dir", runs, "--domain", "all", "--max_steps", 4, "--save_interval", 1, *TINY,
            *options]


def saved(folder):
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))["train"]


def images_of(folder):
    return json.loads((folder / "training_images.json").read_text(encoding="utf-8"))


def last_step(folder):
    return max(int(path.stem.removeprefix("state")) for path in folder.glob("state*.pt"))


def same_weights(one, other):
    weights = [torch.load(path, weights_only=True) for path in (one, other)]
    return all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_every_other_domain_starts_from_the_first(data, first, tmp_path, capsys):
    """As a run does that is given its weights by hand."""
    assert [last_step(first / name) for name in NAMES] == [4, 2, 2]
    assert [saved(first / name)["start_from"] for name in NAMES] == ["scratch", "first", "first"]
    assert [saved(first / name)["init_from"] for name in NAMES] == ["", str(first / "mild"), str(first / "mild")]
    by_hand = ["--data_dir", data / "severe", "--run_dir", tmp_path / "hand", "--init_from", first / "mild",
               "--max_steps", 2, *TINY]
    assert run("train", *by_hand) == 0
    assert same_weights(tmp_path / "hand" / "model000002.pt", first / "severe" / "model000002.pt")
    assert images_of(first / "severe")["started_from"] == images_of(first / "mild")
    assert "domain 1 of" not in capsys.readouterr().out


def test_the_start_is_said_with_its_share(data, tmp_path, capsys):
    assert run("train", *command(data, tmp_path / "runs", "--max_steps", 3, "--start_share", 0.34, "--domains",
                                 "none,mild,severe")) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("domain ")]
    assert said == ["domain 1 of 3: none, from random weights"] + [
        f"domain {place} of 3: {name}, starting from the weights of none (step 3); it takes 0.34 of the steps, 1 "
        f"(--start_share 1 takes all)" for place, name in ((2, "mild"), (3, "severe"))]
    assert run("train", *command(data, tmp_path / "runs", "--max_steps", 6, "--start_share", 0.34, "--domains",
                                 "none,mild,severe")) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("domain ")]
    assert said[0] == "domain 1 of 3: none, going on" and said[1].startswith(
        "domain 2 of 3: mild, going on (it started from the weights of none); it takes 0.34 of the steps, 2")
    assert [last_step(tmp_path / "runs" / name) for name in ("none", "mild", "severe")] == [6, 2, 2]


def test_the_same_command_comes_to_the_same_weights(data, first, tmp_path):
    """A domain that was stopped goes on bit for bit, though the first one's weights are others by now."""
    runs = shutil.copytree(first, tmp_path / "runs")
    for file in runs.glob("severe/*000002.pt"):
        file.unlink()
    alone = shutil.copytree(runs, tmp_path / "alone")
    assert run("train", *command(data, runs, "--domain", "mild", "--max_steps", 5)) == 0
    for folder, domain in ((runs, "all"), (alone, "severe")):  # alone, it keeps its share, too
        assert last_step(folder / "severe") == 1
        assert run("train", *command(data, folder, "--domain", domain)) == 0
        assert same_weights(folder / "severe" / "model000002.pt", first / "severe" / "model000002.pt")
        assert last_step(folder / "severe") == 2 and saved(folder / "severe")["init_from"] == str(first / "mild")


def test_a_run_that_began_from_random_weights_goes_on_with_all_steps(data, tmp_path):
    runs = tmp_path / "runs"
    assert run("train", *command(data, runs, "--domain", "severe", "--max_steps", 1)) == 0
    assert run("train", *command(data, runs)) == 0
    assert [last_step(runs / name) for name in NAMES] == [4, 2, 4] and saved(runs / "severe")["init_from"] == ""


def test_from_scratch_and_from_given_weights_all_take_all_steps(data, first, tmp_path):
    for options in (["--start_from", "scratch"], ["--init_from", first / "none"]):
        assert run("train", *command(data, tmp_path / options[0], "--max_steps", 1, *options)) == 0
        assert {saved(tmp_path / options[0] / name)["init_from"] for name in NAMES} == {
            str(options[1]) if options[0] == "--init_from" else ""}
    assert run("train", *command(data, tmp_path / "both", "--max_steps", 1, "--start_from", "first", "--init_from",
                                 first / "none")) == 0
    assert [saved(tmp_path / "both" / name)["init_from"] for name in NAMES] == [
        str(first / "none"), *[str(tmp_path / "both" / "mild")] * 2]


def test_a_budget_is_shared(data, tmp_path):
    options = ["--data_dir", data, "--run_dir", tmp_path / "runs", "--domain", "all", "--budget", "2s", *TINY,
               "--log_interval", 100]
    assert run("train", *options) == 0
    plans = [saved(tmp_path / "runs" / name) for name in NAMES]
    assert [plan["budget"] for plan in plans] == ["2s", "1s", "1s"]
    assert run("train", *options) == 0  # nothing is left to do, and the plans stay
    again = [saved(tmp_path / "runs" / name)["max_steps"] for name in NAMES]
    assert again == [plan["max_steps"] for plan in plans] == [last_step(tmp_path / "runs" / name) for name in NAMES]


@pytest.mark.parametrize("start_from, trainings, steps", [("first", 3, 8), ("base", 4, 10), ("scratch", 3, 12)])
def test_an_estimate_tells_of_each_domain_and_of_all(data, tmp_path, capsys, start_from, trainings, steps):
    before = sorted(tmp_path.rglob("*"))
    assert run("train", *command(data, tmp_path / "runs", "--start_from", start_from, "--estimate")) == 0
    text = capsys.readouterr().out
    assert text.count("estimate from 3 steps") == trainings and sorted(tmp_path.rglob("*")) == before
    assert text.count("from another's weights once they are there") == {"first": 2, "base": 3, "scratch": 0}[start_from]
    assert text.splitlines()[-1].startswith(f"all {trainings} trainings, one after the other: ")
    assert f" for {steps} steps; disk: " in text.splitlines()[-1]


def test_an_estimate_counts_what_is_left(data, first, capsys):
    assert run("train", *command(data, first, "--max_steps", 8, "--estimate")) == 0
    assert " for 8 steps; disk: " in capsys.readouterr().out.splitlines()[-1]  # 4 of 8, and 2 of 4 twice
    assert run("train", *command(data, first, "--max_steps", 0, "--estimate")) == 0
    assert "all 3 trainings: no sum" in capsys.readouterr().out.splitlines()[-1]


def test_the_base_has_seen_no_image_that_a_domain_holds_out(based):
    assert [last_step(based / name) for name in ("base", *NAMES)] == [4, 2, 2, 2]
    base, *others = (images_of(based / name) for name in ("base", *NAMES))
    for use in ("trained_on", "held_out"):
        assert base[use] == {path: digest for own in others for path, digest in own[use].items()}
    assert len(base["held_out"]) == 5 and all(own["started_from"] == base for own in others)
    assert {saved(based / name)["init_from"] for name in NAMES} == {str(based / "base")}


def test_the_base_is_no_domain_of_a_translation(data, based, tmp_path, capsys):
    options = ["--timestep_respacing", 4, "--depth_schedule", "uniform", "--amount", 1, "--out_dir", tmp_path / "out"]
    assert run("translate", "--models_dir", based, "--data_dir", data, "--pairs", "mild-severe", *options) == 0
    assert "base (what the domains started from)" in capsys.readouterr().out
    settings = json.loads((tmp_path / "out" / "translation_0_2" / "run.json").read_text(encoding="utf-8"))
    assert "severe" in json.dumps(settings["checkpoints"])


def test_the_base_goes_on_for_some_of_its_domains_and_the_rest_is_offered(data, based, tmp_path, capsys):
    runs = shutil.copytree(based, tmp_path / "runs")
    assert run("train", *command(data, runs, "--start_from", "base", "--domain", "severe,mild", "--max_steps", 6)) == 0
    assert [last_step(runs / name) for name in ("base", *NAMES)] == [6, 3, 2, 3]
    text = capsys.readouterr().out
    assert "base that the domains start from (mild, none, severe), going on" in text
    assert f"add translate --models_dir {runs} --data_dir {data}" in text
    assert f"image_sample --model_path {runs / 'base'}" not in text


def test_unlabelled_patches_train_the_base(data, tmp_path):
    other = make_images(tmp_path / "other" / "slide" / "part", count=3, seed=9)
    shutil.copytree(data / "mild", tmp_path / "other" / "copies")
    assert run("train", *command(data, tmp_path / "runs", "--start_from", "base", "--max_steps", 1, "--base_data_dir",
                                 tmp_path / "other", "--domain", "mild")) == 0
    base, mild = (images_of(tmp_path / "runs" / name) for name in ("base", "mild"))
    assert len(base["trained_on"]) == 3 + 4 - len(mild["held_out"]) and len(mild["held_out"]) == 1
    assert not set(base["trained_on"].values()) & set(mild["held_out"].values())
    assert {str(path) for path in other.iterdir()} <= base["trained_on"].keys()


@pytest.mark.parametrize("options, message", [
    (["--start_share", 0], "--start_share is 0.0, expected a number above 0"),
    (["--start_from", "second"], "expected one of first, base, scratch"),
    (["--base_data_dir", "{data}/mild"], "without --start_from base"),
    (["--start_from", "base", "--class_cond"], "with --class_cond: expected networks without classes"),
    (["--start_from", "first", "--resume_checkpoint", "{first}/mild/model000004.pt"], "leave out one of the two"),
    (["--start_from", "base", "--domain", "."], "without domains: expected --domain all"),
    (["--start_from", "base", "--data_dir", "{tmp}/with_base"], "has a domain called base"),
    (["--start_from", "base", "--run_dir", "{tmp}/no_base"], "no base of several domains"),
    (["--start_from", "base", "--run_dir", "{tmp}/based", "--data_dir", "{tmp}/more"], "may have seen what worse"),
    (["--start_from", "base", "--base_data_dir", "{tmp}/nowhere"], "does not exist"),
], ids=str)
def test_what_cannot_work_is_refused(data, first, based, tmp_path, capsys, options, message):
    shutil.copytree(data, tmp_path / "with_base")
    (tmp_path / "with_base" / "severe").rename(tmp_path / "with_base" / "base")
    shutil.copytree(first / "mild", tmp_path / "no_base" / "base")
    shutil.copytree(based, tmp_path / "based")
    shutil.copytree(data, tmp_path / "more")
    make_images(tmp_path / "more" / "worse", seed=9)
    given = [str(word).format(tmp=tmp_path, data=data, first=first) for word in options]
    before = sorted(tmp_path.rglob("*"))
    assert run("train", *command(data, tmp_path / "runs"), *given) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and sorted(tmp_path.rglob("*")) == before


def test_domains_with_classes_start_alone_as_before(tmp_path):
    """Their networks may have other numbers of classes."""
    for seed, name in enumerate(("mild", "severe")):
        for place, path in enumerate(sorted(make_images(tmp_path / "images" / name, count=4, seed=seed).iterdir())):
            path.rename(path.with_name(f"{'xyz'[place % (2 + seed)]}_{place}.png"))
    assert run("train", *command(tmp_path / "images", tmp_path / "runs", "--class_cond", "--max_steps", 1)) == 0
    assert [saved(tmp_path / "runs" / name)["init_from"] for name in ("mild", "severe")] == ["", ""]
