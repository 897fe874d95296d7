"""Precision, recall, density and coverage: an example by hand, expected values, and sets that fail in known ways."""
import pytest
import torch

from add.errors import UserError
from add.metrics.neighbours import prdc, radii


def normal(count, shift=0.0, scale=1.0, seed=0, dim=4):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, dim, generator=generator, dtype=torch.float64) + shift


def two_modes(count, seed=0):
    """Return features [count, 4], the first half around -10 and the second around 10."""
    return torch.cat([normal(count // 2, -10.0, seed=seed), normal(count - count // 2, 10.0, seed=seed + 100)])


def column(*values):
    return torch.tensor(values)[:, None]


def test_radii_by_hand():
    """Of 0, 1, 3 and 19: the first neighbour, then the second."""
    x = column(0.0, 1.0, 3.0, 19.0)
    assert radii(x, 1).tolist() == [1, 1, 2, 16]
    assert radii(x, 2).tolist() == [3, 2, 3, 18]


def test_one_feature_by_hand():
    """Real 0, 1, 3, 19 with k = 1 have balls [-1, 1], [0, 2], [1, 5], [3, 35].

    Generated balls: [0.5, 4], [2.25, 5.75], [16, 40], [30, 50], [40, 60]. Generated 2.25, 4, 28, 40, 50 lie in
    1, 2, 1, 0, 0 real balls: precision 3/5, density 4/5. Real 0 lies in no generated ball, 1, 3 and 19 do: recall
    3/4. Only the balls of 3 and 19 hold generated images: coverage 2/4.
    """
    found = prdc(column(0.0, 1.0, 3.0, 19.0), column(2.25, 4.0, 28.0, 40.0, 50.0), k=1)
    assert found == pytest.approx((0.6, 0.75, 0.8, 0.5))


def test_density_counts_k_balls_as_1():
    """Real 0, 1, 2, 3 with k = 2 have radii 2, 1, 1, 2; a point at 1.5 is in all 4 balls, one at 9 in none."""
    found = prdc(column(0.0, 1.0, 2.0, 3.0), column(1.5, 9.0, 9.0), k=2)
    assert found.density == pytest.approx(4 / 2 / 3)


@pytest.mark.parametrize(("n", "m", "k"), [(12, 12, 3), (20, 10, 2)])
def test_expected_values_of_a_perfect_generator(n, m, k):
    """Naeem et al. 2020, section 3.3: density 1, coverage 1 less the chance that an image's k nearest are all real."""
    found = torch.tensor([prdc(normal(n, seed=2 * i), normal(m, seed=2 * i + 1), k) for i in range(300)]).double()
    missed = 1.0
    for i in range(1, k + 1):
        missed *= (n - i) / (n + m - i)
    for values, expected in ((found[:, 2], 1), (found[:, 3], 1 - missed)):
        assert abs(values.mean() - expected) < 3 * values.std() / 300**0.5


def test_a_copied_set_is_perfect():
    """And no worse where images repeat so often that their balls have radius 0."""
    x = normal(20)
    for real in (x, x[:4].repeat(5, 1)):
        found = prdc(real, real.flip(0), k=3)
        assert (found.precision, found.recall, found.coverage) == (1, 1, 1) and found.density >= 1


def test_far_from_the_origin_small_distances_stay():
    """By a matrix product, differences of 1e-4 between values of 1e5 drown in rounding."""
    real, fake = normal(20), normal(20, 0.5, seed=1)
    assert prdc(1e-4 * real + 1e5, 1e-4 * fake + 1e5) == prdc(real, fake)


def test_a_collapsed_set_has_precision_without_recall():
    real = normal(30)
    found = prdc(real, real[:1] + normal(30, scale=1e-3, seed=1))
    assert found.precision == 1
    assert found.recall <= 1 / 30  # the one image that is repeated
    assert found.coverage < 0.4


def test_half_of_the_modes_give_half_of_the_recall():
    found = prdc(two_modes(60), normal(60, -10.0, seed=7))
    perfect = prdc(two_modes(60), two_modes(60, seed=7))
    assert found.precision > 0.7 and found.density > 0.7
    assert found.recall <= 0.5 and found.coverage <= 0.5
    assert perfect.recall > 0.7 and perfect.coverage > 0.85


def test_a_set_far_off_has_nothing():
    assert prdc(normal(20), normal(20, shift=100.0)) == (0, 0, 0, 0)


def test_a_set_too_wide_keeps_recall_and_loses_the_rest():
    found, perfect = prdc(normal(60), normal(60, scale=4.0, seed=1)), prdc(normal(60), normal(60, seed=1))
    assert found.recall > 0.9
    assert found.precision < perfect.precision / 2 and found.density < perfect.density / 2


def test_an_outlier_fools_precision_more_than_density():
    """Two real outliers far off have balls wide enough for noise around them: precision 1, density 2/k."""
    real = torch.cat([normal(30), column(60.0, 61.0).double() @ torch.ones(1, 4).double()])
    found = prdc(real, normal(30, shift=50.0, seed=1), k=5)
    assert found.precision == 1
    assert found.density == pytest.approx(2 / 5)


def test_swapping_the_sets_swaps_precision_and_recall():
    x, y = normal(20), normal(25, 0.5, scale=0.7, seed=1)
    found, swapped = prdc(x, y), prdc(y, x)
    assert (found.precision, found.recall) == (swapped.recall, swapped.precision)
    assert found.precision != found.recall


@pytest.mark.parametrize(("real", "fake", "k", "message"), [
    (normal(9), normal(5), 5, "asked of 9 real and 5 generated images: expected 1 <= k < 5"),
    (normal(5), normal(9), 5, "expected 1 <= k < 5"),
    (normal(5), normal(9), 0, "expected 1 <= k < 5"),
    (normal(9), normal(0), 5, "generated set has 0 images"),
    (normal(9) * float("nan"), normal(9), 5, "real set has NaN"),
])
def test_refusals(real, fake, k, message):
    with pytest.raises(UserError, match=message):
        prdc(real, fake, k)


def test_k_one_below_the_number_of_images_is_taken():
    assert prdc(normal(5), normal(9, seed=1), k=4).recall > 0
