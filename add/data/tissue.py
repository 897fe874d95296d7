"""Two domains of real tissue, cut from one freely usable micrograph.

`skimage.data.immunohistochemistry()` shows a section of colon, 512 x 512 pixels, without known copyright
restrictions: the epithelium of the glands is stained brown (DAB), the stroma between them blue
(haematoxylin). Crops that hold nearly nothing but stroma and crops that hold mostly epithelium make two
domains for training and trying out. Patches for training and held-out patches come from two sides of one
vertical line, so they share no pixel.

Colour decides what a crop holds; the shares below are of its pixels, the thresholds for 8-bit RGB divided by
255.
"""
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image

from add.errors import UserError

DOMAINS = ("stroma", "gland")
BROWN_RED_OVER_BLUE = 0.06
BLUE_BLUE_OVER_RED = 0.04
BLANK_DARKEST_CHANNEL = 0.9

Corner: TypeAlias = tuple[int, int]  # (row, column) of a crop's upper left pixel in the micrograph


@dataclasses.dataclass(frozen=True)
class PatchRules:
    """How patches are cut and which are kept. Lengths in pixels of the micrograph, shares in [0, 1]."""

    crop: int = 48  # side of a crop; it is resized to image_size
    image_size: int = 64
    stride: int = 4
    train_width: float = 0.75  # share of the width, from the left, that training sees
    stroma_most_brown: float = 0.02
    stroma_least_blue: float = 0.15
    stroma_most_blank: float = 0.2
    gland_least_brown: float = 0.8
    gland_most_blank: float = 0.05


def load_micrograph() -> np.ndarray:
    """Return the stained section, uint8 [512, 512, 3]."""
    try:
        from skimage import data
    except ImportError as error:
        raise UserError("the tissue micrograph comes with scikit-image, which is not installed: "
                        "expected it to import; run `pip install scikit-image`") from error
    return data.immunohistochemistry()


def choose_patches(image: np.ndarray, num_train: int, num_test: int, num_sources: int,
                   rules: PatchRules | None = None) -> dict[str, list[Corner]]:
    """Return {"train/stroma": corners, "train/gland": corners, ...}, at most so many in each folder.

    The folders are train, test and sources; the sources are taken from the purest half of the test patches.
    """
    rules = rules or PatchRules()
    shares = stain_shares(image, rules.crop)
    chosen = {}
    for domain in DOMAINS:
        train, test = (find_crops(shares, domain, part, image.shape[1], rules) for part in ("train", "test"))
        chosen[f"train/{domain}"] = spread_out(train, num_train)
        chosen[f"test/{domain}"] = spread_out(test, num_test)
        pure = purest(chosen[f"test/{domain}"], shares, domain, max(num_sources, num_test // 2))
        chosen[f"sources/{domain}"] = spread_out(pure, num_sources)
    return chosen


def stain_masks(image: np.ndarray) -> dict[str, np.ndarray]:
    """Return {"brown", "blue", "blank"}: bool [H, W] each, from uint8 image [H, W, 3]."""
    scaled = image.astype(np.float64) / 255
    red_over_blue = scaled[..., 0] - scaled[..., 2]
    return {
        "brown": red_over_blue > BROWN_RED_OVER_BLUE,
        "blue": red_over_blue < -BLUE_BLUE_OVER_RED,
        "blank": scaled.min(axis=-1) > BLANK_DARKEST_CHANNEL,
    }


def stain_shares(image: np.ndarray, crop: int) -> dict[str, np.ndarray]:
    """Return {"brown", "blue", "blank"}: float64 [H - crop + 1, W - crop + 1].

    Entry [r, c] is the share of the pixels of image[r:r + crop, c:c + crop] that have the colour.
    """
    return {name: _window_means(mask, crop) for name, mask in stain_masks(image).items()}


def find_crops(shares: Mapping[str, np.ndarray], domain: str, part: str, width: int,
               rules: PatchRules | None = None) -> list[Corner]:
    """Return the (row, column) corners, in raster order, of all crops that are clean examples of `domain`.

    Args:
        shares: what `stain_shares` gave for the whole micrograph.
        domain: "stroma" or "gland".
        part: "train", left of the dividing line, or "test", right of it.
        width: of the micrograph, in pixels.
    """
    rules = rules or PatchRules()
    clean = _clean_mask(shares, domain, rules)
    border = int(rules.train_width * width)
    first, last = (0, border - rules.crop) if part == "train" else (border, width - rules.crop)
    rows = range(0, clean.shape[0], rules.stride)
    columns = range(first, last + 1, rules.stride)
    return [(row, column) for row in rows for column in columns if clean[row, column]]


def spread_out(corners: Sequence[Corner], most: int) -> list[Corner]:
    """Return at most `most` of the corners, in raster order, as far from each other as a greedy choice gets.

    Farthest-point sampling: every further corner is the one farthest from all those chosen (ties: the first).
    """
    if len(corners) <= most:
        return list(corners)
    points = np.asarray(corners, dtype=np.float64)  # [n, 2]
    distance = np.full(len(points), np.inf)
    chosen = [0]
    while len(chosen) < most:
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distance.argmax()))
    return [corners[i] for i in sorted(chosen)]


def crops_apart(corners: Sequence[Corner], crop: int) -> bool:
    """Return whether no two of the crops at these corners, `crop` pixels wide, share a pixel."""
    points = np.asarray(corners, dtype=np.int64).reshape(-1, 2)
    steps = np.abs(points[:, None] - points).max(axis=2)  # [n, n], the larger of rows and columns from one to the other
    return not bool((steps[np.triu_indices(len(points), k=1)] < crop).any())


def purest(corners: Sequence[Corner], shares: Mapping[str, np.ndarray], domain: str, most: int) -> list[Corner]:
    """Return the `most` corners whose crops show most of the domain's own colour, in raster order."""
    own, foreign = ("blue", "brown") if domain == "stroma" else ("brown", "blank")
    scores = np.array([shares[own][corner] - shares[foreign][corner] for corner in corners])
    return [corners[i] for i in sorted(np.argsort(-scores, kind="stable")[:most])]


def cut_patch(image: np.ndarray, corner: Corner, rules: PatchRules | None = None) -> np.ndarray:
    """Return the crop at corner (row, column), resized: uint8 [image_size, image_size, 3]."""
    rules = rules or PatchRules()
    row, column = corner
    crop = Image.fromarray(image[row:row + rules.crop, column:column + rules.crop])
    return np.asarray(crop.resize((rules.image_size, rules.image_size), Image.Resampling.BICUBIC))


def patch_name(corner: Corner) -> str:
    """Return the file name that tells where a patch was cut, in pixels of the micrograph."""
    return f"ihc_r{corner[0]:04d}_c{corner[1]:04d}.png"


def _clean_mask(shares, domain, rules):
    """Return bool [rows, columns]: does the crop at this corner show the domain and little else?"""
    brown, blue, blank = shares["brown"], shares["blue"], shares["blank"]
    if domain == "stroma":
        return ((brown <= rules.stroma_most_brown) & (blue >= rules.stroma_least_blue)
                & (blank <= rules.stroma_most_blank))
    if domain == "gland":
        return (brown >= rules.gland_least_brown) & (blank <= rules.gland_most_blank)
    raise ValueError(f"tissue domain {domain!r} is unknown: expected one of {', '.join(DOMAINS)}")


def _window_means(mask, side):
    """Return the mean of mask [H, W] over every side x side window, [H - side + 1, W - side + 1]."""
    sums = np.pad(mask.astype(np.int64), ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    windows = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return windows / side**2
