"""Which sampler and which classes the options mean, and the loop that fills a folder."""
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from add.commands.shared.sample_job import DrawConfig, Job, choose_way, draw, in_turn
from add.data import read_image
from add.diffusion import DiffusionConfig, create_gaussian_diffusion
from add.errors import UserError
from add.results.sample_folder import SamplesFolder
from add.runtime import options
from add.runtime.world import World
from add.transition.from_noise import FromNoise


def way_of(*argv):
    return choose_way(options.Options("Draw.", DrawConfig, DiffusionConfig).parse(list(argv)))


@pytest.mark.parametrize(("argv", "expected"), [
    ([], FromNoise("unipc")),
    (["--use_ddim", "True"], FromNoise("ddim")),
    (["--use_ddim", "False"], FromNoise("ddpm")),
    (["--timestep_respacing", "250"], FromNoise("ddpm")),
    (["--timestep_respacing", "ddim25", "--use_ddim", "True"], FromNoise("ddim")),
    (["--timestep_respacing", "250", "--use_ddim", "False", "--clip_denoised", "False"], FromNoise("ddpm", 0, False)),
    (["--timestep_respacing", "50", "--sampler", "ddim", "--eta", "0.5"], FromNoise("ddim", eta=0.5)),
    (["--sampler", "ddim", "--use_ddim"], FromNoise("ddim")),
    (["--sampler", "heun", "--use_ddim", "False", "--decode_steps", "9"], FromNoise("heun", 9)),
])
def test_samplers_as_habits_go(argv, expected):
    assert way_of(*argv) == expected


@pytest.mark.parametrize(("argv", "message"), [
    (["--sampler", "unipc", "--use_ddim", "True"], "--sampler unipc contradicts --use_ddim True: leave one of them"),
    (["--sampler", "ddpm", "--use_ddim"], "--sampler ddpm contradicts --use_ddim True"),
    (["--sampler", "ddim", "--use_ddim", "False"], "--sampler ddim contradicts --use_ddim False"),
    (["--timestep_respacing", "50", "--decode_steps", "5"], "--decode_steps is 5 with --sampler ddpm"),
])
def test_contradictions_are_refused(argv, message):
    with pytest.raises(UserError, match=re.escape(message)):
        way_of(*argv)


def test_classes_take_turns():
    assert in_turn([3, 1], 5).tolist() == [3, 1, 3, 1, 3] and in_turn([3, 1], 5).dtype == np.int64
    assert in_turn([0, 1, 2], 2).tolist() == [0, 1]


def make(out, count, batch_size=2, model=None, **changes):
    """Draw `count` images whose every pixel tells their number: x_start is number / 10 wherever the model looks."""
    def model_for(numbers):
        def model(x, t):
            assert len(x) == len(numbers) == batch_size
            return torch.tensor(numbers)[:, None, None, None].expand_as(x) / 10
        return model

    job = Job(FromNoise("ddpm"), create_gaussian_diffusion(timestep_respacing="3", prediction="x_start"), (3, 4, 4),
              model or model_for, {"seed": 0, "model": {}}, {"model": out / "model000001.pt"}, **changes)
    bar = SimpleNamespace(add=lambda count: None, note=lambda text: None, close=lambda: None)
    draw(job, SamplesFolder(out, count), DrawConfig(num_samples=count, batch_size=batch_size), World(), bar)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_every_row_is_told_of_its_own_image(tmp_path, batch_size):
    """A last, smaller batch and one with gaps, too."""
    make(tmp_path, 5, batch_size)
    first = {path.name: path.read_bytes() for path in tmp_path.glob("sample_*.png")}
    for number in (0, 3):
        (tmp_path / f"sample_{number:06d}.png").unlink()
    make(tmp_path, 5, batch_size)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("sample_*.png")} == first
    means = [read_image(tmp_path / name).mean() / 127.5 - 1 for name in sorted(first)]
    assert means == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=0.01)


def test_gradients_and_guided_evaluations_are_counted(tmp_path):
    make(tmp_path, 3, gradient_for=lambda numbers: lambda x, t: 0 * x, nfe_per_call=2)
    facts = json.loads((tmp_path / "run.json").read_text())
    assert (facts["nfe_per_image"], facts["classifier_nfe_per_image"]) == (6, 3)
    assert facts["num_images"] == 3 and facts["sampler"] == "ddpm" and facts["seconds_per_image"] >= 0


def test_values_that_are_not_finite_are_refused(tmp_path):
    with pytest.raises(UserError, match="not finite: expected images; lower the scale of guidance"):
        make(tmp_path, 1, model=lambda numbers: lambda x, t: x * float("nan"))
    assert not list(tmp_path.glob("*.png"))
