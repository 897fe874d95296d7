"""benchmarks/neighbour_starts.py: what it trains and measures, the names of its files, its numbers and its tables."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny import MODEL, make_images

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import neighbour_starts
from neighbour_plan import Model, Pair, Real, pairs_of, wanted, ways_of
from neighbour_starts import build_parser, file_name, in_middle, progress_of, recipe_of, row_name, trained
from neighbour_tables import report

from add.training import load_model

RECIPE = {"train": {"batch_size": 2, "lr": 1e-3}, "model": MODEL, "diffusion": {"prediction": "v"}}


def args_of(*more, out_dir="out"):
    return build_parser().parse_args(["--out_dir", str(out_dir), *more])


# The plan


def test_a_recipe_is_what_the_file_says_without_its_length(tmp_path):
    (tmp_path / "recipe.yaml").write_text("image_size: 32\noptimizer: muon\nlr: 0.003\nlr_anneal_steps: 90\n"
                                          "minutes: 3\nthreads: 2\nprediction: v\nsave_interval: 7\n", encoding="utf-8")
    assert recipe_of(tmp_path / "recipe.yaml") == {"train": {"optimizer": "muon", "lr": 0.003},
                                                   "model": {"image_size": 32}, "diffusion": {"prediction": "v"}}


def test_the_severe_domain_is_trained_in_every_way_from_what_the_plan_says():
    found = [what for what in wanted(args_of("--seeds", "4", "--budgets", "25,100"))
             if isinstance(what, Model) and what.images == "severe" and what.budget == 25]
    starts = {model.way: model.start and (model.start.images, model.start.budget, model.start.seed) for model in found}
    assert starts == {"scratch": None, "first": ("mild", 100, 4), "base": ("labelled", 100, 4),
                      "base_unlabelled_100": ("unlabelled", 100, 4), "base_unlabelled_300": ("unlabelled", 300, 4)}


def test_pairs_are_of_full_models_and_share_what_they_can():
    pairs = {pair.way: pair for pair in pairs_of(0, args_of())}
    assert list(pairs) == ["scratch", "first", "base", "base_unlabelled_300"]
    assert {model.budget for pair in pairs.values() for model in (pair.source, pair.target)} == {100}
    assert pairs["first"].source == pairs["scratch"].source == pairs["first"].target.start
    assert pairs["base"].source.start == pairs["base"].target.start == Model("labelled", "scratch", 0, 100)
    assert pairs["base_unlabelled_300"].source.way == "base_unlabelled_300"


def test_nothing_is_measured_twice_and_the_default_plan_has_45_rows():
    found = wanted(args_of())
    assert len(found) == len(set(found)) == 1 + 2 * (3 * 5 + 3 + 4)
    assert isinstance(found[0], Real)


# Files


def test_names_change_with_the_recipe_the_start_and_what_is_drawn():
    model = Model("severe", "base", 0, 25.0, Model("labelled", "scratch", 0, 100.0))
    other = Model("severe", "base", 0, 25.0, Model("labelled", "scratch", 0, 200.0))
    faster = RECIPE | {"train": {"batch_size": 2, "lr": 2e-3}}
    names = [file_name(model, RECIPE), file_name(other, RECIPE), file_name(model, faster),
             row_name(model, RECIPE, args_of()), row_name(model, RECIPE, args_of("--num_samples", "99"))]
    assert len(set(names)) == len(names)
    assert all(name.startswith("severe-base-seed0-25s-") for name in names)
    pair = Pair("base", 0, 100.0, model, other)
    assert row_name(pair, RECIPE, args_of()) == row_name(pair, RECIPE, args_of("--num_samples", "99"))
    assert row_name(pair, RECIPE, args_of()) != row_name(pair, RECIPE, args_of("--amount", "9"))


def test_a_model_is_trained_once_from_the_weights_of_its_start(tmp_path, monkeypatch):
    folders = {name: make_images(tmp_path / name, 3, seed=i) for i, name in enumerate(("mild", "severe"))}
    still = RECIPE | {"train": {"batch_size": 2, "lr": 1e-12}}  # so that weights stay where they start
    mild = Model("mild", "scratch", 0, 0.2)
    follower = Model("severe", "first", 1, 0.2, mild)
    folder, record = trained(follower, still, folders, tmp_path / "out")
    at_first, before = trained(mild, still, folders, tmp_path / "out")
    assert record["start_core_seconds"] == before["core_seconds"] > 0
    assert before["start_core_seconds"] == 0
    for own, theirs in zip(load_model(folder)[0].parameters(), load_model(at_first)[0].parameters(), strict=True):
        torch.testing.assert_close(own, theirs)
    monkeypatch.setattr(neighbour_starts, "OwnTraining", None)
    assert trained(follower, still, folders, tmp_path / "out") == (folder, record)


def test_a_model_whose_start_broke_down_is_not_trained(tmp_path):
    start = Model("mild", "scratch", 0, 9.0)
    done = tmp_path / "models" / file_name(start, RECIPE) / neighbour_starts.DONE
    done.parent.mkdir(parents=True)
    done.write_text(json.dumps({"core_seconds": 1.0, "start_core_seconds": 0.0, "broke_down": "the loss was nan"}),
                    encoding="utf-8")
    record = trained(Model("severe", "first", 0, 9.0, start), RECIPE, {}, tmp_path)[1]
    assert record["broke_down"] == "its start, mild-scratch-seed0-9s: the loss was nan"


# Numbers


def test_middle_images_and_steps_forward_of_known_severities():
    severity = np.array([[0.1, 0.4, 0.3, 0.9], [0.2, 0.5, 0.6, 0.7]])
    assert in_middle(severity).tolist() == [[False, True, False, False], [False, True, True, False]]
    found = progress_of(severity)
    assert found["forward"] == pytest.approx(5 / 6)
    assert (found["source_severity"], found["last_severity"]) == pytest.approx((0.15, 0.8))
    assert found["severity_by_depth"] == pytest.approx([0.45, 0.45, 0.8])


# Tables


def model_row(way, seed, budget, held_out, images="severe", broke_down=""):
    return {"kind": "model", "images": images, "way": way, "seed": seed, "budget": budget, "core_seconds": budget,
            "start_core_seconds": 0 if way == "scratch" else 100, "steps": 10 * budget, "num_samples": 500,
            "kid": {"held_out": [held_out, 5.0], "training": [held_out + 1, 5.0]}, "cpu": "CPU",
            "versions": {"torch": "2"}, "broke_down": broke_down}


def pair_row(way, seed, last, middle, number=40):
    return {"kind": "pair", "way": way, "seed": seed, "budget": 100, "core_seconds": 300, "num_sources": 100,
            "kid_last": [last, 5.0], "kid_middle": middle and [middle, 5.0], "num_middle": number,
            "last_severity": 0.8 + seed / 100, "forward": 0.9, "depth_rules": {"progress": 98, "uniform": 2},
            "cpu": "CPU", "versions": {"torch": "2"}, "broke_down": ""}


REAL = {"kind": "real", "way": "real", "kid_last": [0.9, 5.0], "kid_middle": [0.2, 1.0], "num_middle": 392,
        "severity": {"severe": 0.836}, "cpu": "CPU", "versions": {"torch": "2"}, "broke_down": ""}


def test_the_report_has_means_half_ranges_and_the_way_to_the_quality_of_scratch():
    text = report([model_row("scratch", 0, 25, 44.0), model_row("scratch", 1, 25, 40.0),
                   model_row("scratch", 0, 100, 20.0), model_row("first", 0, 25, 30.0),
                   model_row("first", 0, 100, 10.0), model_row("base", 0, 25, 15.0),
                   model_row("base", 0, 100, 9.0, images="mild"), model_row("base", 0, 50, 0, broke_down="it was nan"),
                   pair_row("first", 0, 20.0, 50.0), pair_row("first", 1, 24.0, 60.0, 50), REAL], ways_of(args_of()))
    assert "| scratch | 25 | 2 | 25 | 0 | 250 | 42.0 +- 2.0 | 43.0 +- 2.0 |" in text
    assert "KID x 1000 of 20.0, what `scratch` has after 100" in text
    assert "| first | 50 | 2.00 |" in text
    assert "| base | at most 25 | at least 4.00 |" in text
    assert "base, seed 0, 50 core-seconds broke down: it was nan." in text
    assert text.index("### The severe domain") < text.index("### The mild domain") < text.index("### Translations")
    assert ("| first | 2 | 300 | 22.0 +- 2.0 | 55.0 +- 5.0 | 45 +- 5 | 0.805 +- 0.005 | 90.0 +- 0.0 | "
            "196 of 200 |") in text
    assert "| real | 1 | - | 0.9 | 0.2 | 392 | 0.836 | - | - |" in text


def test_too_few_middle_images_are_said_to_be_so():
    assert "| fewer than 16 images | 3 |" in report([pair_row("scratch", 0, 20.0, None, 3)], ways_of(args_of()))


def test_an_empty_folder_is_said_to_be_empty():
    assert report([], ways_of(args_of())) == "nothing is measured yet"
