"""The golden cases of guided-diffusion, and the closed-form functions that stand in for networks."""
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def golden_json():
    """Return the reader golden_json(path below tests/golden)."""
    return lambda name: json.loads((GOLDEN / name).read_text())


@pytest.fixture(scope="session")
def golden_npz():
    """Return the reader golden_npz(path below tests/golden) -> dict of arrays."""
    def load(name):
        with np.load(GOLDEN / name) as archive:
            return dict(archive)
    return load


@pytest.fixture(scope="session")
def make_standin():
    """Return the maker of models: p x + q sin(a x + b t + c), with variances cos(va x + vb t + vc)."""
    def make(constants, with_variance):
        k = SimpleNamespace(**constants)

        def model(x, t):
            t = t.to(x.dtype).reshape(-1, 1, 1, 1)
            first = k.p * x + k.q * torch.sin(k.a * x + k.b * t + k.c)
            if not with_variance:
                return first
            return torch.cat([first, torch.cos(k.va * x + k.vb * t + k.vc)], dim=1)

        return model

    return make
