"""Diversity of one set of images: mean distances or similarities of its pairs, and its Vendi score.

With progressive translation several images come from one source image. Pairs within such a group tell whether the
images of a source vary; pairs across groups tell whether the set does.

The Vendi score is the effective number of different images in a set: n alike give 1, n that share nothing give n. As
features of one network all point in about the same direction, values are far below n; compare with those of as many
real images.
"""
from collections.abc import Sequence
from typing import NamedTuple

import torch

from add.errors import UserError
from add.metrics.image_features import Array, checked_features
from add.metrics.ssim import ms_ssim

PAIRS_AT_ONCE = 64


class Diversity(NamedTuple):
    """Means over the pairs of different images within groups, across groups, and overall; None: no such pair."""

    within: float | None
    across: float | None
    overall: float | None


class ClusterDiversity(NamedTuple):
    """Mean distance within clusters (None: no cluster has two members), and the number of clusters it is taken over.

    A diversity over one or two clusters out of many says that the images crowd around a few real ones.
    """

    mean: float | None
    num_clusters: int


def pairwise_diversity(distance: Array, groups: Array | Sequence[int] | None = None) -> Diversity:
    """Return the Diversity of distances [n, n], symmetric; each pair counts once, an image with itself never.

    Args:
        groups: ints [n], the source image that each image was made from; left out, there is no within and across.
    """
    distance = _checked_square(distance)
    first, second = _pairs(len(distance))
    values = distance[first, second]
    if groups is None:
        return Diversity(None, None, _mean(values))
    same = _same_group(groups, len(distance), first, second)
    return Diversity(_mean(values[same]), _mean(values[~same]), _mean(values))


def mean_ms_ssim(images: torch.Tensor, groups: Array | Sequence[int] | None = None, most_pairs: int = 500,
                 generator: torch.Generator | None = None) -> Diversity:
    """Return the mean MS-SSIM of pairs of images as a Diversity; the higher, the less diverse.

    Odena et al. 2017 (arXiv:1610.09585) do so for images of one class. For MS-SSIM at small sizes see
    `add.metrics.ssim`.

    Args:
        images: [n, 3, H, W] in [-1, 1].
        groups: as in `pairwise_diversity`.
        most_pairs: drawn, without repetition, of the pairs within groups and as many of those across; where there
            are no more, all are taken. `overall` weighs the two means by how many pairs of each there are.
        generator: on the CPU; draws them.
    """
    if most_pairs < 1:
        raise UserError(f"a mean over {most_pairs} pairs was asked for: expected at least 1")
    pairs = _pairs(len(images))
    if groups is None:
        return Diversity(None, None, _mean(_drawn_ms_ssim(images, pairs, most_pairs, generator)))
    same = _same_group(groups, len(images), *pairs)
    within, across = (_mean(_drawn_ms_ssim(images, pairs[:, kind], most_pairs, generator)) for kind in (same, ~same))
    counts = [int(kind.sum()) for kind in (same, ~same)]
    total = sum(mean * count for mean, count in zip((within, across), counts, strict=True) if count)
    return Diversity(within, across, total / sum(counts) if sum(counts) else None)


def intra_cluster_diversity(fake_to_real: Array, fake_to_fake: Array) -> ClusterDiversity:
    """Return the ClusterDiversity of generated images, each in the cluster of its nearest real one.

    Ojha et al. 2021 (arXiv:2104.06820), who take LPIPS as the distance: the mean distance over a cluster's pairs,
    averaged over the clusters with two members or more. A model that copies its training images has clusters of equal
    images, 0, though its set looks diverse.

    Args:
        fake_to_real: distances [n, m]. fake_to_fake: distances [n, n], symmetric.
    """
    fake_to_fake = _checked_square(fake_to_fake)
    fake_to_real = torch.as_tensor(fake_to_real)
    if fake_to_real.ndim != 2 or len(fake_to_real) != len(fake_to_fake) or fake_to_real.shape[1] == 0:
        raise ValueError(f"distances to real images have shape {tuple(fake_to_real.shape)}: expected "
                         f"[{len(fake_to_fake)}, m], m at least 1")
    cluster_of = fake_to_real.argmin(dim=1)
    members = [(cluster_of == cluster).nonzero()[:, 0] for cluster in cluster_of.unique()]
    means = [mean for here in members
             if (mean := pairwise_diversity(fake_to_fake[here][:, here]).overall) is not None]  # None: one member alone
    return ClusterDiversity(sum(means) / len(means) if means else None, len(means))


def vendi_score(features: Array) -> float:
    """Return the Vendi score, the effective number of different images, from 1 to n.

    Friedman and Dieng 2023 (arXiv:2210.02410), Eq. 1: the exponential of the Shannon entropy of the eigenvalues of
    K / n. K [n, n] holds the cosine similarities of the features [n, D]. Its eigenvalues over n are the squared
    singular values of the rows, scaled to length 1, over sqrt(n); they sum to 1.

    Raises:
        UserError: no images, or an image whose features are all 0 and so have no direction.
    """
    features = checked_features(features, "given", fewest=1)
    lengths = features.norm(dim=1, keepdim=True)
    if (lengths == 0).any():
        raise UserError(f"{int((lengths == 0).sum())} of {len(features)} images have features that are all 0: expected "
                        f"a direction for each; look at the images")
    eigenvalues = torch.linalg.svdvals(features / lengths).square() / len(features)
    return torch.special.entr(eigenvalues).sum().exp().item()


def _drawn_ms_ssim(images, pairs, most_pairs, generator):
    if pairs.shape[1] > most_pairs:
        pairs = pairs[:, torch.randperm(pairs.shape[1], generator=generator)[:most_pairs]]
    parts = [ms_ssim(images[part[0]], images[part[1]]) for part in pairs.split(PAIRS_AT_ONCE, dim=1)]
    return torch.cat(parts)


def _pairs(count):
    """Return the pairs of different images, int64 [2, count * (count - 1) / 2]."""
    return torch.triu_indices(count, count, offset=1)


def _same_group(groups, count, first, second):
    groups = torch.as_tensor(groups)
    if groups.shape != (count,):
        raise ValueError(f"groups have shape {tuple(groups.shape)}: expected [{count}], one number for each image")
    return groups[first] == groups[second]


def _mean(values):
    return values.double().mean().item() if len(values) else None


def _checked_square(distance):
    distance = torch.as_tensor(distance, dtype=torch.float64).detach().cpu()
    if distance.ndim != 2 or distance.shape[0] != distance.shape[1]:
        raise ValueError(f"distances have shape {tuple(distance.shape)}: expected [n, n], of one set to itself")
    if not torch.isfinite(distance).all():
        raise UserError("some distances are NaN or infinite: look at the images they were taken of")
    if not torch.allclose(distance, distance.T, rtol=1e-4, atol=1e-6):
        raise ValueError("distances differ between d(x, y) and d(y, x): expected a symmetric matrix")
    return distance
