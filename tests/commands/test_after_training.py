"""Commands that a finished training offers: their options exist, and their paths are those of the run."""
import shlex

import pytest

from add.baselines.baseline_setup import BaselineConfig
from add.commands import load_command
from add.commands.shared.after_training import commands_after
from add.data import save_json
from add.training import TrainConfig
from add.training.run_config import PointTrainConfig


def trained(folder, kind="image"):
    save_json(folder / "config.json", {"kind": kind})
    (folder / "model000002.pt").touch()
    return folder


@pytest.mark.parametrize("kind, command, option", [
    ("image", "image_sample", "model_path"), ("super_res", "super_res_sample", "model_path"),
    ("classifier", "classifier_sample", "classifier_path"), ("points", "synthetic_sample", "model_path"),
    ("progan", "baseline_sample", "model_path"), ("lofgan", "baseline_sample", "model_path")])
def test_each_kind_of_network_has_its_command(tmp_path, kind, command, option):
    run = trained(tmp_path / "a run", kind)
    own = {"points": PointTrainConfig, "progan": BaselineConfig, "lofgan": BaselineConfig}
    config_class = own.get(kind, TrainConfig)
    data = {} if kind == "points" else {"data_dir": str(tmp_path / "images")}
    (line,) = commands_after([config_class(run_dir=str(run), **data)])
    words = shlex.split(line)
    assert words[:2] == ["add", command] and words[words.index(f"--{option}") + 1] == str(run)
    parsed = load_command(command).build_options().parse(words[2:])
    assert {word[2:] for word in words if word.startswith("--")} == parsed.typed


def test_the_last_of_several_domains_offers_a_translation(tmp_path):
    for name in ("mild", "severe"):
        (tmp_path / "data" / name).mkdir(parents=True)
    config = TrainConfig(data_dir=str(tmp_path / "data" / "mild"), run_dir=str(trained(tmp_path / "runs" / "mild")))
    assert len(commands_after([config])) == 1
    trained(tmp_path / "runs" / "severe")
    assert commands_after([config])[1:] == [
        f"add translate --models_dir {tmp_path / 'runs'} --data_dir {tmp_path / 'data'}"]
    (tmp_path / "runs" / "samples").mkdir()  # no run folder: translate would refuse the folder
    assert len(commands_after([config])) == 1
