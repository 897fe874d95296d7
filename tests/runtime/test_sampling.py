"""Samples are a function of the model and (seed, number), whatever is made beside them."""
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from add.data import read_image
from add.diffusion import DiffusionConfig, create_gaussian_diffusion
from add.diffusion.levels import NoiseLevels
from add.errors import UserError
from add.networks import ModelConfig
from add.runtime import options, sampling
from add.runtime.sampling import FROM_NOISE, SampleConfig, draw_noise, sample_images
from add.runtime.world import World
from add.transition import SAMPLERS
from tests.tiny import make_run


@pytest.fixture(scope="module")
def model_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), seed=1)


@pytest.fixture(scope="module")
def finished(model_run, tmp_path_factory):
    """(folder of four samples, bar) made in one batch; only for reading."""
    out = tmp_path_factory.mktemp("samples")
    return out, sample(model_run, out, "--num_samples", 4)


def sample(model_path, out, *argv, world=None):
    """Make samples in three evaluations each and return the bar: `.seen` evaluations, `.notes`."""
    bar = SimpleNamespace(seen=0, notes=[])
    bar.add, bar.note = lambda count: setattr(bar, "seen", bar.seen + count), bar.notes.append
    argv = ["--model_path", model_path, "--out_dir", out, "--decode_steps", 3, *argv]
    parsed = options.Options("Sample.", SampleConfig, ModelConfig, DiffusionConfig).parse(list(map(str, argv)))
    sample_images(parsed, world or World(), bar)
    return bar


def pixels_of(folder):
    return {path.name: read_image(path).astype(int) for path in sorted(folder.glob("*.png"))}


def assert_same(found, expected):
    """Equal to rounding in other batches."""
    assert found.keys() == expected.keys()
    for name in expected:
        assert np.abs(found[name] - expected[name]).max() <= 1, name


def test_the_folder_explains_itself(model_run, finished):
    out, bar = finished
    images = pixels_of(out)
    assert list(images) == [f"sample_{i:06d}.png" for i in range(4)]
    facts, settings = (json.loads((out / name).read_text()) for name in ("run.json", "settings.json"))
    assert facts["options"]["num_samples"] == 4 and facts["checkpoints"]["model"]["path"].startswith(str(model_run))
    assert settings["seed"] == 0 and settings["model"]["sha256"] == facts["checkpoints"]["model"]["sha256"]
    assert bar.seen == 4 * 3 and bar.notes == [f"done: 4 samples in {out.resolve()}"]
    for i in range(3):
        assert np.abs(images[f"sample_{i:06d}.png"] - images["sample_000003.png"]).mean() > 10


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batch_size_does_not_change_the_samples(model_run, finished, tmp_path, batch_size):
    sample(model_run, tmp_path, "--num_samples", 4, "--batch_size", batch_size)
    assert_same(pixels_of(tmp_path), pixels_of(finished[0]))


def test_only_missing_samples_are_made_and_come_out_the_same(model_run, finished, tmp_path):
    """Two are there already, one of them is lost, then two more are wanted."""
    sample(model_run, tmp_path, "--num_samples", 2)
    kept = tmp_path / "sample_000001.png"
    time_before = kept.stat().st_mtime_ns
    (tmp_path / "sample_000000.png").unlink()
    assert sample(model_run, tmp_path, "--num_samples", 4).seen == 3 * 3
    assert kept.stat().st_mtime_ns == time_before
    assert_same(pixels_of(tmp_path), pixels_of(finished[0]))
    assert sample(model_run, tmp_path, "--num_samples", 4).seen == 0


def test_processes_share_the_samples(model_run, finished, tmp_path, monkeypatch):
    """The second of two makes every second one, and leaves run.json to the first."""
    monkeypatch.setattr(World, "gather", lambda self, value: [value])
    monkeypatch.setattr(World, "barrier", lambda self: None)
    sample(model_run, tmp_path, "--num_samples", 4, world=World(rank=1, size=2))
    assert list(pixels_of(tmp_path)) == ["sample_000001.png", "sample_000003.png"]
    assert not (tmp_path / "run.json").exists()
    expected = pixels_of(finished[0])
    assert_same(pixels_of(tmp_path), {name: expected[name] for name in ("sample_000001.png", "sample_000003.png")})


def test_another_seed_gives_other_samples(model_run, finished, tmp_path):
    sample(model_run, tmp_path, "--num_samples", 2, "--seed", 1)
    expected, found = pixels_of(finished[0]), pixels_of(tmp_path)
    for name in found:
        assert all(np.abs(found[name] - other).mean() > 10 for other in expected.values())


def test_noise_is_standard_normal_and_one_s_own():
    noise = torch.stack([draw_noise(seed, i, (3, 16, 16)) for seed in range(3) for i in range(3)])
    assert noise.dtype is torch.float32 and torch.equal(draw_noise(1, 0, (3, 16, 16)), noise[3])
    correlation = torch.corrcoef(noise.flatten(1)) - torch.eye(9)
    assert correlation.abs().max() < 5 / 768**0.5
    assert noise.mean() == pytest.approx(0, abs=0.05) and noise.std() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("sampler", ["unipc", "ddim"])
def test_samples_of_a_gaussian_are_its_noise_scaled(model_run, tmp_path, monkeypatch, sampler):
    """Exact: the ODE takes noise z to mean + std z where the data is N(mean, std^2) and the last timestep all noise."""
    mean, std, load = 0.2, 0.25, sampling.load_given
    levels = NoiseLevels(create_gaussian_diffusion().alphas_cumprod)

    def exact_eps(x, t):
        signal, spread = (torch.from_numpy(factor).float()[:, None, None, None]
                          for factor in levels.factors(t.double().numpy()))
        return spread * (x - signal * mean) / (signal**2 * std**2 + spread**2)

    def load_gaussian(*args):
        _, diffusion, loaded = load(*args)
        return exact_eps, diffusion, loaded

    monkeypatch.setattr(sampling, "load_given", load_gaussian)
    steps = ["--decode_steps", 20] if sampler == "unipc" else ["--decode_steps", 0, "--timestep_respacing", 100]
    sample(model_run, tmp_path, "--num_samples", 2, "--seed", 7, "--sampler", sampler, *steps)
    for i, found in enumerate(pixels_of(tmp_path).values()):
        expected = (mean + std * draw_noise(7, i, (3, 16, 16))).clamp(-1, 1)
        found = torch.from_numpy(found).permute(2, 0, 1) / 127.5 - 1
        assert (found - expected).abs().max() < 0.05


def test_samplers_that_need_an_encoded_image_are_left_out():
    assert set(SAMPLERS) - set(FROM_NOISE) == {"obelm"}


@pytest.mark.parametrize(("argv", "changed"), [
    (["--seed", 1], "seed"), (["--decode_steps", 4], "decode_steps"), (["--clip_denoised"], "clip_denoised"),
    (["--sampler", "deis"], "sampler"),
])
def test_samples_made_otherwise_are_not_mixed(model_run, finished, argv, changed):
    before = {path: path.read_bytes() for path in finished[0].iterdir()}
    with pytest.raises(UserError, match=rf"holds samples made otherwise \({changed}\): give the same options"):
        sample(model_run, finished[0], "--num_samples", 6, *argv)
    assert {path: path.read_bytes() for path in finished[0].iterdir()} == before


def test_samples_of_another_model_are_not_mixed(finished, tmp_path):
    with pytest.raises(UserError, match=r"holds samples made otherwise \(model\)"):
        sample(make_run(tmp_path, seed=2), finished[0])


@pytest.mark.parametrize(("argv", "message"), [
    (["--model_path", ""], "no --model_path was given: expected a checkpoint or run folder"),
    (["--out_dir", "gs://bucket/samples"], "is a URL, expected a local folder"),
    (["--num_samples", 0], "--num_samples is 0, expected 1 or more"),
    (["--batch_size", 0], "--batch_size is 0, expected 1 or more"),
    (["--seed", -1], "--seed is -1, expected 0 or more"),
    (["--sampler", "obelm"], f"--sampler is 'obelm', expected one of {', '.join(FROM_NOISE)}"),
])
def test_refusals_leave_no_trace(model_run, tmp_path, argv, message):
    with pytest.raises(UserError, match=re.escape(message)):
        sample(model_run, tmp_path / "out", *argv)
    assert not (tmp_path / "out").exists()


def test_class_conditional_models_are_refused(tmp_path):
    with pytest.raises(UserError, match="is class-conditional: expected an unconditional model"):
        sample(make_run(tmp_path / "run", class_cond=True, num_classes=2), tmp_path / "out")
    assert not (tmp_path / "out").exists()
