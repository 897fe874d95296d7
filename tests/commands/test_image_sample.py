"""scripts/image_sample.py as a user starts it."""
import json

import numpy as np
import pytest

from add.data import read_image
from tests.commands.commands import run
from tests.tiny import make_run

QUICK = ["--device", "cpu", "--threads", 1, "--decode_steps", 3]


def test_the_script_makes_samples_and_continues(tmp_path, capsys):
    command = ["image_sample", "--model_path", make_run(tmp_path / "run"), "--out_dir", tmp_path / "out", *QUICK]
    assert run(*command, "--num_samples", 1) == 0
    first = (tmp_path / "out" / "sample_000000.png").read_bytes()
    assert run(*command, "--num_samples", 2) == 0
    assert f"done: 2 samples in {tmp_path / 'out'}" in capsys.readouterr().out
    assert (tmp_path / "out" / "sample_000000.png").read_bytes() == first
    assert read_image(tmp_path / "out" / "sample_000001.png").shape == (16, 16, 3)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["options"]["num_samples"] == 2


def test_guided_diffusion_s_flags_do_as_there(tmp_path):
    """Its README's way of sampling: flags of the model, thinned ancestral steps, classes, an npz."""
    model = make_run(tmp_path / "run", class_cond=True, num_classes=3, learn_sigma=True,
                     diffusion={"learn_sigma": True, "noise_schedule": "cosine"})
    assert run("image_sample", "--attention_resolutions", "", "--class_cond", "True", "--image_size", 16,
               "--learn_sigma", "True", "--noise_schedule", "cosine", "--num_channels", 32, "--num_res_blocks", 1,
               "--channel_mult", "1", "--num_classes", 3, "--use_fp16", "False", "--use_scale_shift_norm", "True",
               "--model_path", model / "ema_0.9999_000010.pt", "--batch_size", 4, "--num_samples", 5,
               "--timestep_respacing", 4, "--save_npz", "--out_dir", tmp_path / "out", *QUICK[:4]) == 0
    images = [read_image(tmp_path / "out" / f"sample_{i:06d}.png") for i in range(5)]
    with np.load(tmp_path / "out" / "samples_5x16x16x3.npz") as archive:
        np.testing.assert_array_equal(archive["arr_0"], images)
        assert archive["arr_1"].tolist() == [0, 1, 2, 0, 1]
    facts = json.loads((tmp_path / "out" / "run.json").read_text())
    assert facts["sampler"] == "ddpm" and facts["nfe_per_image"] == 4 and facts["options"]["clip_denoised"]


@pytest.mark.parametrize(("words", "message"), [
    ([], "no --model_path was given"),
    (["--model_path", "nowhere"], "nowhere"),
    (["--num_sample", "3"], "did you mean --num_samples"),
    (["--sampler", "obelm"], "--sampler is 'obelm', expected one of"),
    (["--sampler", "unipc", "--use_ddim"], "--sampler unipc contradicts --use_ddim True"),
])
def test_refusals_are_one_message_and_leave_no_trace(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert run("image_sample", "--out_dir", "out", *words, *QUICK) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert list(tmp_path.iterdir()) == []
