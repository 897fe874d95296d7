"""Intervals of shares, and agreement beyond chance, against hand calculations."""
import numpy as np
import pytest

from add.review.agreement import cohen_kappa, exact_interval, fleiss_kappa


def test_the_exact_interval_of_none_and_of_all():
    """(1 - high)^n = 0.025 where none of n was taken for real."""
    high = 1 - 0.025 ** (1 / 10)
    assert exact_interval(0, 10) == pytest.approx((0, high)) and exact_interval(10, 10) == pytest.approx((1 - high, 1))


def test_the_exact_interval_holds_at_least_as_often_as_it_says():
    """By the binomial distribution itself, over all counts, where the true share is 0.3."""
    from scipy.stats import binom

    total, share = 15, 0.3
    covered = sum(binom.pmf(count, total, share) for count in range(total + 1)
                  if exact_interval(count, total)[0] <= share <= exact_interval(count, total)[1])
    assert 0.95 <= covered < 0.995


def test_cohens_kappa_by_hand():
    """Agreement 3/4, by chance 1/2 * 1/4 + 1/2 * 3/4 = 1/2."""
    assert cohen_kappa([1, 1, 0, 0], [1, 0, 0, 0], 2) == pytest.approx(0.5)
    assert cohen_kappa([0, 1, 0], [0, 1, 0], 2) == pytest.approx(1)
    assert cohen_kappa([1, 1], [1, 1], 2) is None and cohen_kappa([], [], 2) is None


def test_quadratic_kappa_forgives_neighbours():
    first, near, far = [0, 1, 2, 3], [1, 1, 2, 2], [3, 1, 2, 0]
    assert cohen_kappa(first, near, 4, quadratic=True) > 0.6 > 0 > cohen_kappa(first, far, 4, quadratic=True)


def test_fleiss_kappa_by_hand():
    """Three images of two readers: P = 2/3; both classes have the share 1/2, so P_e = 1/2."""
    assert fleiss_kappa(np.array([[2, 0], [0, 2], [1, 1]])) == pytest.approx(1 / 3)
    assert fleiss_kappa(np.array([[3, 0], [0, 3]])) == pytest.approx(1)
    assert fleiss_kappa(np.array([[3, 0], [3, 0]])) is None


def test_fleiss_kappa_of_readers_who_guess_is_about_none():
    yes = np.random.default_rng(0).binomial(5, 0.5, 3000)
    assert abs(fleiss_kappa(np.stack([yes, 5 - yes], axis=1))) < 0.03
