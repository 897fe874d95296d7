"""FID against closed forms, at more and at fewer images than features, and its bias."""
import pytest
import torch

from add.errors import UserError
from add.metrics.fid import fid, real_against_real


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(count, shift=0.0, scale=1.0, seed=0, dim=6):
    return scale * torch.randn(count, dim, generator=seeded(seed), dtype=torch.float64) + shift


def with_moments(x, mean, covariance_root):
    """Return x [n, D], n > D, moved so that its sample mean is `mean` and its covariance root^T root exactly."""
    x = x - x.mean(dim=0)
    white = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / (len(x) - 1))).T
    return white @ covariance_root + mean


def test_one_feature_by_hand():
    """Means 1 and 4, variances 1 and 4 (of {0, 1, 2} and {2, 4, 6}): (1 - 4)^2 + (1 - 2)^2 = 10."""
    x, y = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[2.0], [4.0], [6.0]])
    assert fid(x, y) == pytest.approx(10, rel=1e-14)
    assert fid(y, x) == pytest.approx(10, rel=1e-14)


@pytest.mark.parametrize("counts", [(40, 30), (40, 5), (5, 40)])
def test_diagonal_gaussians(counts):
    """Independent features: sum of (mean differences)^2 + (standard deviation differences)^2.

    The sets with 5 images have variance along 4 features alone, fewer than the 6.
    """
    spreads = [1.0, 2.0, 0.5, 3.0, 0.0, 0.0], [2.0, 2.0, 1.5, 1.0, 0.0, 0.0]
    means = [0.0] * 6, [1.0, -2.0] + [0.5] * 4
    sets = []
    for count, spread, mean, seed in zip(counts, spreads, means, (0, 1), strict=True):
        x = with_moments(normal(count, seed=seed, dim=4), torch.zeros(4).double(), torch.eye(4).double())
        x = torch.cat([x, torch.zeros(count, 2)], dim=1)
        sets.append(x * torch.tensor(spread).double() + torch.tensor(mean).double())
    # (1 - 2)^2 + 0 + (0.5 - 1.5)^2 + (3 - 1)^2 = 6 of the spreads, 1 + 4 + 4 * 0.25 = 6 of the means.
    assert fid(*sets) == pytest.approx(12, rel=1e-10)


@pytest.mark.parametrize(("n", "m"), [(50, 30), (30, 8), (9, 8)])
def test_agrees_with_the_matrix_square_root(n, m):
    linalg = pytest.importorskip("scipy.linalg")
    x, y = normal(n) @ normal(6, seed=8), normal(m, shift=0.4, seed=1) @ normal(6, seed=9)
    s1, s2 = torch.cov(x.T), torch.cov(y.T)
    root = linalg.sqrtm((s1 @ s2).numpy()).real.trace()
    expected = ((x.mean(dim=0) - y.mean(dim=0))**2).sum() + s1.trace() + s2.trace() - 2 * root
    assert fid(x, y) == pytest.approx(expected.item(), rel=1e-8)


@pytest.mark.parametrize("dim", [3, 20, 300])
def test_a_set_is_at_distance_0_of_itself(dim):
    """At more images than features, as many and fewer, in any order, and never below 0."""
    x = 10 * normal(20, dim=dim)
    scale = x.square().sum().item() / 20
    for y in (x, x.flip(0), torch.cat([x, x.flip(0)])[:20]):
        assert 0 <= fid(x, y) < 1e-11 * scale


def test_both_sides_of_as_many_images_as_features_agree():
    """Features that are always 0 change nothing but which side of n = D the sets are on."""
    x, y = normal(12, dim=6), normal(9, 0.5, seed=1, dim=6)
    wide = [torch.cat([part, torch.zeros(len(part), 30)], dim=1) for part in (x, y)]
    assert fid(*wide) == pytest.approx(fid(x, y), rel=1e-10)


def test_worse_sets_are_farther():
    """Shifted, collapsed to a narrow cloud, and blown up: each farther from 2000 samples than fresh ones are."""
    real, fresh = normal(2000), fid(normal(2000), normal(2000, seed=1))
    shifts = [fid(real, normal(2000, shift, seed=1)) for shift in (0.3, 0.6)]
    assert 5 * fresh < shifts[0] < shifts[1]
    assert shifts[1] == pytest.approx(6 * 0.36, rel=0.2)
    for scale in (0.1, 2.0):  # sum of (1 - scale)^2 over 6 features
        assert fid(real, normal(2000, scale=scale, seed=1)) == pytest.approx(6 * (1 - scale)**2, rel=0.1)


def test_few_images_are_biased_and_the_floor_shows_it():
    """Two samples of one Gaussian in 64 features: FID falls as images are added, and the floor at the same n with it.

    At 16 images a perfect generator is as far away as one shifted by 0.8 in every feature would be without the bias.
    """
    real = normal(1024, dim=64)
    values = [fid(real[:n], normal(n, seed=1, dim=64)) for n in (16, 128, 512)]
    assert values[0] > 0.64 * 64 and values[0] > 4 * values[1] > 8 * values[2] > 0
    for n, value in zip((16, 128, 512), values, strict=True):
        assert real_against_real(real, n, seeded()).mean == pytest.approx(value, rel=0.25)


def test_floor_is_of_disjoint_parts():
    """Of features numbered 0 to 9, two parts of 5 hold all ten; every repeat draws anew."""
    drawn = []

    def watch(x, y):
        drawn.append((x.flatten().tolist(), y.flatten().tolist()))
        return len(drawn)

    found = real_against_real(torch.arange(10.0)[:, None], 5, seeded(), watch, repeats=3)
    assert all(sorted(x + y) == list(range(10)) for x, y in drawn)
    assert len({tuple(x) for x, _ in drawn}) == 3
    assert found.mean == 2 and found.spread == pytest.approx((2 / 3)**0.5)


def test_generator_decides_the_parts():
    x = normal(20)
    assert real_against_real(x, 6, seeded(3)) == real_against_real(x, 6, seeded(3))
    assert real_against_real(x, 6, seeded(3)).mean != real_against_real(x, 6, seeded(4)).mean


def test_float32_features_are_summed_in_float64():
    x, y = normal(50).float() * 30, normal(50, 0.1, seed=1).float() * 30
    assert fid(x, y) == fid(x.double(), y.double())


@pytest.mark.parametrize(("x", "y", "message"), [
    (normal(1), normal(5), "first set has 1 images: expected at least 2"),
    (normal(5), normal(1), "second set has 1 images"),
    (normal(5), normal(5) * float("nan"), "second set has NaN"),
])
def test_refusals(x, y, message):
    with pytest.raises(UserError, match=message):
        fid(x, y)


@pytest.mark.parametrize(("count", "repeats", "message"), [
    (6, 5, "parts of 6 images were asked of 11 real images: expected a count of 2 to 5"),
    (1, 5, "expected a count of 2 to 5"),
    (5, 0, "0 repeats were asked for: expected at least 1"),
])
def test_the_floor_refuses(count, repeats, message):
    with pytest.raises(UserError, match=message):
        real_against_real(normal(11), count, repeats=repeats)


def test_other_features_are_refused():
    with pytest.raises(ValueError, match="6 and 3 features"):
        fid(normal(5), normal(5, dim=3))
