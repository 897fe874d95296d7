"""Progression: positions, evenness, monotony and PSNR by hand, and sequences that jump, stall or go back."""
import math

import numpy as np
import pytest
import torch

from add.errors import UserError
from add.metrics.progression import Evenness, Monotony, cycle_error, evenness, monotony, projection


def test_projection_by_hand():
    """The line from (1, 0) to (5, 0): its ends are 0 and 1, what lies beside it counts by its foot."""
    features = torch.tensor([[1.0, 0.0], [5.0, 0.0], [3.0, 9.0], [0.0, 1.0], [6.0, -2.0]])
    found = projection(features, torch.tensor([1.0, 0.0]), torch.tensor([5.0, 0.0]))
    torch.testing.assert_close(found, torch.tensor([0, 1, 0.5, -0.25, 1.25], dtype=torch.float64))


def test_projection_does_not_depend_on_rotation_and_scale():
    generator = torch.Generator().manual_seed(0)
    x, s, t = (torch.randn(shape, 6, dtype=torch.float64, generator=generator) for shape in (10, 1, 1))
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=generator))[0] * 7
    found = projection(x @ turn + 3, (s @ turn + 3)[0], (t @ turn + 3)[0])
    torch.testing.assert_close(found, projection(x, s[0], t[0]))


def test_means_of_the_domains_stand_at_the_ends():
    """Averages of positions are positions of averages."""
    generator = torch.Generator().manual_seed(0)
    source, target = (torch.randn(20, 5, generator=generator) + shift for shift in (0, 2))
    ends = [projection(x, source.mean(0), target.mean(0)).mean().item() for x in (source, target)]
    assert ends == pytest.approx([0, 1], abs=1e-6)


def test_equal_means_are_refused():
    with pytest.raises(UserError, match="no line between them"):
        projection(torch.zeros(2, 3), torch.ones(3), torch.ones(3))
    with pytest.raises(ValueError, match=r"expected \[n, D\], \[D\] and \[D\]"):
        projection(torch.zeros(2, 3), torch.ones(3), torch.ones(4))


def test_straight_sequences_are_even_wherever_they_start():
    m = np.arange(1, 6) / 5
    found = evenness(np.stack([m, 0.3 + 2 * m, 1 - m]), start=[0, 0.3, 1])
    assert found == Evenness(pytest.approx(0, abs=1e-12), pytest.approx(0, abs=1e-12), 3, 0)
    assert evenness(np.stack([m, 0.3 + 2 * m])).mean == pytest.approx(0, abs=1e-12)


def test_deviation_by_hand():
    """From 0 by 0.1, 0.2, 0.9 to 2: shares 0.05, 0.1, 0.45 against 0.25, 0.5, 0.75, so (0.2 + 0.4 + 0.3) / 3.

    With the first image as the start 0.1 / 1.9 and 0.8 / 1.9 stand against 1/3 and 2/3.
    """
    sequence = [[0.1, 0.2, 0.9, 2.0]]
    assert evenness(sequence, start=[0.0]).mean == pytest.approx(0.3)
    assert evenness(sequence).mean == pytest.approx((1 / 3 - 1 / 19 + 2 / 3 - 8 / 19) / 2)


def test_mean_and_median_are_over_sequences():
    """Two straight ones and one that jumps at its first image: 0, 0 and (2/3 + 1/3) / 2."""
    found = evenness([[1, 2, 3], [1, 2, 3], [3, 3, 3]], start=[0, 0, 0])
    assert found == Evenness(pytest.approx(1 / 6), pytest.approx(0, abs=1e-12), 3, 0)


def test_still_sequences_are_counted_and_left_out():
    positions = [[0.5, 0.1, 0.5], [0.0, 0.25, 1.0], [0.2, 0.9, 0.205]]
    assert evenness(positions) == Evenness(0.25, 0.25, 1, 2)
    assert evenness(positions, least_move=0).sequences == 2
    assert evenness(positions[:1]) == Evenness(None, None, 0, 1)


def test_later_jumps_are_less_even():
    straight = torch.linspace(0, 1, 9)[None]
    found = [evenness(straight ** power).mean for power in (1, 2, 4, 16)]
    assert found == sorted(found) and found[0] < 1e-6 and found[3] > 0.3


@pytest.mark.parametrize("positions, forward, spearman", [
    ([1, 2, 3, 4], 1, 1), ([4, 3, 2, 1], 0, -1), ([1, 1, 1, 1], 0, 0),
    ([1, 2, 4, 3], 2 / 3, 1 - 6 * 2 / (4 * 15)),  # 1 - 6 sum d^2 / (N (N^2 - 1))
    ([0, 100, 101, 9], 2 / 3, 1 - 6 * (1 + 1 + 4) / (4 * 15)),
    ([1, 2, 2, 3], 2 / 3, 4.5 / math.sqrt(5 * 4.5)),  # ranks 1, 2.5, 2.5, 4
])
def test_monotony_by_hand(positions, forward, spearman):
    assert monotony([positions]) == Monotony(pytest.approx(forward), pytest.approx(spearman))


def test_monotony_averages_over_sequences_and_counts_the_start():
    assert monotony([[1, 2, 3], [3, 2, 1]]) == Monotony(pytest.approx(0.5), pytest.approx(0))
    assert monotony([[1, 2, 3]], start=[5]) == Monotony(pytest.approx(2 / 3), pytest.approx(1 - 6 * 12 / (4 * 15)))


def test_monotony_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    positions = np.random.default_rng(0).integers(0, 5, (6, 9))
    expected = np.mean([stats.spearmanr(np.arange(9), row).statistic for row in positions])
    assert monotony(positions).spearman == pytest.approx(expected)


def test_noise_makes_a_sequence_less_monotone():
    generator = torch.Generator().manual_seed(0)
    straight, noise = torch.linspace(0, 1, 10).expand(20, 10), torch.randn(20, 10, generator=generator)
    found = [monotony(straight + level * noise) for level in (0, 0.1, 1)]
    assert found[0] == pytest.approx((1, 1))
    assert found[0].forward > found[1].forward > found[2].forward
    assert found[0].spearman > found[1].spearman > found[2].spearman > 0


def test_psnr_by_hand():
    """All pixels off by 0.2 of the range 2: 20 log10(10) = 20 dB; half of them: 10 log10(2) more."""
    x = torch.zeros(3, 3, 4, 4)
    y = x + 0.2
    y[1, :, :2] = 0
    y[2] = 0
    found = cycle_error(x, y)
    assert found[:2].tolist() == pytest.approx([20, 20 + 10 * math.log10(2)], abs=1e-5) and found[2] == math.inf


def test_rounding_to_bytes_gives_59_decibels():
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rounded = ((x + 1) * 127.5).round() / 127.5 - 1
    assert cycle_error(x, rounded).item() == pytest.approx(20 * math.log10(255) + 10 * math.log10(12), abs=0.1)


def test_refusals():
    with pytest.raises(UserError, match="expected at least 3"):
        evenness([[0, 1]])
    with pytest.raises(UserError, match="expected at least 2"):
        monotony([[0]])
    for measure in (evenness, monotony):
        with pytest.raises(ValueError, match=r"expected \[n, N\]"):
            measure([0, 1, 2])
        with pytest.raises(ValueError, match=r"expected \[1\]"):
            measure([[0, 1, 2]], start=[0, 0])
        with pytest.raises(UserError, match="NaN or infinite"):
            measure([[0, 1, float("nan")]])
    with pytest.raises(UserError, match="as many of the same size"):
        cycle_error(torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(UserError, match="NaN or infinite"):
        cycle_error(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), float("nan")))
