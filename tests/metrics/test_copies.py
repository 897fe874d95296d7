"""The copy test: distances by hand, models that copy and models that do not, and the picture's pixels."""
import numpy as np
import pytest
import torch

from add.errors import UserError
from add.metrics.copies import GAP, copy_test, draw_pairs, nearest_neighbours
from add.results.overview import PAPER, SMALLEST_TILE


def normal(count, seed, dim=4):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def column(*values):
    return torch.tensor(values)[:, None]


def test_by_hand():
    """Training 0, 10, 20; held-out distances 1, 2, 3, 4, below 19 of them the threshold is the smallest, 1.

    Fakes 0.5, 12 and 26 are 0.5, 2 and 6 away, so one of three is closer; medians 2 / 2.5.
    """
    found = copy_test(column(12.0, 0.5, 26.0), column(0.0, 10.0, 20.0), column(-1.0, 12.0, 23.0, 24.0))
    assert found.fake_distances.tolist() == [2.0, 0.5, 6.0] and found.nearest.tolist() == [1, 0, 2]
    assert found.held_out_distances.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert (found.threshold, found.share_closer) == pytest.approx((1.0, 1 / 3))
    assert found.expected_share == pytest.approx(1 / 5)
    assert found.ratio_of_medians == pytest.approx(2 / 2.5) and found.closest.tolist() == [1, 0, 2]


def test_threshold_stands_at_rank_p_times_h_plus_one():
    """Of distances 1..39, rank 0.05 * 40 = 2."""
    held_out = torch.arange(1.0, 40.0)[:, None]
    found = copy_test(column(0.5, 1.5, 2.5, 30.0), torch.zeros(1, 1), held_out)
    assert (found.threshold, found.share_closer, found.expected_share) == pytest.approx((2.0, 0.5, 0.05))


def test_distances_are_exact_and_zero_for_a_copy():
    """Far from the origin too, where |x|^2 + |y|^2 - 2 x . y loses small distances."""
    train = normal(300, 0, 50) + 1e4
    fake = train[[5, 299]] + torch.tensor([[0.0], [0.25]])
    distances, nearest = nearest_neighbours(fake.repeat(200, 1), train)
    assert nearest.tolist() == [5, 299] * 200 and distances[0] == 0
    torch.testing.assert_close(distances[1], (fake[1].double() - train[299].double()).norm())


def test_a_model_that_learned_the_distribution_passes():
    """Fakes drawn as held-out images are: 5 % closer by chance, on average, and equal medians."""
    found = [copy_test(normal(100, 3 * i), normal(100, 3 * i + 1), normal(30, 3 * i + 2)) for i in range(20)]
    assert np.mean([x.share_closer for x in found]) == pytest.approx(0.05, abs=0.025)
    assert np.mean([x.ratio_of_medians for x in found]) == pytest.approx(1, abs=0.1)


def test_copying_shows():
    train, held_out = normal(60, 0), normal(60, 1)
    copied = copy_test(train[:30] + 0.01 * normal(30, 2), train, held_out)
    assert copied.share_closer == 1 and copied.ratio_of_medians < 0.1 and copied.nearest.tolist() == list(range(30))
    third = copy_test(torch.cat([train[:10], normal(20, 3)]), train, held_out, count=10)
    assert 1 / 3 <= third.share_closer < 0.6 and set(third.closest.tolist()) == set(range(10))


def test_images_unlike_the_training_set_are_not_copies():
    found = copy_test(normal(30, 2) + 5, normal(60, 0), normal(60, 1))
    assert found.share_closer == 0 and found.ratio_of_medians > 3


def test_held_out_images_that_were_trained_on_are_refused():
    """They would put the threshold at 0, below which no copy lies."""
    train = normal(40, 0)
    with pytest.raises(UserError, match="10 of 40 held-out images are in the training set too"):
        copy_test(train[:5], train, torch.cat([train[:10], normal(30, 1)]))
    with pytest.raises(UserError, match="40 of 40"):
        copy_test(train[:5], train, train)


def test_refusals():
    x = normal(3, 0)
    with pytest.raises(UserError, match="generated set is empty"):
        copy_test(x[:0], x, x)
    with pytest.raises(UserError, match="training set has NaN"):
        copy_test(x, x * float("nan"), x)
    with pytest.raises(ValueError, match=r"held-out set has shape .* expected features or pixels \[n, D\]"):
        copy_test(x, x, x[0])
    with pytest.raises(ValueError, match="expected the same features"):
        copy_test(x, x, x[:, :2])


def tiles(count, size=16):
    """Return images of one colour each, different in both sets."""
    shape = (count, size, size, 3)
    fakes = np.broadcast_to((10 + 2 * np.arange(count, dtype=np.uint8))[:, None, None, None], shape)
    return fakes, fakes + np.uint8(100)


@pytest.mark.parametrize("size, factor", [(16, 6), (64, 2), (128, 1)])
def test_picture_shows_pairs_side_by_side_and_enlarged(size, factor):
    fakes, neighbours = tiles(5, size)
    picture = draw_pairs(fakes, neighbours, torch.linspace(0.1, 0.5, 5), "five pairs")
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and size * factor >= SMALLEST_TILE
    corners = []
    for value in (10, 12, 14, 16, 18):
        rows, columns = np.nonzero((picture == value).all(axis=2))
        side = size * factor
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1, len(rows)) == (side, side, side * side)
        beside = picture[rows[0], columns[0] + side + GAP]
        assert (beside == value + 100).all()
        corners.append((rows[0], columns[0]))
    assert len({row for row, _ in corners[:4]}) == 1 and corners[4][0] > corners[0][0]
    assert corners[4][1] == corners[0][1]


def test_captions_and_title_are_drawn():
    fakes, neighbours = tiles(1)
    distances = torch.tensor([0.5])
    plain = draw_pairs(fakes, neighbours, distances, "")
    assert (plain[0] == PAPER).all()
    below = draw_pairs(fakes, neighbours, distances * 2, "")
    changed = np.nonzero((plain != below).any(axis=(1, 2)))[0]
    assert len(changed) and changed.min() > 52 + 96 - 1
    long = draw_pairs(fakes, neighbours, distances, "a title that is a good deal wider than the only pair below it")
    assert long.shape[1] > plain.shape[1] and (long[:20] != 255).any()


def test_unpaired_images_are_refused():
    fakes, neighbours = tiles(2)
    for given in ((fakes, neighbours[:1], [1.0, 2.0]), (fakes, neighbours, [1.0]), (fakes[:0], neighbours[:0], [])):
        with pytest.raises(ValueError, match="expected as many of each"):
            draw_pairs(*given, "")
