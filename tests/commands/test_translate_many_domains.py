"""translate with --models_dir: pairs and chains of more than two domains, their labels, folders that do not fit."""
import csv
import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from add.data import read_image, to_uint8
from add.results.translation_series import read_series
from add.training import load_model
from add.training.checkpoints import read_state, save_safetensors
from add.transition import translate
from tests.commands.commands import run, with_changes
from tests.tiny import make_images, make_run

SCRIPT = "frequency_generating_m_samples"
NAMES = ("mild", "moderate", "severe")


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """Return the options of three tiny domains: a run folder and an image folder for each, four steps."""
    root = tmp_path_factory.mktemp("setup")
    for seed, name in enumerate(NAMES):
        make_run(root / "runs" / name, seed=seed)
        make_images(root / "images" / name, count=2, seed=seed)
    return ["--models_dir", root / "runs", "--data_dir", root / "images", "--timestep_respacing", "4", "--amount", "2",
            "--depth_schedule", "uniform", "--domains", ",".join(NAMES)]


@pytest.fixture(scope="module")
def chained(setup, tmp_path_factory):
    """Return the output folder of both chains, with arrays; only for reading."""
    out = tmp_path_factory.mktemp("chained")
    assert run(SCRIPT, *setup, "--pairs", "chain", "--out_dir", out, "--save_npy") == 0
    return out


def rows_of(folder):
    with open(folder / "labels.csv", newline="") as file:
        return list(csv.DictReader(file))


def pixels_of(folder, name):
    return np.stack([read_image(path) for path in sorted((folder / "images").glob(f"{name}_m*.png"))]).astype(int)


def source_image(setup, name):
    pixels = read_image(setup[3] / name)
    return torch.tensor(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1


def model_of(setup, name):
    return load_model(setup[1] / name, timestep_respacing="4")[:2]


# Pairs


def test_all_ordered_pairs_with_labels_of_all_domains(setup, tmp_path, capsys):
    assert run(SCRIPT, *setup, "--out_dir", tmp_path) == 0
    pairs = list(itertools.permutations(range(3), 2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", *(f"translation_{s}_{t}"
                                                                                for s, t in pairs)]
    for source, target in pairs:
        rows = rows_of(tmp_path / f"translation_{source}_{target}")
        assert [(row["source"], row["target"], row["m"]) for row in rows] == [
            (str(source), str(target), m) for m in "12"] * 2
        halves = [0.5 if k in (source, target) else 0.0 for k in range(3)]
        assert [[float(row[f"p_{k}"]) for k in range(3)] for row in rows[:2]] == [
            halves, [float(k == target) for k in range(3)]]
    assert "from moderate (1) to mild (0) in 2 steps" in capsys.readouterr().out
    facts = json.loads((tmp_path / "translation_2_0" / "run.json").read_text())
    assert [facts["options"][name] for name in ("source", "target", "num_domains")] == [2, 0, 3]
    assert facts["domains"] == list(NAMES) and facts["checkpoints"]["source"]["path"].endswith(
        "severe/ema_0.9999_000010.pt")


def test_a_pair_is_what_two_paths_give(setup, tmp_path):
    """The folder of a pair continues the one of the two-domain command, and holds the same files."""
    assert run(SCRIPT, *setup, "--pairs", "severe-mild", "--out_dir", tmp_path / "one") == 0
    two = ["--source_model_path", setup[1] / "severe", "--target_model_path", setup[1] / "mild", "--data_dir",
           setup[3] / "severe", "--source", 2, "--target", 0, "--num_domains", 3, "--direction", "forward"]
    assert run(SCRIPT, *setup[4:], *two, "--out_dir", tmp_path / "two") == 0
    for name in ("labels.csv", "records/settings.json", "images/a0_m01.png", "images/a1_m02.png"):
        assert (tmp_path / "one/translation_2_0" / name).read_bytes() == (
            tmp_path / "two/translation_2_0" / name).read_bytes()


def test_each_model_is_loaded_and_hashed_once(setup, tmp_path, monkeypatch):
    from add.commands import translate
    from add.runtime import given_models

    loads, hashes = [], []
    monkeypatch.setattr(translate, "load_given", lambda path, *args, load=given_models.load_given, **kwargs: (
        loads.append(path), load(path, *args, **kwargs))[1])
    monkeypatch.setattr(given_models, "sha256", lambda path, sha256=given_models.sha256: (
        hashes.append(path), sha256(path))[1])
    assert run(SCRIPT, *setup, "--out_dir", tmp_path) == 0
    assert len(loads) == len(set(loads)) == len(hashes) == len(set(hashes)) == 3


def test_only_what_is_wanted_is_needed(setup, tmp_path):
    """Images are needed of domains translated from; models that no pair uses are not loaded."""
    shutil.copytree(setup[3] / "mild", tmp_path / "images" / "mild")
    shutil.copytree(setup[1], tmp_path / "runs")
    (tmp_path / "runs" / "moderate" / "ema_0.9999_000010.pt").write_bytes(b"damaged")
    options = [*setup, "--models_dir", tmp_path / "runs", "--data_dir", tmp_path / "images", "--out_dir",
               tmp_path / "out"]
    assert run(SCRIPT, *options, "--pairs", "0-2") == 0
    assert len(rows_of(tmp_path / "out" / "translation_0_2")) == 4


# The order of the stages


STAGES = ("normal", "mild", "severe")  # sorted by name: mild, normal, severe


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Return the options of three stages whose order is not that of the alphabet; nothing tells it."""
    root = tmp_path_factory.mktemp("stages")
    for seed, name in enumerate(STAGES):
        make_run(root / "runs" / name, seed=seed)
        make_images(root / "images" / name, count=1, seed=seed)
    return ["--models_dir", root / "runs", "--data_dir", root / "images", "--timestep_respacing", "4", "--amount", "1",
            "--depth_schedule", "uniform"]


@pytest.mark.parametrize("options", [["--pairs", "chain"], ["--direction", "forward"], ["--direction", "backward"]])
def test_what_goes_by_an_order_that_nobody_said_is_refused(stages, tmp_path, capsys, options):
    assert run(SCRIPT, *stages, *options, "--out_dir", tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert f"{' '.join(options)} goes by the order of the domains" in message and "--domains" in message
    assert not (tmp_path / "out").exists()


def test_the_order_is_the_given_one(stages, tmp_path, capsys):
    words = [*stages, "--pairs", "chain", "--direction", "forward", "--out_dir", tmp_path, "--domains",
             ",".join(STAGES)]
    assert run(SCRIPT, *words) == 0
    assert "from normal (0) to mild (1) to severe (2)" in capsys.readouterr().out
    rows = rows_of(tmp_path / "chain_0_1_2")
    assert [float(rows[0][f"p_{k}"]) for k in range(3)] == [0, 1, 0] and rows[0]["source_image"] == "a0.png"
    assert json.loads((tmp_path / "chain_0_1_2" / "run.json").read_text())["domains"] == list(STAGES)


def test_the_order_of_the_training_is_remembered(stages, tmp_path, capsys):
    runs = shutil.copytree(stages[1], tmp_path / "runs")
    for name in STAGES:
        facts = json.loads((runs / name / "config.json").read_text())
        facts["train"] = {"domains": ",".join(STAGES)}
        (runs / name / "config.json").write_text(json.dumps(facts))
    words = [*stages, "--models_dir", runs, "--pairs", "chain", "--direction", "forward", "--out_dir", tmp_path / "out"]
    assert run(SCRIPT, *words) == 0
    assert "from normal (0) to mild (1) to severe (2)" in capsys.readouterr().out


def test_some_of_the_domains_may_be_named(stages, tmp_path):
    assert run(SCRIPT, *stages, "--domains", "severe,normal", "--data_dir", stages[3], "--out_dir", tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "translation_0_1", "translation_1_0"]
    assert json.loads((tmp_path / "translation_0_1" / "run.json").read_text())["domains"] == ["severe", "normal"]


def test_weights_as_safetensors_are_translated_with_as_well(stages, tmp_path):
    runs = shutil.copytree(stages[1], tmp_path / "runs")
    for path in runs.glob("*/*.pt"):
        save_safetensors(path.with_suffix(".safetensors"), read_state(path))
        path.unlink()
    words = [*stages, "--models_dir", runs, "--pairs", "normal-mild"]
    for models, out in ((runs, "lean"), (stages[1], "whole")):
        assert run(SCRIPT, *words, "--models_dir", models, "--out_dir", tmp_path / out) == 0
    folder, = (tmp_path / "whole").glob("translation_*")
    images = sorted((folder / "images").iterdir())
    assert images and all(path.read_bytes() == (tmp_path / "lean" / folder.name / "images" / path.name).read_bytes()
                          for path in images)


def test_a_folder_without_a_config_counts_by_its_weights(stages, tmp_path, capsys):
    runs = shutil.copytree(stages[1], tmp_path / "runs")
    (runs / "theirs").mkdir()
    (runs / "theirs" / "weights.safetensors").touch()
    assert run(SCRIPT, *stages, "--models_dir", runs, "--pairs", "normal-mild", "--out_dir", tmp_path / "out") == 2
    assert "theirs holds no checkpoint, expected ema_RATE_NNNNNN or modelNNNNNN" in capsys.readouterr().err


def test_runs_of_other_kinds_are_passed_over_with_a_word(stages, tmp_path, capsys):
    runs = shutil.copytree(stages[1], tmp_path / "runs")
    (runs / "gan").mkdir()
    (runs / "gan" / "config.json").write_text(json.dumps({"kind": "progan"}))
    (runs / "logs").mkdir()
    words = [*stages, "--models_dir", runs, "--pairs", "normal-mild", "--out_dir", tmp_path / "out"]
    assert run(SCRIPT, *words) == 0
    assert f"passed over in {runs}: gan (progan), logs (no run folder)" in capsys.readouterr().out


# Chains


def test_labels_of_a_chain_lead_from_one_domain_to_the_next(chained):
    rows = rows_of(chained / "chain_0_1_2")
    assert list(rows[0]) == ["image", "source_image", "source", "target", "m", "depth", "p_0", "p_1", "p_2"]
    assert [(row["image"], row["source_image"], row["m"]) for row in rows] == [
        (f"images/a{i}_m{m:02d}.png", f"a{i}.png", str(m)) for i in range(2) for m in range(1, 5)]
    assert {(row["source"], row["target"]) for row in rows} == {("0", "2")}
    assert [row["depth"] for row in rows] == ["666", "1000"] * 4  # 2 and 4 of 4 steps, in timesteps
    labels = [[float(row[f"p_{k}"]) for k in range(3)] for row in rows[:4]]
    assert labels == [[0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]]
    back = rows_of(chained / "chain_2_1_0")
    assert (back[0]["source"], back[0]["target"]) == ("2", "0")
    assert [float(back[3][f"p_{k}"]) for k in range(3)] == [1, 0, 0]


def test_each_leg_starts_from_the_unrounded_end_of_the_one_before(setup, chained):
    (mild, diffusion), (moderate, _), (severe, _) = (model_of(setup, name) for name in NAMES)
    first = translate(mild, moderate, source_image(setup, "mild/a1.png"), 2, diffusion, sampler="ddim", rule="uniform")
    second = translate(moderate, severe, first.targets[:, -1], 2, diffusion, sampler="ddim", rule="uniform")
    expected = to_uint8(torch.cat([first.targets[0], second.targets[0]])).numpy().astype(int)
    written = pixels_of(chained / "chain_0_1_2", "a1")
    assert np.abs(written - expected).max() <= 1
    assert len({image.tobytes() for image in written}) == 4


def test_a_chain_is_described(chained):
    facts = json.loads((chained / "chain_2_1_0" / "run.json").read_text())
    assert facts["num_images"] == 8 and facts["nfe_per_image"] == 2 * (4 + 2 + 4)
    assert list(facts["checkpoints"]) == ["source", "domain_1", "target"]
    assert facts["checkpoints"]["domain_1"]["path"].endswith("moderate/ema_0.9999_000010.pt")
    assert facts["depth_rule"] == "uniform"
    arrays = {name: np.load(chained / "chain_0_1_2" / f"{name}.npy") for name in ("target", "latent", "diffway")}
    assert arrays["target"].shape == arrays["latent"].shape == (2, 4, 3, 16, 16)
    assert arrays["diffway"].tolist() == [[666, 1000, 666, 1000]] * 2
    width = Image.open(chained / "chain_0_1_2" / "overview.png").width
    assert width > 5 * 96  # the source and four images, enlarged to 96 pixels


def test_a_chain_is_read_as_one_series(chained):
    series = read_series(chained / "chain_0_1_2")
    assert (series.source, series.target, series.amount, series.is_chain) == (0, 2, 4, True)
    assert series.m.tolist() == [1, 2, 3, 4] * 2 and series.groups.tolist() == [0] * 4 + [1] * 4
    assert series.labels[1].tolist() == [0, 1, 0]


def test_a_killed_chain_is_completed(setup, chained, tmp_path, capsys):
    shutil.copytree(chained, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "chain_0_1_2"
    for name in ("records/a1.json", "images/a1_m02.png", "labels.csv", "run.json"):
        (folder / name).unlink()
    times = {path: path.stat().st_mtime_ns for path in (folder / "images").glob("a0*")}
    assert run(SCRIPT, *setup, "--pairs", "chain", "--out_dir", tmp_path, "--save_npy") == 0
    assert "1 of 2 source images were finished before" in capsys.readouterr().out
    assert times == {path: path.stat().st_mtime_ns for path in (folder / "images").glob("a0*")}
    assert (folder / "labels.csv").read_bytes() == (chained / "chain_0_1_2" / "labels.csv").read_bytes()
    assert np.abs(pixels_of(folder, "a1") - pixels_of(chained / "chain_0_1_2", "a1")).max() <= 1


def test_a_classifier_learns_from_a_chain(setup, chained, tmp_path):
    """Its labels have an entry for each class of the real images."""
    others = [tmp_path / "val", tmp_path / "test"]
    for seed, (folder, name) in enumerate(itertools.product(others, NAMES)):
        make_images(folder / name, count=2, seed=seed + 10)
    options = ["--data_dir", setup[3], "--val_dir", others[0], "--test_dir", others[1], "--methods", "full,progressive",
               "--translations", chained / "chain_0_1_2", "--label_rule", "depth", "--steps", 2, "--num_seeds", 1]
    assert run("classify", *options, "--batch_size", 4, "--out_dir", tmp_path / "out") == 0
    found = json.loads((tmp_path / "out" / "classification.json").read_text())
    assert found["settings"]["domains"] == list(NAMES)


@pytest.mark.parametrize("rule", ["power", "classifier"])
def test_labels_of_two_domains_are_refused_for_a_chain(rule, setup, chained, capsys):
    options = ["--translations", chained / "chain_0_1_2", "--rule", rule, "--data_dir", setup[3]]
    assert run("soft_labels", *options) == 2
    assert "chain" in capsys.readouterr().err
    assert not (chained / "chain_0_1_2" / f"labels_{rule}.csv").exists()


# Refusals


@pytest.fixture(scope="module")
def bad(setup, tmp_path_factory):
    """Return {case: (options, words of the message)}."""
    root = tmp_path_factory.mktemp("bad")
    for name in ("large", "cosine", "classes", "unfinished"):
        shutil.copytree(setup[1], root / name)
    shutil.rmtree(root / "large" / "severe")
    make_run(root / "large" / "severe", image_size=32)
    make_run(root / "cosine" / "severe", diffusion={"noise_schedule": "cosine"})
    make_run(root / "classes" / "severe", class_cond=True, num_classes=2)
    (root / "unfinished" / "severe" / "ema_0.9999_000010.pt").unlink()
    shutil.copytree(setup[3], root / "more")
    make_images(root / "more" / "unknown")
    shutil.copytree(setup[3], root / "fewer")
    shutil.rmtree(root / "fewer" / "severe")
    return {
        "a model of another size": (["--models_dir", root / "large"], "32-pixel"),
        "another schedule": (["--models_dir", root / "cosine"], "noise schedule"),
        "a class-conditional model": (["--models_dir", root / "classes"], "with add imagenet_translation"),
        "a run without checkpoint": (["--models_dir", root / "unfinished"], "no checkpoint"),
        "images without a model": (["--data_dir", root / "more"], "no run folder"),
        "models without images": (["--data_dir", root / "fewer"], "no images of severe"),
        "one run folder": (["--models_dir", setup[1] / "mild"], "0 run folders"),
        "no images": (["--data_dir", ""], "without --data_dir"),
        "missing models": (["--models_dir", root / "missing"], "is no folder"),
        "a pair of models": (["--source_model_path", setup[1] / "mild"], "--models_dir was given with"),
        "target images": (["--target_data_dir", setup[3] / "mild"], "--models_dir was given with"),
        "a source number": (["--source", 0], "--pairs 0-1"),
        "another number of domains": (["--num_domains", 4], "holds 3 run folders"),
        "a direction twice": (["--pairs", "0-1", "--direction", "forward"], "leave out --direction"),
        "pairs alone": (["--models_dir", "", "--pairs", "all"], "without --models_dir"),
        "an unknown pair": (["--pairs", "mild-sever"], "0 mild, 1 moderate, 2 severe"),
    }


CASES = ["a model of another size", "another schedule", "a class-conditional model", "a run without checkpoint",
         "images without a model", "models without images", "one run folder", "no images", "missing models",
         "a pair of models", "target images", "a source number", "another number of domains", "a direction twice",
         "pairs alone", "an unknown pair"]


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_refused_before_anything_is_written(case, bad, setup, tmp_path, capsys):
    options, words = bad[case]
    assert run(SCRIPT, *with_changes([*setup, "--out_dir", tmp_path / "out"], options)) == 2
    message = capsys.readouterr().err
    assert words in message and "Traceback" not in message
    assert not list(tmp_path.iterdir())
