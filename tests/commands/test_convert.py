"""scripts/convert.py as a user starts it: there and back, and a command on what comes back."""
import json

import torch

from add.training import load_model
from tests.commands.commands import run
from tests.tiny import make_run


def test_the_script_converts_there_and_back(tmp_path, capsys):
    source = make_run(tmp_path / "source", use_new_attention_order=True, num_head_channels=16)
    assert run("convert", "--model_path", source, "--to_diffusers", tmp_path / "there") == 0
    assert "for diffusers.DDIMPipeline.from_pretrained" in capsys.readouterr().out
    assert json.loads((tmp_path / "there" / "unet" / "config.json").read_text())["_class_name"] == "UNet2DModel"
    assert run("convert", "--from_diffusers", tmp_path / "there", "--run_dir", tmp_path / "back") == 0
    before, after = (load_model(path)[0].state_dict() for path in (source, tmp_path / "back"))
    assert all(torch.equal(before[key], after[key]) for key in before) and before.keys() == after.keys()
    assert run("image_sample", "--model_path", tmp_path / "back", "--out_dir", tmp_path / "samples", "--num_samples", 1,
               "--device", "cpu", "--threads", 1) == 0
    assert (tmp_path / "samples" / "sample_000000.png").exists()


def test_a_folder_that_exists_is_one_message(tmp_path, capsys):
    source = make_run(tmp_path / "source")
    assert run("convert", "--model_path", source, "--to_diffusers", tmp_path) == 2
    assert "exists, expected a new folder" in capsys.readouterr().err
