"""Copy test: how near generated images come to training images, against how near held-out images come.

How near is too near depends on the data and the features, so images that were never trained on give the measure:
a model that learned the distribution makes images as far from its training set as held-out images are.
"""
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from add.errors import UserError
from add.metrics.image_features import Array
from add.results.overview import INK, MARGIN, PAPER, paste_enlarged, tile_factor

QUANTILE = 0.05  # of the held-out distances; what is nearer counts as suspiciously near
ROWS_AT_ONCE = 256
NO_DISTANCE = 1e-4  # of the median held-out distance; nearer ones are the same image
PAIRS_PER_ROW = 4
CAPTION = 14  # pixels
GAP = 2  # pixels, within a pair


class CopyTest(NamedTuple):
    """Result of a copy test: distances to the nearest training images, and how many are suspiciously small.

    share_closer is the share of generated images nearer to a training image than `threshold`; where generated and
    held-out images are alike it is expected_share. ratio_of_medians is 1 then, and falls towards 0 with copying.
    """

    fake_distances: torch.Tensor  # float64 [n]
    held_out_distances: torch.Tensor  # float64 [h]
    nearest: torch.Tensor  # int64 [n], rows of the training set
    closest: torch.Tensor  # int64 [count], generated images, the nearest to its training image first
    threshold: float
    share_closer: float
    expected_share: float
    ratio_of_medians: float


def copy_test(fake: Array, train: Array, held_out: Array, count: int = 16) -> CopyTest:
    """Return the CopyTest of generated images against the training set, in Euclidean distance of features or pixels.

    The threshold is the 5th percentile of the held-out distances, at rank 0.05 (h + 1), so that a further image of
    the same kind lies below it in 5 % of cases however few they are; below 19 held-out images it is their smallest
    distance, which a further one undercuts with probability 1 / (h + 1).

    Args:
        fake, train, held_out: [n, D], [m, D], [h, D]; held_out must be from where train is and have no image of it.
        count: closest pairs listed.

    Raises:
        UserError: an empty set, or held-out images that are in the training set.
    """
    fake, train, held_out = (_checked(x, which) for x, which in
                             ((fake, "generated"), (train, "training"), (held_out, "held-out")))
    if not fake.shape[1] == train.shape[1] == held_out.shape[1]:
        raise ValueError(f"the sets have {fake.shape[1]}, {train.shape[1]} and {held_out.shape[1]} numbers per image: "
                         f"expected the same features")
    distances, nearest = nearest_neighbours(fake, train)
    expected, _ = nearest_neighbours(held_out, train)
    threshold = float(np.quantile(expected.numpy(), QUANTILE, method="weibull"))
    median = np.median(expected.numpy())
    if threshold <= NO_DISTANCE * median:
        same = int((expected <= NO_DISTANCE * median).sum())
        raise UserError(f"{same} of {len(held_out)} held-out images are in the training set too: expected images that "
                        f"were not trained on; leave the shared ones out")
    return CopyTest(distances, expected, nearest, distances.argsort(stable=True)[:count], threshold,
                    (distances < threshold).double().mean().item(), max(QUANTILE, 1 / (len(held_out) + 1)),
                    float(np.median(distances.numpy()) / median))


def nearest_neighbours(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the distance float64 [n] of each row of x [n, D] to the nearest row of y [m, D], and its index [n]."""
    x, y = x.double(), y.double()
    nearest = torch.cat([torch.cdist(part, y).argmin(dim=1) for part in x.split(ROWS_AT_ONCE)])
    distances = torch.cat([(part - y[here]).norm(dim=1) for part, here in  # exact, and 0 for a copy, unlike cdist's
                           zip(x.split(ROWS_AT_ONCE), nearest.split(ROWS_AT_ONCE), strict=True)])
    return distances, nearest


def draw_pairs(fakes: np.ndarray, neighbours: np.ndarray, distances: Array, title: str) -> np.ndarray:
    """Return a picture of generated images beside their nearest training images, uint8 [height, width, 3].

    Args:
        fakes, neighbours: uint8 [k, H, W, 3], pair by pair; small ones are enlarged by a whole factor.
        distances: [k], written below the pairs.
        title: one line above the picture.
    """
    if len(fakes) == 0 or fakes.shape != neighbours.shape or len(distances) != len(fakes):
        raise ValueError(f"{tuple(fakes.shape)} generated and {tuple(neighbours.shape)} training images with "
                         f"{len(distances)} distances were to be drawn: expected as many of each, one at least")
    height, width = fakes.shape[1:3]
    factor = tile_factor(height, width)
    tile = (width * factor, height * factor)
    small, large = ImageFont.load_default(11), ImageFont.load_default(14)
    head = 2 * MARGIN + 40
    step_x, step_y = 2 * tile[0] + GAP + 3 * MARGIN, tile[1] + CAPTION + MARGIN
    columns, rows = min(PAIRS_PER_ROW, len(fakes)), -(-len(fakes) // PAIRS_PER_ROW)
    full_width = max(columns * step_x, round(large.getlength(title)) + MARGIN) + MARGIN
    canvas = Image.new("RGB", (full_width, head + rows * step_y + MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN), title, fill=INK, font=large)
    for column in range(columns):
        for side, text in enumerate(("generated", "nearest training")):
            draw.text((MARGIN + column * step_x + side * (tile[0] + GAP), head - 18), text, fill=INK, font=small)
    for i, pair in enumerate(zip(fakes, neighbours, strict=True)):
        x, y = MARGIN + i % PAIRS_PER_ROW * step_x, head + i // PAIRS_PER_ROW * step_y
        for side, pixels in enumerate(pair):
            paste_enlarged(canvas, pixels, factor, x + side * (tile[0] + GAP), y)
        draw.text((x, y + tile[1]), f"distance {float(distances[i]):.3g}", fill=INK, font=small)
    return np.asarray(canvas)


def _checked(x: Array, which: str) -> torch.Tensor:
    x = torch.as_tensor(x).detach().cpu()
    if x.ndim != 2:
        raise ValueError(f"the {which} set has shape {tuple(x.shape)}: expected features or pixels [n, D]")
    if len(x) == 0:
        raise UserError(f"the {which} set is empty: a copy test needs generated, training and held-out images")
    if not torch.isfinite(x).all():
        raise UserError(f"the {which} set has NaN or infinite values: look at its images")
    return x
