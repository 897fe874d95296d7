import pytest
import torch

from add.training.ema import EMA, rate_at, share_of_start


def follow(values, **options):
    parameter = torch.tensor([0.0])
    ema = EMA([parameter], **options)
    for value in values:
        ema.update([torch.tensor([float(value)])])
    return ema.parameters[0].item()


def test_without_warmup_the_rate_is_constant():
    """From 0: 0.1 * 10 = 1, then 0.9 * 1 + 0.1 * 20 = 2.9."""
    assert follow([10, 20], rate=0.9, warmup=False) == pytest.approx(2.9)


def test_with_warmup_the_rate_rises_to_its_limit():
    """Rates 1/10, 2/11, then 0.2 in place of 3/12: 0.9 * 10 = 9; 9 * 2/11 + 20 * 9/11 = 18; 0.2 * 18 + 0.8 * 30."""
    assert follow([10], rate=0.2, warmup=True) == pytest.approx(9)
    assert follow([10, 20], rate=0.2, warmup=True) == pytest.approx(18)
    assert follow([10, 20, 30], rate=0.2, warmup=True) == pytest.approx(27.6)


def test_the_average_is_a_copy():
    parameter = torch.tensor([1.0])
    ema = EMA([parameter], 0.9)
    parameter.add_(5)
    assert ema.parameters[0].item() == 1


@pytest.mark.parametrize("rate, steps, warmup", [(0.9999, 4, True), (0.15, 4, True), (0.9, 4, False)])
def test_share_of_start_is_what_the_first_weights_keep(rate, steps, warmup):
    """From 1 followed by zeros, the average is the share itself."""
    ema = EMA([torch.ones(1, dtype=torch.float64)], rate, warmup)
    for _ in range(steps):
        ema.update([torch.zeros(1, dtype=torch.float64)])
    assert share_of_start(rate, steps, warmup) == pytest.approx(ema.parameters[0].item(), rel=1e-9)


def test_warmup_forgets_the_start_within_few_steps():
    assert share_of_start(0.9999, 3, warmup=True) == pytest.approx(1 / 10 * 2 / 11 * 3 / 12)
    assert share_of_start(0.9999, 10**6, warmup=True) == 0
    assert share_of_start(0.9999, 1000, warmup=False) == pytest.approx(0.905, abs=1e-3)


def test_rate_at_reaches_its_limit():
    assert rate_at(0, 0.5, True) == 0.1
    assert rate_at(8, 0.5, True) == 0.5 and rate_at(9, 0.5, True) == 0.5
