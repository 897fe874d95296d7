"""The closed-form functions that stand in for networks."""
from types import SimpleNamespace

import pytest
import torch

from add.diffusion import create_gaussian_diffusion
from add.diffusion.noise_levels import NoiseLevels


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


@pytest.fixture
def seen():
    """How many images each network that `counting` made has evaluated, by name."""
    return {"source": 0, "target": 0}


@pytest.fixture
def counting(seen):
    """counting(name, model) -> the model, which notes in `seen` how many images it evaluates."""

    def make(name, model):
        def counted(x, t):
            seen[name] += len(x)
            return model(x, t)

        return counted

    return make


@pytest.fixture(scope="session")
def make_gaussian():
    """make_gaussian(mean, std, prediction, diffusion) -> the exact eps, x_start or v of data N(mean, std^2).

    At the levels of a diffusion of all its timesteps, T = 1000 if left out; between them, too.
    """

    def make(mean, std, prediction="epsilon", diffusion=None):
        levels = NoiseLevels((diffusion or create_gaussian_diffusion()).alphas_cumprod)

        def model(x, t):
            signal, spread = (torch.from_numpy(factor).to(x.dtype)[:, None, None, None]
                              for factor in levels.factors(t.double().numpy()))
            center = torch.as_tensor(mean).to(x)
            away = (x - signal * center) / (signal**2 * std**2 + spread**2)
            eps, x_start = spread * away, center + signal * std**2 * away
            return {"epsilon": eps, "x_start": x_start, "v": signal * eps - spread * x_start}[prediction]

        return model

    return make
