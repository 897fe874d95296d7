"""--device mps on a pretended Apple GPU, which has no float64 and keeps its tensors apart; see tests/fake_mps.py."""
import numpy as np
import pytest
import torch

from add.data import list_images, read_image
from tests.commands.commands import run
from tests.fake_mps import MPS, fake_mps
from tests.tiny import make_images, make_run

TRAINING = ["--image_size", 16, "--num_channels", 32, "--num_res_blocks", 1, "--channel_mult", "1",
            "--attention_resolutions=", "--batch_size", 2, "--log_interval", 1, "--num_preview", 2,
            "--preview_steps", 2, "--tensorboard", "False", "--device", "mps"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with runs a, b, cond and classifier, and images."""
    root = tmp_path_factory.mktemp("mps")
    for number, name in enumerate("ab"):
        make_run(root / name, number)
        make_images(root / "classes" / name, 2, 32, number)
    make_images(root / "images", 2)
    make_run(root / "large", image_size=32)
    make_run(root / "classifier", kind="classifier", classes=["a", "b"])
    return root


@pytest.fixture
def mps(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with fake_mps() as device:
        yield device


def test_the_pretended_device_refuses_what_the_real_one_does(mps):
    x = torch.ones(3).to(mps)
    assert x.device == MPS and (2 * x).device == MPS and x.cpu().double().sum() == 3
    with pytest.raises(TypeError, match="doesn't support float64"):
        x.double()
    with pytest.raises(TypeError, match="doesn't support float64"):
        torch.ones(3, dtype=torch.float64).to(mps)
    with pytest.raises(TypeError, match="doesn't support float64"):
        torch.zeros(3, dtype=torch.float64, device="mps")
    with pytest.raises(RuntimeError, match="two devices"):
        x + torch.ones(3)
    with pytest.raises(TypeError, match="Use Tensor.cpu"):
        x.numpy()


@pytest.mark.parametrize("options", [
    ["--sampler", "unipc", "--amount", 3, "--encode_steps", 6, "--decode_steps", 8],  # with the pilot of progress
    ["--timestep_respacing", 4, "--depth_schedule", "reference"],
    ["--timestep_respacing", 4, "--depth_schedule", "even", "--feature", "radial"],
    ["--sampler", "heun", "--encode_steps", 3, "--decode_steps", 3, "--depth_schedule", "uniform"],
    ["--sampler", "obelm", "--encode_steps", 4, "--depth_schedule", "uniform"],
])
def test_translation_gives_the_cpu_s_images(options, root, mps, tmp_path):
    words = ["translate", "--source_model_path", root / "a", "--target_model_path", root / "b", "--data_dir",
             root / "images", "--direction", "forward", "--amount", 2, *options]
    found = {}
    for device in ("cpu", "mps"):
        assert run(*words, "--device", device, "--out_dir", tmp_path / device) == 0
        files = list_images(tmp_path / device / "translation_0_1" / "images")
        found[device] = np.stack([read_image(file) for file in files]).astype(int)
    assert np.abs(found["cpu"] - found["mps"]).max() <= 1


@pytest.mark.parametrize("words", [
    ["image_sample", "--model_path", "a", "--num_samples", 2, "--sampler", "ddpm", "--timestep_respacing", 3],
    ["image_nll", "--model_path", "a", "--data_dir", "images", "--timestep_respacing", 3],
    ["classifier_sample", "--model_path", "large", "--classifier_path", "classifier", "--num_samples", 2,
     "--decode_steps", 3],
], ids=lambda words: words[0])
def test_other_commands_run(words, root, mps, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    assert run(*words, "--device", "mps", "--out_dir", tmp_path / "out") == 0


@pytest.mark.parametrize("options", [
    [], ["--learn_sigma", "--schedule_sampler", "loss-second-moment", "--val_fraction", 0.5, "--val_interval", 1],
    ["--schedule_sampler", "stratified", "--prediction", "v", "--min_snr_gamma", 5, "--grad_clip", 1]])
def test_training_runs_and_resumes(options, root, mps, tmp_path):
    for steps in (1, 2):
        assert run("train", "--data_dir", root / "images", *TRAINING, *options, "--max_steps", steps,
                   "--run_dir", tmp_path) == 0
    assert (tmp_path / "model000002.pt").exists()


def test_a_baseline_trains(root, mps, tmp_path):
    assert run("baseline_train", "--method", "progan", "--image_size", 32, "--data_dir", root / "classes" / "a",
               "--batch_size", 2, "--max_steps", 2, "--log_interval", 1, "--num_preview", 0, "--tensorboard", "False",
               "--device", "mps", "--run_dir", tmp_path) == 0


@pytest.mark.parametrize("options", [["--precision", "bf16"], ["--precision", "fp16"], ["--use_fp16"]])
def test_lower_precision_is_refused_in_training_and_in_sampling(options, root, mps, tmp_path, capsys):
    assert run("train", "--data_dir", root / "images", *TRAINING, *options, "--run_dir", tmp_path / "run") == 2
    assert "on mps, where add computes in fp32 only" in capsys.readouterr().err
    if "--precision" in options:
        assert run("image_sample", "--model_path", root / "a", "--device", "mps", *options,
                   "--out_dir", tmp_path / "out") == 2
        assert "on mps, where add computes in fp32 only" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
