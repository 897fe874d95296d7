"""A whole study on tiny images: every command is run, in this process, and the report holds what they found."""
import csv
import json

import pytest
from PIL import Image

from add.study import study_steps
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
batch_size: 4
ema_rate: "0.9"
"""


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The folder of a finished study, and the names of the scripts that it ran."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "training.yaml").write_text(TRAINING)
    ran = []

    def execute(name, arguments, log):
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
        "translate"] + ["soft_labels"] * 3 + ["evaluate"] * 2 + ["classify"]


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
    assert set(size["metrics"]) == {"samples_mild", "samples_severe", "translation_0_1", "translation_1_0"}


def test_the_tables_agree_with_the_json(compared):
    found = json.loads((compared[0] / "study.json").read_text())["sizes"]["6"]
    rows = list(csv.DictReader((compared[0] / "study.csv").read_text().splitlines()))
    values = [float(row["value"]) for row in rows
              if (row["test"], row["method"], row["score"]) == ("ends", "mixup", "auc")]
    assert values == pytest.approx(found["classification"]["tests"]["ends"]["mixup"]["auc"]["values"], abs=1e-6)
    text = (compared[0] / "study.md").read_text()
    for method in ("flips", "mixup", "unconditional", "full", "progressive"):
        assert f"| {method} | " in text
    assert "| blend | " in text and "`add soft_labels " in text and "| kid_efficientnet_lite0 | " in text


def test_the_plots_are_pictures(compared):
    for name in ("scores.png", "labels.png"):
        with Image.open(compared[0] / name) as picture:
            assert len(picture.convert("RGB").getcolors(2**24)) > 10


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
