"""KID against values worked out by hand, and what every distance between sets must do."""
import pytest
import torch

from add.errors import UserError
from add.metrics.kid import kid, polynomial_kernel, squared_mmd


def normal(count, shift=0.0, seed=0, dim=8):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64) + shift


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_kernel_by_hand():
    """x . y = 2 and D = 2: (2 / 2 + 1)^3 = 8; orthogonal rows: 1."""
    x, y = torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([[1.0, 1.0]])
    assert polynomial_kernel(x, y).tolist() == [[8.0], [1.0]]


def test_squared_mmd_by_hand():
    """One feature, x = {0, 1, 2}, y = {1, 3}.

    Pairs of x: (0,1) and (0,2) give 1, (1,2) gives 27: mean 29/3. Pair of y: 4^3 = 64. Between: 1, 1, 8, 64, 27, 343:
    mean 444/6 = 74. So 29/3 + 64 - 148 = -223/3.
    """
    x, y = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[1.0], [3.0]])
    assert squared_mmd(x, y).item() == pytest.approx(-223 / 3, rel=1e-14)
    assert squared_mmd(y, x).item() == pytest.approx(-223 / 3, rel=1e-14)


def test_subsets_of_the_whole_sets_give_the_whole_estimate():
    x, y = normal(20), normal(20, shift=0.3, seed=1)
    found = kid(x, y, num_subsets=3, subset_size=20, generator=seeded())
    assert found.mean == pytest.approx(squared_mmd(x, y).item(), rel=1e-10)
    assert found.spread < 1e-10


def test_mean_over_subsets_nears_the_whole_estimate():
    """The mean over all subsets is the whole estimate exactly, so many random ones come near it."""
    x, y = normal(60), normal(40, shift=0.3, seed=1)
    found = kid(x, y, num_subsets=2000, generator=seeded())
    assert found.subset_size == 20
    assert found.mean == pytest.approx(squared_mmd(x, y).item(), abs=4 * found.spread / 2000**0.5)


def test_same_distribution_is_near_zero_at_any_size():
    """Unbiased: the mean over many draws is 0 within its standard error, for few images as for many."""
    for count in (4, 32):
        values = torch.stack([squared_mmd(normal(count, seed=2 * i), normal(count, seed=2 * i + 1))
                              for i in range(400)])
        assert abs(values.mean()) < 3 * values.std() / 400**0.5


def test_more_different_sets_are_farther_apart():
    same, near, far = (kid(normal(200), normal(200, shift, seed=1), generator=seeded()) for shift in (0, 0.3, 0.6))
    assert abs(same.mean) < near.mean / 5
    assert 0 < near.mean < far.mean


def test_generator_decides_the_subsets():
    x, y = normal(30), normal(30, seed=1)
    assert kid(x, y, generator=seeded(3)) == kid(x, y, generator=seeded(3))
    assert kid(x, y, generator=seeded(3)).mean != kid(x, y, generator=seeded(4)).mean


def test_float32_features_are_summed_in_float64():
    x, y = normal(50).float() * 30, normal(50, 0.1, seed=1).float() * 30
    assert squared_mmd(x, y).dtype is torch.float64
    assert squared_mmd(x, y) == squared_mmd(x.double(), y.double())


def test_subset_size_fits_the_smaller_set():
    assert kid(normal(2), normal(9), generator=seeded()).subset_size == 2
    assert kid(normal(2100, dim=1), normal(2100, dim=1), 1, generator=seeded()).subset_size == 1000


@pytest.mark.parametrize(("x", "y", "options", "message"), [
    (normal(1), normal(5), {}, "first set has 1 images: expected at least 2"),
    (normal(5), normal(6), {"subset_size": 6}, "sets of 5 and 6: expected 2 to 5"),
    (normal(5), normal(6), {"subset_size": 1}, "expected 2 to 5"),
    (normal(5), normal(6), {"num_subsets": 0}, "expected at least 1"),
    (normal(5), normal(5) * float("nan"), {}, "second set has NaN"),
])
def test_refusals(x, y, options, message):
    with pytest.raises(UserError, match=message):
        kid(x, y, **options)


def test_other_features_are_refused():
    with pytest.raises(ValueError, match="8 and 3 features"):
        kid(normal(5), normal(5, dim=3))
    with pytest.raises(ValueError, match="expected features"):
        kid(normal(5)[0], normal(5))
