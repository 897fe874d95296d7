"""Vendi score: sets whose effective number of images is known, and what must raise or leave it."""
import math

import pytest
import torch

from add.errors import UserError
from add.metrics.diversity import vendi_score


def normal(count, seed=0, dim=8):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_alike_images_count_as_one(n):
    assert vendi_score(torch.tensor([[3.0, -1.0, 2.0]]).repeat(n, 1)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_orthogonal_images_count_as_n(n):
    """Whatever the lengths of their features."""
    assert vendi_score(torch.eye(7)[:n] * torch.arange(1, n + 1)[:, None]) == pytest.approx(n, rel=1e-12)


def test_groups_count_by_their_shares():
    """Three of one kind and one of another: eigenvalues 3/4 and 1/4; two and two: exactly 2."""
    a, b = torch.eye(5)[:2]
    assert vendi_score(torch.stack([a, a, a, b])) == pytest.approx(
        math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)), rel=1e-12)
    assert vendi_score(torch.stack([a, b, a, b])) == pytest.approx(2, rel=1e-12)


def test_two_images_at_an_angle():
    """Cosine 0.6: K / 2 has eigenvalues (1 + 0.6) / 2 and (1 - 0.6) / 2."""
    found = vendi_score(torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64))
    assert found == pytest.approx(math.exp(-0.8 * math.log(0.8) - 0.2 * math.log(0.2)), rel=1e-12)


@pytest.mark.parametrize("n", [5, 30])
def test_agrees_with_the_eigenvalues_of_the_kernel(n):
    """At fewer images than features and at more."""
    x = normal(n)
    kernel = torch.nn.functional.cosine_similarity(x[:, None], x[None], dim=2)
    eigenvalues = torch.linalg.eigvalsh(kernel / n).clamp_min(1e-30)
    assert vendi_score(x) == pytest.approx((-eigenvalues * eigenvalues.log()).sum().exp().item(), rel=1e-8)


def test_more_kinds_score_higher():
    """Clouds around 1, 2, 4 and 8 directions, 24 images each time, and a collapse into half of them."""
    scores = [vendi_score(10 * torch.eye(8).double()[torch.arange(24) % kinds] + 0.3 * normal(24))
              for kinds in (1, 2, 4, 8)]
    assert scores == sorted(scores)
    assert scores == pytest.approx([1, 2, 4, 8], rel=0.1)


def test_repeating_the_whole_set_adds_nothing():
    x = normal(6)
    assert vendi_score(x.repeat(3, 1)) == pytest.approx(vendi_score(x), rel=1e-10)


def test_an_ever_narrower_spread_nears_one():
    wide, narrow, point = (vendi_score(1 + spread * normal(20)) for spread in (1, 0.1, 1e-6))
    assert wide > narrow > point
    assert point == pytest.approx(1, abs=1e-6)


def test_float32_features_are_summed_in_float64():
    x = normal(9).float()
    assert vendi_score(x) == vendi_score(x.double())


@pytest.mark.parametrize(("x", "message"), [
    (torch.zeros(0, 3), "given set has 0 images"),
    (torch.tensor([[1.0, 2.0], [0.0, 0.0]]), "1 of 2 images have features that are all 0"),
    (torch.tensor([[1.0, float("nan")]]), "NaN"),
])
def test_refusals(x, message):
    with pytest.raises(UserError, match=message):
        vendi_score(x)
