"""Severity meter for phantom images: a regression on what a pathologist grades in their segmented nuclei.

Colours are unmixed into haematoxylin and eosin by Beer and Lambert's law (Ruifrok and Johnston, Anal. Quant. Cytol.
Histol. 23, 2001), dense haematoxylin is nucleus, touching nuclei are parted by a watershed on the distance to their
outline. Per image there remain a few dozen numbers: size, count and variation of the nuclei, their outlines, darkness,
texture and nucleoli, crowding, and the ratio of nucleus to cytoplasm. Severity is a ridge regression on these and
their squares, learnt from fresh phantoms whose severity is known.

Generated images are a little smoother or noisier than real ones without being more or less severe. So images are
smoothed first, every training image appears again blurred and noised, and the regression is penalised for a change
between the two: with X and X' the design matrices of plain and degraded images, w minimises
|X w - y|^2 + |X' w - y|^2 + STEADINESS |X' w - X w|^2 + RIDGE |w|^2.
"""
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from add.data import phantom
from add.errors import UserError
from add.extras import install_command

SEED = 982451653  # no data set has it
RIDGE, STEADINESS = 3.0, 4.0
SMOOTHING = 0.014  # standard deviation of the filter before measuring, in units of the image side
MOST_BLUR, MOST_NOISE = 0.022, 3.0  # standard deviations in units of the side and grey levels, when degraded
FEWEST_IMAGES = 20

_NUCLEUS, _CYTOPLASM = 0.55, 0.15  # densities of haematoxylin and of eosin that mark them; haematoxylin is 1 to 1.75
_LEVELS = (0.3, 0.55, 0.8, 1.1, 1.5, 2.0)  # of haematoxylin, up to what only nucleoli and clumped chromatin reach
_QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.98)
_SMALLEST_NUCLEUS = 0.004  # of the area of the image; crumbs are not counted
_FARTHEST = 4.0  # standard deviations; beyond, a measurement counts as this far out, and squares do not run away
_BATCH = 64


class MeterError(NamedTuple):
    """Error of the meter: root mean square, mean (positive: overrated), and correlation with the truth."""

    rmse: float
    bias: float
    correlation: float


class SeverityMeter:
    """Function from phantom images of one size to their severities; made by `fit`.

    Args:
        size: side of the images in pixels.
        images, severities: uint8 [n, size, size, 3] and float [n], what is learnt from.
        seed: decides how images are degraded.
    """

    def __init__(self, size: int, images: np.ndarray, severities: np.ndarray, seed: int = 0) -> None:
        if len(images) != len(severities) or len(images) < FEWEST_IMAGES:
            raise UserError(f"{len(images)} images with {len(severities)} severities were given: expected as many of "
                            f"both, and {FEWEST_IMAGES} or more; raise the count")
        self.size = size
        y = np.asarray(severities, dtype=np.float64)
        plain = self._measured(images)
        degraded = self._measured(_degrade(images, np.random.default_rng([SEED, seed, 2])))
        both = np.concatenate([plain, degraded])
        self._mean, self._scale = both.mean(axis=0), both.std(axis=0) + 1e-9
        plain, degraded = self._design(plain), self._design(degraded)
        self._centre, self._level = (plain + degraded).mean(axis=0) / 2, y.mean()
        rows = np.concatenate([plain - self._centre, degraded - self._centre, STEADINESS**0.5 * (degraded - plain)])
        wanted = np.concatenate([y - self._level, y - self._level, np.zeros(len(y))])
        self._weight = np.linalg.solve(rows.T @ rows + RIDGE * np.eye(rows.shape[1]), rows.T @ wanted)

    @classmethod
    def fit(cls, size: int, seed: int = 0, count: int = 600) -> "SeverityMeter":
        """Return a meter learnt from `count` fresh phantoms with severities drawn evenly from [0, 1].

        Raises:
            UserError: fewer than 20 phantoms, a size too small for cells, or no scikit-image.
        """
        if size < phantom.MIN_SIZE:
            raise UserError(f"size {size} is too small for cells: expected {phantom.MIN_SIZE} pixels or more")
        return cls(size, *fresh_phantoms(size, count, np.random.default_rng([SEED, seed])), seed=seed)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return severities float64 [n] of uint8 images [n, size, size, 3]; not clipped to [0, 1].

        Raises:
            UserError: images of another size or type.
        """
        return (self._design(self._measured(images)) - self._centre) @ self._weight + self._level

    def error_on_fresh(self, count: int = 300, seed: int = 1) -> MeterError:
        """Return the MeterError on `count` phantoms of all severities; no seed of `fit` draws the same ones."""
        if count < 2:
            raise UserError(f"the error on {count} phantoms was asked for: expected 2 or more; raise the count")
        images, truth = fresh_phantoms(self.size, count, np.random.default_rng([SEED, seed, 1]))
        error = self(images) - truth
        return MeterError(float(np.sqrt((error**2).mean())), float(error.mean()),
                          float(np.corrcoef(error + truth, truth)[0, 1]))

    def _measured(self, images):
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[1:] != (self.size, self.size, 3) or images.dtype != np.uint8:
            raise UserError(f"images of shape {images.shape} and type {images.dtype} were given: expected uint8 "
                            f"[n, {self.size}, {self.size}, 3]; fit a meter for the size of the images")
        if len(images) == 0:
            return np.zeros((0, len(self._mean)))
        parts = [measure(images[first:first + _BATCH]) for first in range(0, len(images), _BATCH)]
        return np.concatenate([np.stack(list(part.values()), axis=1) for part in parts])

    def _design(self, measured):
        z = ((measured - self._mean) / self._scale).clip(-_FARTHEST, _FARTHEST)
        return np.concatenate([z, z**2], axis=1)


def relative_severity(severity: ArrayLike, source_mean: float, target_mean: float) -> Any:
    """Return where `severity` lies between the means of two domains: 0 source, 1 target, clipped to [0, 1].

    The truth that a soft label is held against: float64, a number for a number and an array for an array.
    """
    if source_mean == target_mean:
        raise UserError(f"source and target both have mean severity {source_mean:g}: expected different ones; "
                        f"choose two bands that differ")
    return np.clip((np.asarray(severity, dtype=np.float64) - source_mean) / (target_mean - source_mean), 0, 1)


def fresh_phantoms(size: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return (images uint8 [count, size, size, 3], severities float64 [count] drawn evenly from [0, 1])."""
    severities = phantom.domain_severities((0.0, 1.0), count, rng)
    images = [phantom.render(float(severity), size, chance)
              for severity, chance in zip(severities, rng.spawn(count), strict=True)]
    return np.array(images, dtype=np.uint8).reshape(count, size, size, 3), severities


def unmix(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the densities (haematoxylin, eosin), float [n, H, W] each, of uint8 images [n, H, W, 3], smoothed.

    Density is -log(light / ground) = haematoxylin HAEMATOXYLIN + eosin EOSIN, solved by least squares. The ground is
    the 95 % quantile of each channel of each image.
    """
    ndimage = _packages()[0]
    sigma = SMOOTHING * images.shape[1]
    light = ndimage.gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0), mode="nearest")
    ground = np.quantile(light, 0.95, axis=(1, 2), keepdims=True).astype(np.float32)
    density = -np.log(np.maximum(light, 2) / np.maximum(ground, 2))
    stains = density @ np.linalg.pinv(np.stack([phantom.HAEMATOXYLIN, phantom.EOSIN], axis=1)).T
    return stains[..., 0], stains[..., 1]


def part_nuclei(haematoxylin: np.ndarray) -> np.ndarray:
    """Return each pixel's nucleus in haematoxylin [n, H, W]: its number, which no other image has, or 0 outside."""
    ndimage, peak_local_max, label, watershed = _packages()
    n, height, width = haematoxylin.shape
    # One tall picture of all images, with a border of ground around each, is cut in one go.
    nuclear = np.pad(haematoxylin > _NUCLEUS, ((0, 0), (1, 1), (1, 1))).reshape(-1, width + 2)
    blobs = label(nuclear, connectivity=1)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(nuclear), 0.5)
    peaks = peak_local_max(depth, min_distance=max(1, round(0.07 * height)), labels=blobs, exclude_border=False)
    seeds = np.zeros_like(blobs)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    parted = watershed(-depth, seeds, mask=nuclear)
    return parted.reshape(n, height + 2, width + 2)[:, 1:-1, 1:-1]


def measure(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return {name: float [n]}, the measurements of uint8 images [n, H, W, 3]; finite even without any nucleus."""
    haematoxylin, eosin = unmix(images)
    return {**_measure_pixels(haematoxylin, eosin), **_measure_nuclei(part_nuclei(haematoxylin), haematoxylin)}


def _measure_pixels(h, e):
    ndimage = _packages()[0]
    side = h.shape[1]
    over_image = (1, 2)
    steepness = _slope(h)
    nuclear = h > _NUCLEUS
    cytoplasm = (e > _CYTOPLASM) & ~nuclear
    found = {"haematoxylin": h.mean(over_image), "eosin": e.mean(over_image), "steepness": steepness.mean(over_image),
             "dark mass": np.sqrt((np.maximum(h - _NUCLEUS, 0) ** 2).mean(over_image)),
             "cytoplasm share": cytoplasm.mean(over_image), "cytoplasm eosin": _mean_where(cytoplasm, e),
             "cytoplasm haematoxylin": _mean_where(cytoplasm, h)}
    for level in _LEVELS:  # a soft step, so that no pixel tips over
        above = (0.5 + (h - level) / 0.2).clip(0, 1)
        found[f"share above {level}"] = above.mean(over_image)
        if level == _NUCLEUS:
            found["outline"] = _slope(above).mean(over_image)  # length of all outlines, in sides
            found["nucleus to cytoplasm"] = above.mean(over_image) / (above + cytoplasm + 0.02).mean(over_image)
    inside = [h[i][nuclear[i]] if nuclear[i].any() else np.zeros(1) for i in range(len(h))]
    quantiles = np.array([np.quantile(values, _QUANTILES) for values in inside])
    found |= {f"quantile {q}": quantiles[:, k] for k, q in enumerate(_QUANTILES)}
    found["contrast"] = quantiles[:, 3] / np.maximum(quantiles[:, 1], 0.1)
    core = ndimage.minimum_filter(nuclear, (1, 3, 3))  # off the edges, which blur reaches first
    mean = _mean_where(core, h)
    found |= {"core darkness": mean, "core steepness": _mean_where(core, steepness),
              "core texture": np.sqrt(_mean_where(core, (h - mean[:, None, None]) ** 2))}
    for width in (0.04, 0.07):
        grains = h - ndimage.gaussian_filter(h, (0, width * side, width * side))
        found[f"grains {width}"] = np.sqrt(_mean_where(nuclear, grains**2))
    return found


def _measure_nuclei(labels, h):
    """Return {name: [n]}, statistics over the nuclei of each image, 0 where there is none."""
    n, pixels = len(h), h[0].size
    image, y, x = np.nonzero(labels)
    nucleus, density = labels[image, y, x], h[image, y, x].astype(np.float64)
    count = labels.max() + 1
    area = np.bincount(nucleus, minlength=count)

    def mean_inside(values):
        return np.bincount(nucleus, values, minlength=count) / np.maximum(area, 1)

    mean_x, mean_y, darkness = mean_inside(x), mean_inside(y), mean_inside(density)
    dx, dy = x - mean_x[nucleus], y - mean_y[nucleus]
    texture = np.sqrt(mean_inside((density - darkness[nucleus]) ** 2))
    # The ellipse with these second moments has as much area as a smooth nucleus, and more than a jagged one.
    moments = (mean_inside(dx * dx) + 1 / 12) * (mean_inside(dy * dy) + 1 / 12) - mean_inside(dx * dy) ** 2
    irregularity = 4 * np.pi * np.sqrt(np.maximum(moments, 0)) / np.maximum(area, 1)

    owner = np.zeros(count, dtype=int)
    owner[nucleus] = image
    counted = (area >= _SMALLEST_NUCLEUS * pixels) & (np.arange(count) > 0)
    share, weight = area / pixels, np.where(counted, area, 0)

    def mean_and_spread(values, weight):
        total = np.maximum(np.bincount(owner, weight, minlength=n), 1e-9)
        mean = np.bincount(owner, weight * values, minlength=n) / total
        return mean, np.sqrt(np.bincount(owner, weight * (values - mean[owner]) ** 2, minlength=n) / total)

    found: dict[str, np.ndarray] = {"count": np.bincount(owner, counted, minlength=n)}
    found["area"], found["area spread"] = mean_and_spread(share, counted)
    found["relative area spread"] = mean_and_spread(np.log(np.maximum(share, 1e-6)), counted)[1]
    found["irregularity"] = mean_and_spread(irregularity, weight)[0]
    found["darkness"], found["darkness spread"] = mean_and_spread(darkness, weight)
    found["texture"] = mean_and_spread(texture, weight)[0]
    found["relative texture"] = found["texture"] / np.maximum(found["darkness"], 0.1)
    return found


def _slope(field):
    """Return the gradient's length, change per image side, of field [n, H, W]."""
    return np.hypot(*np.gradient(field, axis=(1, 2))) * field.shape[1]


def _mean_where(chosen, values):
    """Return the mean of values [n, H, W] where chosen, per image, 0 where nothing is."""
    return (values * chosen).sum(axis=(1, 2)) / np.maximum(chosen.sum(axis=(1, 2)), 1)


def _degrade(images, rng):
    """Return images blurred and noised, each by an amount of its own."""
    ndimage = _packages()[0]
    degraded = np.empty_like(images)
    for i, image in enumerate(images):
        blur = rng.uniform(0, MOST_BLUR) * len(image)
        light = ndimage.gaussian_filter(image.astype(np.float32), (blur, blur, 0), mode="nearest")
        light += rng.uniform(0, MOST_NOISE) * rng.standard_normal(light.shape, dtype=np.float32)
        degraded[i] = (light + 0.5).clip(0, 255)
    return degraded


def _packages():
    try:
        from scipy import ndimage  # comes with scikit-image
        from skimage.feature import peak_local_max
        from skimage.measure import label
        from skimage.segmentation import watershed
    except ImportError as error:
        raise UserError(f"measuring severity needs the package {error.name}, expected it to import: run "
                        f"`{install_command('eval', 'scikit-image', 'scipy')}`") from error
    return ndimage, peak_local_max, label, watershed
