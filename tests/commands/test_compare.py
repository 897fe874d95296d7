"""A whole study on tiny images: every command is run, in this process, and the report holds what they found."""
import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from add.classification.places_file import PLACES, read_places
from add.commands.compare import StudyConfig
from add.study import study_steps
from add.study.analysis_plan import analysis_plan, read_plan, write_plan
from add.study.draw_report import write_draw_report
from add.study.study_data import StudyImages
from tests.commands import commands

OPTIONS = ["--dataset", "phantom", "--image_size", 16, "--num_train", 6, "--num_test", 8, "--amount", 3,
           "--num_sources", 3, "--num_samples", 4, "--sample_steps", 3, "--label_rules", "depth,power,classifier,blend",
           "--methods", "flips,mixup,unconditional,full,progressive", "--num_seeds", 2, "--classifier_steps", 4,
           "--max_images", 8]
TRAINING = """image_size: 16
num_channels: 32
num_res_blocks: 1
channel_mult: "1"
attention_resolutions: ""
lr_anneal_steps: 2
save_interval: 2
num_preview: 0
batch_size: 4
ema_rate: "0.9"
"""


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The folder of a finished study, and the names of the scripts that it ran."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "training.yaml").write_text(TRAINING)
    ran = []

    def execute(name, arguments):
        ran.append(name)
        return commands.run(name, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_steps, "execute", execute)
        options = [*OPTIONS, "--train_config", folder / "training.yaml", "--out_dir", folder / "out"]
        assert commands.run("compare", *options) == 0
        count = len(ran)
        assert commands.run("compare", *options) == 0
        assert len(ran) == count  # finished steps are not run again
    return folder / "out", ran


def test_every_step_was_run_once(compared):
    assert compared[1] == ["train"] * 2 + ["image_sample"] * 2 + ["evaluate"] * 2 + [
        "translate"] + ["soft_labels"] * 3 + ["evaluate"] * 6 + ["classify"]


def test_the_json_holds_settings_scores_labels_and_metrics(compared):
    found = json.loads((compared[0] / "study.json").read_text())
    assert found["options"]["num_seeds"] == 2 and found["machine"]["torch"]
    size = found["sizes"]["6"]
    assert set(size["classification"]["tests"]) == {"ends", "all"}
    assert set(size["classification"]["tests"]["all"]["progressive"]) > {"accuracy", "severity_spearman"}
    assert set(size["labels"]["rules"]) == {"depth", "power", "classifier", "blend"}
    assert [len(means) for means in size["labels"]["by_m"].values()] == [3, 3]
    assert size["labels"]["domain_means"][0] < 0.3 < 0.7 < size["labels"]["domain_means"][1]
    assert "kid_efficientnet_lite0" in size["metrics"]["samples_mild"]["metrics"]
    assert set(size["metrics"]) == {"samples_mild", "samples_severe", "translation_0_1", "translation_1_0",
                                    "training_mild", "training_severe", "other_mild", "other_severe"}


def test_the_tables_agree_with_the_json(compared):
    found = json.loads((compared[0] / "study.json").read_text())["sizes"]["6"]
    rows = list(csv.DictReader((compared[0] / "study.csv").read_text().splitlines()))
    values = [float(row["value"]) for row in rows
              if (row["test"], row["method"], row["score"]) == ("ends", "mixup", "auc")]
    assert values == pytest.approx(found["classification"]["tests"]["ends"]["mixup"]["auc"]["values"], abs=1e-6)
    text = (compared[0] / "study.md").read_text()
    for method in ("flips", "mixup", "unconditional", "full", "progressive"):
        assert f"| {method} | " in text
    assert "| training | " in text and "| other | " in text
    assert "| blend | " in text and "`add soft_labels " in text and "| kid_efficientnet_lite0 | " in text


def test_the_plots_are_pictures(compared):
    for name in ("scores.png", "labels.png"):
        with Image.open(compared[0] / name) as picture:
            assert len(picture.convert("RGB").getcolors(2**24)) > 10


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The folder of a finished study of two draws, of methods without generated images."""
    folder = tmp_path_factory.mktemp("draws") / "out"

    def execute(name, arguments):
        return commands.run(name, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_steps, "execute", execute)
        assert commands.run("compare", *OPTIONS, "--methods", "flips,mixup,cutmix", "--draws", 2, "--primary", "cutmix",
                            "--num_test", 30, "--out_dir", folder) == 0
    return folder


def test_a_table_of_draws_is_that_of_their_studies(drawn):
    found = json.loads((drawn / "draws.json").read_text())
    own = [json.loads((drawn / f"draw_{number}" / "study.json").read_text()) for number in (0, 1)]
    for method in ("flips", "mixup", "cutmix"):
        for kind, name in (("draws", "mean"), ("ensembles", "ensemble")):
            expected = [draw["sizes"]["6"]["classification"]["tests"]["all"][method]["severity_rmse_linked"][name]
                        for draw in own]
            assert found["sizes"]["6"][method]["severity_rmse_linked"][kind] == expected and len(set(expected)) == 2
    assert [draw["sizes"]["6"]["classification"]["settings"]["first_seed"] for draw in own] == [0, 1000]
    assert [row["rival"] for row in found["primary"]] == ["flips", "mixup"]
    flips, cutmix = (found["sizes"]["6"][method]["severity_rmse_linked"]["draws"] for method in ("flips", "cutmix"))
    assert found["primary"][0]["by_draw"] == [cutmix[0] - flips[0], cutmix[1] - flips[1]]
    assert found["primary"][0]["other_tests"] is None  # every draw has test images of its own
    assert {row["score"] for row in found["secondary"]} > {"accuracy", "nll", "severity_spearman"}


def test_the_report_of_draws_begins_with_the_claim_and_its_plan(drawn):
    text, plan = (drawn / "draws.md").read_text(), json.loads((drawn / "plan.json").read_text())
    claim = text.splitlines()[2]
    assert claim.startswith("**cutmix is ") and "in 2 draws" in claim and "severity_rmse_linked" in claim
    assert plan["sha256"] in text and "| cutmix | " in text and "- severity_spearman: " in text
    truths = [read_places(drawn / f"draw_{number}" / "n6" / "classification" / PLACES, "all", []).truth
              for number in (0, 1)]
    half_way = np.mean([np.sqrt(np.mean((truth - 0.5) ** 2)) for truth in truths])
    assert f"which needs no classifier, has an error of {half_way:.4f} ± " in text
    linked, shrunk = (text.index(f"the difference, in severity_rmse_{score}: ") for score in ("linked", "shrunk"))
    assert linked < shrunk
    rows = list(csv.DictReader((drawn / "draws.csv").read_text().splitlines()))
    assert {(row["method"], row["draw"]) for row in rows} == {(method, str(draw)) for method in
                                                              ("flips", "mixup", "cutmix") for draw in (0, 1)}
    with Image.open(drawn / "draws.png") as picture:
        assert len(picture.convert("RGB").getcolors(2**24)) > 10


def test_draws_are_judged_by_the_endpoint_that_was_chosen(drawn, tmp_path):
    """The verdicts, the intervals and the order are of shrunk places then, and the plan's late change is said.

    Of a folder, whose test images the draws share, intervals for other ones stand beside those over draws.
    """
    folder = shutil.copytree(drawn, tmp_path / "out")
    noted = read_plan(folder)["plan"]
    assert noted["primary"]["endpoint"] == "severity_rmse_linked" and "severity_rmse_shrunk" in noted["secondary"]
    config = StudyConfig(**{**noted["options"], "endpoint": "shrunk", "dataset": "own"})
    write_plan(folder, analysis_plan(config, StudyImages(["mild", "severe"], "all", True, True)))
    write_draw_report(folder, [folder / "draw_0", folder / "draw_1"], [6])
    kept = read_plan(folder)["plan"]["secondary"]
    assert "severity_rmse_linked" in kept and "severity_rmse_shrunk" not in kept
    found, before = (json.loads((place / "draws.json").read_text()) for place in (folder, drawn))
    assert found["sizes"] == before["sizes"]
    flips, cutmix = (found["sizes"]["6"][method]["severity_rmse_shrunk"]["draws"] for method in ("flips", "cutmix"))
    assert found["primary"][0]["by_draw"] == [cutmix[0] - flips[0], cutmix[1] - flips[1]]
    _, low, high = found["primary"][0]["difference"]
    wider = found["primary"][0]["other_tests"]
    assert wider[0] < low and wider[1] > high and before["primary"][0]["other_tests"] is None
    lines = (folder / "draws.md").read_text().splitlines()
    assert "in severity_rmse_shrunk" in lines[2] and any("results were there" in line for line in lines)
    (head,) = (line for line in lines if line.startswith("| method |"))
    assert head.startswith("| method | severity_rmse_shrunk, one of") and head.count("shrunk") == 1
    assert "severity_rmse_linked" in head


def test_places_of_an_earlier_version_are_refused_before_the_plan_changes(drawn, tmp_path, capsys):
    folder = shutil.copytree(drawn, tmp_path / "out")
    places = folder / "draw_1" / "n6" / "classification" / PLACES
    with np.load(places) as found:
        kept = {name: found[name] for name in found.files if "/shrunk/" not in name}
    np.savez_compressed(places, **kept)
    plan = (folder / "plan.json").read_bytes()
    command = [*OPTIONS, "--methods", "flips,mixup,cutmix", "--draws", 2, "--primary", "cutmix", "--num_test", 30,
               "--out_dir", folder, "--endpoint", "shrunk"]
    assert commands.run("compare", *command) == 2
    done = places.parents[1] / "done" / "classify.json"
    assert f"without shrunk places: expected them for --endpoint shrunk; remove {done}" in capsys.readouterr().err
    assert (folder / "plan.json").read_bytes() == plan


def test_a_primary_method_that_is_not_compared_is_refused(capsys):
    assert commands.run("compare", "--draws", 2, "--methods", "flips,mixup") == 2
    assert "--primary progressive is not compared: expected one of --methods (flips,mixup)" in capsys.readouterr().err


def test_an_estimate_adds_up_what_the_options_ask_for(tmp_path, capsys):
    (tmp_path / "training.yaml").write_text(TRAINING)
    options = [*OPTIONS, "--train_config", tmp_path / "training.yaml", "--out_dir", tmp_path / "out", "--estimate"]
    assert commands.run("compare", *options) == 0
    printed = capsys.readouterr().out
    for part in ("training diffusion models", "sampling", "translating", "labelling", "training classifiers"):
        assert f"\n{part}: " in printed
    assert "other papers" not in printed and not (tmp_path / "out").exists()
    assert commands.run("compare", *options, "--methods", "flips,progan", "--rival_minutes", 90) == 0
    printed = capsys.readouterr().out
    assert "training other papers' methods: 3 h 00 min" in printed and "translating" not in printed
    assert commands.run("compare", *options, "--methods", "flips,progan", "--rival_minutes", 90, "--draws", 3,
                        "--primary", "progan") == 0
    printed = capsys.readouterr().out
    assert "training other papers' methods: 9 h 00 min" in printed and "for the sizes 6 in 3 draws" in printed
