"""The embedded default: what is shipped, and that the default command turns stroma brown and gland blue."""
import dataclasses
from pathlib import Path

import pytest
import torch

from add.data import ImageSet, embedded, list_images, read_image, to_model_input
from add.data.tissue import stain_masks
from add.diffusion import DiffusionConfig
from add.networks import ModelConfig
from add.runtime.yaml_file import read_yaml
from add.training import find_checkpoint, load_model
from add.training.checkpoints import read_config
from tests.commands.commands import ROOT, run


def test_weights_take_less_than_12_megabytes():
    assert sum(find_checkpoint(embedded.model_dir(domain)).stat().st_size for domain in embedded.DOMAINS) < 12e6


def test_source_images_are_held_out_patches():
    for domain in embedded.DOMAINS:
        sources = list_images(embedded.source_dir(domain))
        assert len(sources) >= 8
        for path in sources:
            assert Path(path).read_bytes() == (embedded.test_dir(domain) / Path(path).name).read_bytes()


@pytest.mark.parametrize("domain", embedded.DOMAINS)
def test_models_are_those_of_the_configs(domain):
    options = read_yaml(ROOT / "configs" / f"tissue_{domain}.yaml")
    for saved in read_config(embedded.model_dir(domain)):
        written = dataclasses.asdict(saved)
        assert written == dataclasses.asdict(type(saved)()) | {k: v for k, v in options.items() if k in written}
    assert {ModelConfig, DiffusionConfig} == {type(saved) for saved in read_config(embedded.model_dir(domain))}


@torch.no_grad()
@pytest.mark.parametrize("domain", embedded.DOMAINS)
def test_models_know_more_of_unseen_patches_than_their_head_start(domain):
    """Error in v at three noise levels, of patches of another part of the section: an untrained model's ratio is 1."""
    network, diffusion, _ = load_model(embedded.model_dir(domain))
    images = ImageSet.from_folder(str(embedded.test_dir(domain)), 64)
    x_start = to_model_input(images.batch(range(0, len(images), 8)))
    noise = torch.randn(x_start.shape, generator=torch.Generator().manual_seed(0))
    for step in (100, 200, 300):
        t = torch.full((len(x_start),), step)
        x_t = diffusion.q_sample(x_start, t, noise)
        v = diffusion.sqrt_alphas_cumprod[step] * noise - diffusion.sqrt_one_minus_alphas_cumprod[step] * x_start
        found, alone = network(x_t, t), network.head_start(torch.zeros_like(x_t), x_t, t)
        assert (found - v).square().mean() < 0.95 * (alone - v).square().mean()


@pytest.mark.parametrize("extra", [[], ["--diffusion_steps=1000"]])
def test_default_command_changes_the_stain_in_both_directions(extra, tmp_path):
    assert run("frequency_generating_m_samples", "--amount=10", "--timestep_respacing=10", "--num_images=1",
               "--out_dir", tmp_path, *extra) == 0
    brown = {}
    for direction in ("translation_0_1", "translation_1_0"):
        paths = sorted((tmp_path / direction / "images").iterdir())
        brown[direction] = [stain_masks(read_image(path))["brown"].mean() for path in paths]
    assert brown["translation_0_1"][-1] > 0.6 > 0.3 > brown["translation_0_1"][0]
    assert brown["translation_1_0"][-1] < 0.1 < 0.6 < brown["translation_1_0"][0]
