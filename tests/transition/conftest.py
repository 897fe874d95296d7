"""The closed-form functions that stand in for networks."""
from types import SimpleNamespace

import pytest
import torch

from add.diffusion import create_gaussian_diffusion


@pytest.fixture(scope="session")
def make_standin():
    """make_standin(constants, learn_sigma) -> model: p x + q sin(a x + b t + c), beside it a variance output."""

    def make(constants, learn_sigma=False):
        k = SimpleNamespace(**constants)

        def model(x, t):
            t = t.to(x.dtype)[:, None, None, None]
            eps = k.p * x + k.q * torch.sin(k.a * x + k.b * t + k.c)
            return torch.cat([eps, torch.cos(k.va * x + k.vb * t + k.vc)], dim=1) if learn_sigma else eps

        return model

    return make


@pytest.fixture(scope="session")
def make_gaussian():
    """make_gaussian(mean, std) -> the exact eps of data N(mean, std^2), at any respacing of T = 1000."""
    levels = torch.from_numpy(create_gaussian_diffusion().alphas_cumprod)

    def make(mean, std):
        def model(x, t):
            alpha_bar = levels[t][:, None, None, None].to(x.dtype)
            variance = alpha_bar * std**2 + 1 - alpha_bar
            return (1 - alpha_bar).sqrt() * (x - alpha_bar.sqrt() * torch.as_tensor(mean).to(x)) / variance

        return model

    return make
