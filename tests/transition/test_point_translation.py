"""A cloud of points, walked as one image, goes where each of its points goes alone."""
import pytest
import torch

from add.diffusion import create_gaussian_diffusion
from add.transition import SAMPLERS, decode, encode, make_sampler
from add.transition.point_translation import PointCloud, decode_points, encode_points

POINTS = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def twisting(x, t):
    """eps of points [B, 2] at t [B], which mixes their coordinates."""
    assert x.shape == (len(t), 2)
    return 0.9 * x + 0.3 * torch.sin(1.3 * x.flip(1) + 0.01 * t.to(x.dtype)[:, None])


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("name", SAMPLERS)
def test_points_are_carried_as_they_are_alone(name, learned):
    diffusion = create_gaussian_diffusion(timestep_respacing="20" if name == "ddim" else "", learn_sigma=learned)
    sampler = make_sampler(name, **({} if name in ("ddim", "obelm") else {"encode_steps": 8, "decode_steps": 5}))

    def model(x, t):
        return torch.cat([twisting(x, t), torch.cos(x)], dim=1) if learned else twisting(x, t)

    depths = torch.full((len(POINTS), 1), diffusion.num_timesteps)
    latents = encode_points(PointCloud(model), diffusion, POINTS, sampler)
    expected = encode(model, diffusion, POINTS, depths, sampler)
    torch.testing.assert_close(latents, expected[:, 0], rtol=1e-6, atol=1e-6)
    assert latents.shape == (5, 4 if name == "obelm" else 2)
    torch.testing.assert_close(decode_points(PointCloud(model), diffusion, latents, sampler),
                               decode(model, diffusion, expected, depths, sampler)[:, 0], rtol=1e-6, atol=1e-6)


def test_evaluations_are_counted_in_points():
    seen = []
    cloud = PointCloud(twisting, seen.append)
    encode_points(cloud, create_gaussian_diffusion(timestep_respacing="4"), POINTS, "ddim")
    assert cloud.evaluations == 4 * 5 and seen == [5] * 4
