"""Comparison of a set of generated images with a set of real ones: distances, variety, copies and colour.

Most of these metrics depend on the number of images. So each stands beside its value for real images: the real set is
cut at random into two parts of `count` images, and one part takes the place of the generated images. For generated
images it is taken on `count` of them, too.
"""
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from add.data.groups import hold_out
from add.data.transforms import orient, orientations_of
from add.metrics.copies import copy_test
from add.metrics.diversity import intra_cluster_diversity, mean_ms_ssim, pairwise_diversity, vendi_score
from add.metrics.fid import fid, real_against_real
from add.metrics.kid import kid, squared_mmd
from add.metrics.metric_report import Report
from add.metrics.neighbours import prdc
from add.metrics.perceptual import PerceptualDistance, between
from add.metrics.stain import lab_moments, lab_shift

NEIGHBOURS = 5
REPEATS = 5  # random parts that a value at `count` images is averaged over
FEWEST_IMAGES = 10  # in each set; fewer tell nothing about what they were drawn from
COPY_PIXELS = 64  # side that images are shrunk to before their pixels are compared
PRDC_NAMES = ("precision", "recall", "density", "coverage")
STAIN_NAMES = ("stain_delta_e", "stain_l", "stain_a", "stain_b")
SET_METRICS = ("kid", "fid", *PRDC_NAMES, "vendi", "diversity", "intra_cluster_diversity", "ms_ssim", *STAIN_NAMES)
COPY_NAMES = ("copies_features", "copies_features_ratio", "copies_pixels", "copies_pixels_ratio")


class Measured(NamedTuple):
    """A set of images and their features: float32 [n, 3, S, S] in [-1, 1], features [n, D], the files' paths."""

    images: torch.Tensor
    features: torch.Tensor
    paths: list[str]

    def __len__(self) -> int:
        return len(self.paths)


class Parts(NamedTuple):
    """Rows [count] of two disjoint parts of the real set and of a part of the generated one."""

    half: torch.Tensor
    other_half: torch.Tensor
    fake: torch.Tensor


def set_metrics(report: Report, real: Measured, fake: Measured, perceptual: PerceptualDistance,
                generator: torch.Generator) -> None:
    """Enter every metric of two sets in the report.

    Args:
        generator: on the CPU; draws parts and pairs.
    """
    if too_few := few_images(real=len(real), generated=len(fake)):
        report.leave_out(SET_METRICS, too_few)
        return
    count = min(len(fake), len(real) // 2)
    parts = draw_parts(len(real), len(fake), count, generator) if count >= 2 else []
    if not parts:
        report.notes.append(f"no value of real images against real ones: {len(real)} real and {len(fake)} generated "
                            f"images were given, expected at least 4 and 2")
    _enter_distances(report, real.features, fake.features, parts, count, generator)
    _enter_neighbours(report, real.features, fake.features, parts, count)
    _enter_variety(report, real, fake, perceptual, parts, count, generator)
    _enter_stain(report, real.images, fake.images, parts, count)


def few_images(**counts: int) -> str:
    """Return a sentence where a set has too few images to say anything about its kind, or "".

    Args:
        counts: {name of a set: its number of images}.
    """
    few = [f"{count} {name.replace('_', '-')}" for name, count in counts.items() if count < FEWEST_IMAGES]
    return (f"{' and '.join(few)} images are too few to tell anything about images of their kind: expected "
            f"{FEWEST_IMAGES} or more of each, better 100" if few else "")


def draw_parts(num_real: int, num_fake: int, count: int, generator: torch.Generator) -> list[Parts]:
    """Return REPEATS random `Parts` of `count` images."""
    orders = [(torch.randperm(num_real, generator=generator), torch.randperm(num_fake, generator=generator))
              for _ in range(REPEATS)]
    return [Parts(real[:count], real[count:2 * count], fake[:count]) for real, fake in orders]


def copy_metrics(report: Report, fake: Measured, train: Measured, held_out: Measured | None,
                 generator: torch.Generator, groups: Sequence[str] | None = None) -> None:
    """Enter the share of copies, in features and in pixels, in the report.

    Args:
        held_out: images that were never seen, or None: then one random half of `train` is compared with, and the other
            half stands for them. Half of the copies cannot be found so.
        groups: of the training images, such as slides, which the halves don't divide; or None.
    """
    halves = {"held_out": len(held_out)} if held_out is not None else {"unseen": len(train) // 2}
    if too_few := few_images(generated=len(fake), training=len(train), **halves):
        report.leave_out(COPY_NAMES, too_few)
        return
    rows = torch.arange(len(train))
    if held_out is None:
        order = torch.randperm(len(train), generator=generator)
        rows, unseen = order[:len(train) // 2], order[len(train) // 2:]
        if groups is not None:
            held = hold_out(np.zeros(len(train)), 0.5, order.numpy(), groups)
            unseen = torch.from_numpy(held)
            rows = torch.from_numpy(np.setdiff1d(np.arange(len(train)), held))
        report.notes.append(f"copies: without --held_out_dir, generated images are compared with {len(rows)} of the "
                            f"training images, and the other {len(unseen)} tell how near an unseen image comes; only "
                            f"copies of the former can be found")
        held_out = Measured(train.images[unseen], train.features[unseen], [train.paths[i] for i in unseen.tolist()])
    views = {"copies_features": lambda: (fake.features, train.features[rows], held_out.features),
             "copies_pixels": lambda: (shrunk_pixels(fake.images), turned_pixels(train.images[rows]),
                                       shrunk_pixels(held_out.images))}
    for name, view in views.items():
        with report.measuring(name, f"{name}_ratio"):
            test = copy_test(*view())
            report.enter(name, test.share_closer, real=test.expected_share, threshold=test.threshold,
                         num_train=len(rows), num_held_out=len(held_out),
                         closest=[fake.paths[i] for i in test.closest.tolist()])
            report.enter(f"{name}_ratio", test.ratio_of_medians, real=1.0)


def shrunk_pixels(images: torch.Tensor) -> torch.Tensor:
    """Return pixels [n, D] of images [n, 3, H, W], averaged down to COPY_PIXELS a side where they are larger."""
    height, width = (min(side, COPY_PIXELS) for side in images.shape[2:])
    return F.adaptive_avg_pool2d(images, (height, width)).flatten(1)


def turned_pixels(images: torch.Tensor) -> torch.Tensor:
    """Return the pixels [8 n, D] of square images in every orientation: training turns them, and copies may be turned.

    Others have the four of flips alone.
    """
    kinds = "dihedral" if images.shape[-1] == images.shape[-2] else "flips"
    return torch.cat([shrunk_pixels(orient(images, [turn] * len(images))) for turn in orientations_of(kinds)])


def _enter_distances(report, real, fake, parts, count, generator):
    with report.measuring("kid"):
        found = kid(real, fake, generator=generator)
        floor = _floor(real, count, generator, squared_mmd)
        at_count = _mean(squared_mmd(real[part.half], fake[part.fake]) for part in parts)
        report.enter("kid", found.mean, floor["mean"], at_count, _count(parts, count), spread=found.spread,
                     subset_size=found.subset_size, real_spread=floor["spread"])
    with report.measuring("fid"):
        value = fid(real, fake)
        floor = _floor(real, count, generator, fid)
        at_count = _mean(fid(real[part.half], fake[part.fake]) for part in parts)
        report.enter("fid", value, floor["mean"], at_count, _count(parts, count), real_spread=floor["spread"])


def _enter_neighbours(report, real, fake, parts, count):
    k = min(NEIGHBOURS, (count if parts else min(len(real), len(fake))) - 1)
    if 1 <= k < NEIGHBOURS:
        report.notes.append(f"precision, recall, density and coverage: so few images allow balls that reach to "
                            f"neighbour k = {k}, not {NEIGHBOURS}")
    with report.measuring(*PRDC_NAMES):
        found = prdc(real, fake, k)
        at_count = [prdc(real[part.half], fake[part.fake], k) for part in parts]
        floor = [prdc(real[part.half], real[part.other_half], k) for part in parts]
        for place, name in enumerate(PRDC_NAMES):
            report.enter(name, found[place], _mean(row[place] for row in floor), _mean(row[place] for row in at_count),
                         _count(parts, count), k=k)


def _enter_variety(report, real, fake, perceptual, parts, count, generator):
    with report.measuring("vendi"):
        same = min(len(real), len(fake))
        orders = [[torch.randperm(len(each), generator=generator)[:same] for each in (real, fake)]
                  for _ in range(REPEATS)]
        report.enter("vendi", vendi_score(fake.features), _mean(vendi_score(real.features[a]) for a, _ in orders),
                     _mean(vendi_score(fake.features[b]) for _, b in orders), same)
    with report.measuring("diversity", "intra_cluster_diversity"):
        rows = [perceptual.embed(each.images) for each in (real, fake)]
        real_to_real, fake_to_real, fake_to_fake = (between(rows[a], rows[b]) for a, b in ((0, 0), (1, 0), (1, 1)))
        report.enter("diversity", pairwise_diversity(fake_to_fake).overall, pairwise_diversity(real_to_real).overall)
        found = intra_cluster_diversity(fake_to_real, fake_to_fake)
        at_count = [intra_cluster_diversity(fake_to_real[part.fake][:, part.half],
                                            fake_to_fake[part.fake][:, part.fake]).mean for part in parts]
        floor = [intra_cluster_diversity(real_to_real[part.other_half][:, part.half],
                                         real_to_real[part.other_half][:, part.other_half]).mean for part in parts]
        report.enter("intra_cluster_diversity", found.mean, _mean(floor), _mean(at_count), _count(parts, count),
                     num_clusters=found.num_clusters)
    with report.measuring("ms_ssim"):
        report.enter("ms_ssim", mean_ms_ssim(fake.images, generator=generator).overall,
                     mean_ms_ssim(real.images, generator=generator).overall)


def _enter_stain(report, real, fake, parts, count):
    with report.measuring(*STAIN_NAMES):
        found = lab_shift(real, fake)
        colours = [torch.from_numpy(np.stack([lab_moments(image[None])[0] for image in images]))
                   for images in ((real, fake) if parts else ())]  # per image: the parts' means follow from them
        floor = _mean((colours[0][part.half].mean(0) - colours[0][part.other_half].mean(0)).norm() for part in parts)
        at_count = _mean((colours[0][part.half].mean(0) - colours[1][part.fake].mean(0)).norm() for part in parts)
        report.enter("stain_delta_e", found.delta_e, floor, at_count, _count(parts, count))
        for channel, name in enumerate(STAIN_NAMES[1:]):
            report.enter(name, found.mean_shift[channel], spread_shift=found.spread_shift[channel],
                         real_mean=found.real_mean[channel], real_spread=found.real_spread[channel])


def _floor(real, count, generator, metric):
    """Return {"mean", "spread"} of a metric of real images against real ones, None where they are too few."""
    if 2 <= count <= len(real) // 2:
        return real_against_real(real, count, generator, metric, REPEATS)._asdict()
    return {"mean": None, "spread": None}


def _count(parts, count):
    return count if parts else None


def _mean(values):
    """Return the mean of numbers, those that could not be had left out; None of none."""
    values = [float(value) for value in values if value is not None]
    return sum(values) / len(values) if values else None
