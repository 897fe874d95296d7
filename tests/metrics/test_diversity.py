"""Diversity: means over pairs by hand, and sets that are collapsed, copied or varied."""
import pytest
import torch

from add.errors import UserError
from add.metrics.diversity import ClusterDiversity, Diversity, intra_cluster_diversity, mean_ms_ssim, pairwise_diversity


def on_a_line(places, others=None):
    places = torch.tensor(places)
    others = places if others is None else torch.tensor(others)
    return (places[:, None] - others[None]).abs()


def test_pairs_by_hand():
    """Places 0, 1 of one source, 5, 8 of another: within (1 + 3) / 2, across (5 + 8 + 4 + 7) / 4, all 28 / 6."""
    found = pairwise_diversity(on_a_line([0.0, 1.0, 5.0, 8.0]), [7, 7, 2, 2])
    assert found == pytest.approx((2.0, 6.0, 28 / 6))


def test_without_groups_only_the_whole_is_known():
    assert pairwise_diversity(on_a_line([0.0, 1.0, 5.0])) == Diversity(None, None, pytest.approx(10 / 3))


def test_missing_pairs_are_none():
    distance = on_a_line([0.0, 2.0])
    assert pairwise_diversity(distance, [0, 0]) == Diversity(2.0, None, 2.0)
    assert pairwise_diversity(distance, [0, 1]) == Diversity(None, 2.0, 2.0)
    assert pairwise_diversity(distance[:1, :1], [0]) == Diversity(None, None, None)


def test_a_model_that_ignores_chance_has_no_diversity_within():
    """Three equal images per source: the set looks diverse, each source's images are not."""
    found = pairwise_diversity(on_a_line([0.0] * 3 + [4.0] * 3), [0, 0, 0, 1, 1, 1])
    assert found.within == 0 and found.across == 4 and 0 < found.overall < 4


def test_clusters_by_hand():
    """Real at 0 and 10 and 20: fakes 1, 2, 4 (mean distance 2) and 9, 14 (5), and 19 alone: (2 + 5) / 2."""
    fakes = [1.0, 2.0, 4.0, 9.0, 14.0, 19.0]
    found = intra_cluster_diversity(on_a_line(fakes, [0.0, 10.0, 20.0]), on_a_line(fakes))
    assert found == ClusterDiversity(pytest.approx(3.5), 2)


def test_copies_have_no_diversity_within_clusters():
    """Copies of four real images are as diverse as those, and their clusters not at all."""
    real = torch.arange(4.0).tolist()
    copies = real * 5
    assert pairwise_diversity(on_a_line(copies)).overall > 1
    assert intra_cluster_diversity(on_a_line(copies, real), on_a_line(copies)) == ClusterDiversity(0.0, 4)
    varied = (torch.tensor(copies) + torch.linspace(-0.4, 0.4, 20)).tolist()
    assert intra_cluster_diversity(on_a_line(varied, real), on_a_line(varied)).mean > 0.1


def test_lonely_clusters_have_no_diversity():
    assert intra_cluster_diversity(on_a_line([0.0, 5.0]), on_a_line([0.0, 5.0])) == ClusterDiversity(None, 0)


@pytest.fixture
def three_sources():
    """Return six images: two alike, though not equal, from each of three sources."""
    pytest.importorskip("torchmetrics")
    generator = torch.Generator().manual_seed(0)
    sources = torch.rand(3, 3, 16, 16, generator=generator) * 2 - 1
    return (sources.repeat_interleave(2, 0) + 0.1 * torch.randn(6, 3, 16, 16, generator=generator)).clamp(-1, 1)


def test_ms_ssim_is_high_within_and_low_across(three_sources):
    found = mean_ms_ssim(three_sources, [0, 0, 1, 1, 2, 2])
    assert found.within > 0.9 and found.across < 0.2
    assert found.overall == pytest.approx((3 * found.within + 12 * found.across) / 15)
    assert mean_ms_ssim(three_sources).overall == pytest.approx(found.overall, abs=1e-6)
    assert mean_ms_ssim(three_sources).within is None


def test_ms_ssim_of_a_collapsed_set_is_one(three_sources):
    collapsed = three_sources[:1].expand(6, -1, -1, -1)
    assert mean_ms_ssim(collapsed, [0, 0, 1, 1, 2, 2]) == pytest.approx((1, 1, 1))


def test_drawn_pairs_estimate_the_same(three_sources):
    """A drawn mean over some pairs lies near the full one, depends on the generator only and still weighs by kind."""
    def drawn(seed):
        return mean_ms_ssim(three_sources, [0, 0, 1, 1, 2, 2], 2, torch.Generator().manual_seed(seed))

    assert drawn(3) == drawn(3) and len({drawn(seed).across for seed in range(5)}) > 1
    assert drawn(3).overall == pytest.approx((3 * drawn(3).within + 12 * drawn(3).across) / 15)
    full = mean_ms_ssim(three_sources, [0, 0, 1, 1, 2, 2])
    assert sum(drawn(seed).overall for seed in range(20)) / 20 == pytest.approx(full.overall, abs=0.02)


def test_one_image_has_no_pairs(three_sources):
    assert mean_ms_ssim(three_sources[:1]) == Diversity(None, None, None)
    assert mean_ms_ssim(three_sources[:1], [0]) == Diversity(None, None, None)


def test_refusals():
    square = torch.zeros(3, 3)
    with pytest.raises(ValueError, match=r"expected \[n, n\]"):
        pairwise_diversity(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="symmetric"):
        pairwise_diversity(torch.triu(torch.ones(3, 3)))
    with pytest.raises(ValueError, match="one number for each image"):
        pairwise_diversity(square, [0, 1])
    with pytest.raises(UserError, match="NaN or infinite"):
        pairwise_diversity(square + float("nan"))
    with pytest.raises(ValueError, match=r"expected \[3, m\]"):
        intra_cluster_diversity(torch.zeros(2, 4), square)
    with pytest.raises(UserError, match="expected at least 1"):
        mean_ms_ssim(torch.zeros(3, 3, 16, 16), most_pairs=0)
