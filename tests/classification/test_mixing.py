"""Mixed images and labels against values worked out by hand; labels say what the images show."""
import pytest
import torch

from add.classification.mixing import CUTMIX_ALPHA, MIXUP_ALPHA, cutmix, draw_beta, draw_box, draw_order, mix, mixup

SWAP = torch.tensor([1, 0])
HARD = torch.eye(2)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def shown_labels(labels, size=16):
    """Return images [B, K, size, size] whose channel k is the label of class k, at every pixel."""
    return labels[:, :, None, None].expand(-1, -1, size, size).clone()


def test_mixup_by_hand():
    """A quarter of 1 and three quarters of 3 are 2.5, and the other way round 1.5."""
    images, labels = mixup(torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1), HARD, 0.25, SWAP)
    assert images.flatten().tolist() == [2.5, 1.5]
    assert labels.tolist() == [[0.25, 0.75], [0.75, 0.25]]


def test_cutmix_by_hand():
    """Two by two of 16 pixels come from the other image: 3/4 of the label stays."""
    originals = torch.stack([torch.zeros(1, 4, 4), torch.arange(1.0, 17).reshape(1, 4, 4)])
    images, labels = cutmix(originals, HARD, (1, 3, 0, 2), SWAP)
    assert images[0, 0].tolist() == [[0, 0, 0, 0], [5, 6, 0, 0], [9, 10, 0, 0], [0, 0, 0, 0]]
    assert images[1, 0].tolist() == [[1, 2, 3, 4], [0, 0, 7, 8], [0, 0, 11, 12], [13, 14, 15, 16]]
    assert labels.tolist() == [[0.75, 0.25], [0.25, 0.75]]
    assert (originals[0] == 0).all()


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_labels_say_what_is_really_left(kind):
    """Images that show their labels still do after mixing: boxes cut off at the border count as they are."""
    generator, changed = seeded(), 0
    for _ in range(50):
        given = torch.rand(6, 3, generator=generator).softmax(dim=1)
        images, labels = mix(shown_labels(given), given, kind, generator)
        torch.testing.assert_close(images.mean(dim=(2, 3)), labels, rtol=0, atol=1e-6)
        torch.testing.assert_close(labels.sum(dim=1), torch.ones(6), rtol=0, atol=1e-6)
        changed += not torch.equal(labels, given)
    assert changed > 40


def test_cutmix_takes_whole_pixels_and_mixup_none():
    images = shown_labels(torch.eye(8), size=8)
    cut, _ = mix(images, torch.eye(8), "cutmix", seeded())
    assert set(cut.unique().tolist()) == {0.0, 1.0} and not torch.equal(cut, images)
    mixed, _ = mix(images, torch.eye(8), "mixup", seeded())
    assert ((mixed > 0) & (mixed < 1)).any() and (mixed == mixed[..., :1, :1]).all()


def test_none_changes_nothing():
    images = torch.rand(2, 3, 4, 4)
    assert mix(images, HARD, "none", seeded()) == (images, HARD)


@pytest.mark.parametrize("share", [0.75, 0.9375])
def test_a_box_in_the_middle_has_the_area_that_is_not_kept(share):
    """Of 64 x 64 pixels: a side of 32 for a quarter, of 16 for a sixteenth; less where the border cuts it off."""
    side, generator, whole = round(64 * (1 - share)**0.5), seeded(), 0
    for _ in range(100):
        top, bottom, left, right = draw_box(64, 64, share, generator)
        assert 0 <= top <= bottom <= 64 and 0 <= left <= right <= 64
        inside = top > 0 and left > 0 and bottom < 64 and right < 64
        assert (bottom - top, right - left) == (side, side) if inside else (bottom - top) * (right - left) <= side**2
        whole += inside
    assert 0 < whole < 100


def test_box_centres_are_spread_over_the_whole_image():
    """A box of 1/64 is 4 x 8 of 32 x 64 pixels; the centres' mean is the middle, their spread that of uniform ones."""
    generator = seeded()
    boxes = torch.tensor([draw_box(32, 64, 63 / 64, generator) for _ in range(1000)]).double()
    rows, columns = boxes[:, :2].mean(dim=1), boxes[:, 2:].mean(dim=1)
    assert rows.mean() == pytest.approx(16, abs=1) and columns.mean() == pytest.approx(32, abs=2)
    assert rows.std() == pytest.approx(32 / 12**0.5, rel=0.1) and columns.std() == pytest.approx(64 / 12**0.5, rel=0.1)


def test_keeping_all_cuts_no_box():
    top, bottom, left, right = draw_box(16, 16, 1.0, seeded())
    assert (bottom - top) * (right - left) == 0


@pytest.mark.parametrize("alpha", [MIXUP_ALPHA, CUTMIX_ALPHA])
def test_shares_follow_the_beta_distribution(alpha):
    """Beta(a, a) has the mean 1/2 and the variance 1 / (4 (2a + 1))."""
    generator = seeded()
    shares = torch.tensor([draw_beta(alpha, generator) for _ in range(2000)], dtype=torch.float64)
    assert shares.min() >= 0 and shares.max() <= 1
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)


def test_order_is_a_permutation():
    assert sorted(draw_order(7, seeded()).tolist()) == list(range(7))


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_generator_decides_the_mixture(kind):
    images, labels = torch.rand(4, 3, 16, 16), torch.eye(4)
    first, again, other = (mix(images, labels, kind, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_unknown_mixing_is_refused():
    with pytest.raises(ValueError, match="mixing 'blur' is unknown: expected one of none, mixup, cutmix"):
        mix(torch.rand(2, 3, 4, 4), HARD, "blur", seeded())
