import numpy as np
import pytest
import torch

from add.diffusion.likelihood import (
    approx_standard_normal_cdf,
    discretized_gaussian_log_likelihood,
    mean_flat,
    normal_kl,
)


@pytest.fixture
def golden(golden_npz):
    return {k: torch.from_numpy(v) for k, v in golden_npz("diffusion/losses_and_embedding.npz").items()}


def test_normal_kl_golden(golden):
    first = golden["kl_mean1"], golden["kl_logvar1"]
    torch.testing.assert_close(
        normal_kl(*first, golden["kl_mean2"], golden["kl_logvar2"]), golden["kl"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        normal_kl(*first, 0.0, 0.0), golden["kl_vs_standard_normal"], rtol=1e-5, atol=1e-6)


def test_normal_kl_is_torchs():
    mean1, logvar1, mean2, logvar2 = torch.linspace(-2, 2, 20, dtype=torch.float64).reshape(4, 5)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean1, (logvar1 / 2).exp()),
        torch.distributions.Normal(mean2, (logvar2 / 2).exp()))
    torch.testing.assert_close(normal_kl(mean1, logvar1, mean2, logvar2), expected)


def test_normal_kl_takes_numbers_for_any_tensor():
    table = torch.linspace(-2, 2, 20, dtype=torch.float64).reshape(4, 5)
    numbers = [0.5, -0.3, 0.1, 0.7]
    for given in ([*table[:3], 0.7], [0.5, *table[1:]], [0.5, -0.3, *table[2:]], numbers):
        tensors = [torch.as_tensor(x, dtype=torch.float64) for x in given]
        torch.testing.assert_close(torch.as_tensor(normal_kl(*given), dtype=torch.float64), normal_kl(*tensors))


def test_discretized_likelihood_golden(golden):
    actual = discretized_gaussian_log_likelihood(
        golden["dg_x"], means=golden["dg_means"], log_scales=golden["dg_log_scales"])
    torch.testing.assert_close(actual, golden["dg_log_likelihood"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scale", [0.02, 0.3, 2.0])
def test_the_256_levels_have_probability_one(scale):
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    log_probability = discretized_gaussian_log_likelihood(
        levels, means=torch.full_like(levels, 0.2), log_scales=torch.full_like(levels, np.log(scale)))
    assert log_probability.exp().sum().item() == pytest.approx(1, abs=1e-6)


def test_cdf_approximation_is_within_its_stated_error():
    x = torch.linspace(-5, 5, 1001, dtype=torch.float64)
    error = (approx_standard_normal_cdf(x) - torch.special.ndtr(x)).abs().max()
    assert error < 2e-4


def test_mean_flat_keeps_the_batch():
    assert mean_flat(torch.arange(12.0).reshape(2, 3, 1, 2)).tolist() == [2.5, 8.5]
