"""The pure parts of benchmarks/time_to_quality.py: recipes, plans, rows and tables."""
import argparse
import json
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from quality_options import names_of
from quality_plan import cosine_share, planned_fall, planned_start
from quality_recipes import BEFORE, LEFT_OUT, LEVERS, RECIPES, SETS, options_of, runs_on
from quality_tables import report, seconds_to_reach
from time_to_quality import Embedded, build_parser, measured_rows, wanted_rows

from add.training import TrainConfig
from tests.tiny import make_run


def args_of(out_dir, *more):
    return build_parser().parse_args(["--out_dir", str(out_dir), *more])


# Recipes


@pytest.mark.parametrize("size", BEFORE)
def test_a_recipe_without_a_lever_differs_from_all_in_that_lever_only(size):
    everything = options_of("all", size)
    name_of = {side: name for name, (side, _) in SETS.items()}
    for lever in LEVERS:
        if lever in LEFT_OUT[size]:
            assert not runs_on(f"all_but_{lever}", name_of[size]) and runs_on(lever, name_of[size])
            continue
        rest = options_of(f"all_but_{lever}", size)
        changed = {(part, name) for part in everything for name in everything[part]
                   if rest[part].get(name) != everything[part][name]}
        assert changed == {(part, name) for part, values in LEVERS[lever][size].items() for name in values}


def test_levers_leave_the_recipe_before_as_it_is():
    assert options_of("before", 64) == BEFORE[64]
    options_of("before", 64)["train"]["batch_size"] = 1
    assert options_of("small_batch", 64)["train"] | {"batch_size": 16} == BEFORE[64]["train"]


# Plans


def test_warm_up_is_a_tenth_of_the_steps_at_most_and_the_rate_then_stays():
    config = TrainConfig(lr=1.0, lr_warmup_steps=200, lr_anneal_steps=50, max_steps=50)
    assert planned_start(config, 5000).lr_warmup_steps == 200
    short = planned_start(config, 70)
    assert [short.learning_rate(step) for step in (0, 6, 10**6)] == [1 / 7, 1, 1]
    assert short.last_step == 0


def test_the_rate_falls_to_0_where_the_budget_ends_at_the_cost_so_far():
    fall = planned_fall(TrainConfig(lr=1.0), 40, 260.0, 520.0)
    assert fall.last_step == 80
    assert [fall.learning_rate(step) for step in (40, 60, 79)] == [1, 0.5, 1 / 40]


def test_a_fall_has_one_step_at_least():
    assert planned_fall(TrainConfig(), 3, 30.0, 31.0).last_step == 4


def test_the_cosine_rises_by_steps_or_by_time_whichever_is_faster():
    assert cosine_share(49, 0.0, 500) == pytest.approx(0.1)
    assert cosine_share(0, 0.05, 500) == pytest.approx(0.5 * 0.5 * (1 + math.cos(0.05 * math.pi)))
    assert cosine_share(0, 0.5, 500) == pytest.approx(0.5)
    assert cosine_share(9000, 1.0, 500) == pytest.approx(0)


# The embedded models


def test_the_core_seconds_of_an_embedded_model_are_those_of_its_progress(tmp_path, monkeypatch):
    run_dir = make_run(tmp_path / "models" / "gland", diffusion={"prediction": "v"})
    (run_dir / "progress.csv").write_text("step,minutes\n50,1.5\n100,14.25\n", encoding="utf-8")
    monkeypatch.setattr("add.data.embedded.ASSETS", tmp_path)
    assert Embedded("gland").core_seconds == 855


# Rows


def test_every_recipe_set_seed_and_budget_is_a_row_and_references_are_one_each(tmp_path):
    rows = wanted_rows(args_of(tmp_path, "--recipes", "before,real,embedded", "--seeds", "0,3", "--budgets", "5,50"))
    found = [(row.set, row.recipe, row.seed, row.budget) for row in rows]
    trained = [(seed, budget) for budget in (5, 50) for seed in (0, 3)]
    assert found == [("phantom", "real", 0, 0), *[("phantom", "before", *one) for one in trained],
                     ("tissue", "real", 0, 0), ("tissue", "embedded", 0, 0),
                     *[("tissue", "before", *one) for one in trained]]
    assert len({row.name for row in rows}) == len(rows)


def test_only_rows_of_the_same_settings_are_reported_and_the_others_counted(tmp_path, capsys):
    args = args_of(tmp_path, "--recipes", "before,muon", "--sets", "tissue")
    (tmp_path / "rows").mkdir()
    others = wanted_rows(args_of(tmp_path, "--recipes", "muon", "--sets", "tissue", "--num_samples", "9"))
    for row in [*wanted_rows(args)[:1], *others]:
        record = {"set": row.set, "recipe": row.recipe, "seed": row.seed, "budget": row.budget}
        (tmp_path / "rows" / f"{row.name}.json").write_text(json.dumps(record), encoding="utf-8")
    assert [row["recipe"] for row in measured_rows(args)] == ["before"]
    assert capsys.readouterr().err.startswith("2 rows were made with other settings")


def test_unknown_recipes_are_refused_with_those_there_are():
    with pytest.raises(argparse.ArgumentTypeError, match="ours: expected some of gd, before"):
        names_of(RECIPES)("before,ours")


# Tables


@pytest.mark.parametrize(("level", "expected"), [(30, 200), (20, 400), (40, 100), (70, 100), (19, None)])
def test_core_seconds_lie_between_two_budgets_on_a_logarithmic_scale(level, expected):
    found = seconds_to_reach([(100, 40), (400, 20), (800, 25)], level)
    assert found == (None if expected is None else pytest.approx(expected))


def record(recipe, seed, budget, held_out, broke_down=""):
    return {"set": "tissue", "recipe": recipe, "seed": seed, "budget": budget, "steps": 2 * budget,
            "core_seconds": budget, "parameters": 1.5e6, "num_samples": 128 if recipe == "gd" else 500,
            "kid": {"held_out": [held_out, 9.0], "training": [held_out + 1, 9.0]}, "v_error": 0.04, "cpu": "CPU",
            "versions": {"torch": "2"}, "broke_down": broke_down}


def test_the_report_has_means_half_ranges_and_the_way_to_the_quality_of_before():
    text = report([record("before", 0, 100, 44.0), record("before", 1, 100, 40.0), record("before", 0, 400, 20.0),
                   record("all", 0, 100, 30.0), record("all", 0, 400, 10.0), record("muon", 0, 100, 15.0),
                   record("gd", 0, 400, 900.0), record("patch", 0, 100, math.nan, "the loss was nan at step 2")])
    assert "| before | 2 | 100 | 200 | 0.500 | 1.50 | 42.0 +- 2.0 | 43.0 +- 2.0 | 0.0400 |" in text
    assert "Samples: 500 for ours, 128 for gd and other libraries." in text
    assert "patch, seed 0, 100 core-seconds broke down: the loss was nan at step 2." in text
    assert "KID x 1000 of 20.0, what `before` has after 400" in text
    assert "| before | 400 | 1.00 |" in text
    assert "| all | 200 | 2.00 |" in text
    assert "| muon | at most 100 | at least 4.00 |" in text
    assert "| gd | not reached by 400 | - |" in text
    assert "nan |" not in text


def test_an_empty_folder_is_said_to_be_empty():
    assert report([]) == "nothing is measured yet"
