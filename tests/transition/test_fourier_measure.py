import math

import numpy as np
import pytest
import torch

from add.errors import UserError
from add.transition import FEATURES, measure_feature
from tests import golden

CASES = golden.load_json("add/fourier")["cases"]


def wave(height, width, vertical=0, horizontal=0):
    """Return a grey cosine [1, 3, H, W] of so many cycles down and across the image."""
    rows = torch.arange(height, dtype=torch.float64)[:, None] / height
    columns = torch.arange(width, dtype=torch.float64) / width
    grey = torch.cos(2 * math.pi * (vertical * rows + horizontal * columns))
    return grey.expand(1, 3, -1, -1)


def golden_image(name, image):
    if image["kind"] == "stored_uint8":
        pixels = golden.load_npz("add/fourier_images")[name]
        return (pixels.float() / 127.5 - 1).permute(2, 0, 1)[None]
    if image["kind"] == "wave":
        channels = torch.tensor([1, 0.5, -0.25])[:, None, None]
        return wave(*image["shape"][2:], horizontal=image["freq"]).float() * channels
    random = np.random.RandomState(image["seed"])
    shape = image["shape"]
    values = random.uniform(-1, 1, shape) if image["kind"] == "uniform" else random.standard_normal(shape)
    return torch.from_numpy(values.astype(np.float32))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_reference_agrees_with_the_published_measure(case):
    """Golden: image_fourier_trans of the ADD code, which looks at the first image of a batch only."""
    measured = measure_feature(golden_image(case["name"], case["image"]))
    assert measured[0].item() == pytest.approx(case["expected"], rel=1e-4)


def test_all_golden_cases_are_there():
    assert len(CASES) == 15


@pytest.mark.parametrize("kind", FEATURES)
def test_each_image_of_a_batch_is_measured(kind):
    x = torch.randn(4, 3, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x * torch.tensor([1.0, 2, 3, 4], dtype=torch.float64)[:, None, None, None]
    together = measure_feature(x, kind)
    alone = torch.cat([measure_feature(image[None], kind) for image in x])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)
    torch.testing.assert_close(measure_feature(x.flip(0), kind), together.flip(0), rtol=1e-12, atol=0)
    assert len(set(together.tolist())) == 4


@pytest.mark.parametrize("cycles, bins", [(0, 0), (1, 1), (2, 2), (9, 2), (10, 1), (11, 0)])
def test_reference_band_is_lopsided(cycles, bins):
    """A cosine puts H W / 2 on each of +-cycles; offsets -10..-2 and +1..+9 are averaged over 18."""
    measured = measure_feature(wave(32, 32, horizontal=cycles)).item()
    assert measured == pytest.approx(bins * 32 * 32 / 2 / 18, rel=1e-9, abs=1e-9)


def test_reference_sees_horizontal_changes_only():
    assert measure_feature(wave(32, 32, vertical=4)).item() == pytest.approx(0, abs=1e-9)


def test_reference_blanks_frequency_zero_of_wide_images_too():
    """48 x 64: the published band, centred on column 24, reaches the zero frequency in column 32; masked."""
    assert measure_feature(torch.ones(1, 3, 48, 64)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("vertical, horizontal", [(0, 5), (5, 0), (3, 4), (-3, 4), (6, 8), (0, 1)])
@pytest.mark.parametrize("shape", [(48, 48), (48, 64), (64, 40)])
def test_radial_is_the_same_in_all_directions(vertical, horizontal, shape):
    """Within 10 cycles of the centre, which isn't measured itself, lie 316 bins; a cosine fills two."""
    measured = measure_feature(wave(*shape, vertical, horizontal), "radial").item()
    assert measured == pytest.approx(shape[0] * shape[1] / 316, rel=1e-9)


@pytest.mark.parametrize("vertical, horizontal", [(0, 0), (0, 11), (8, 8)])
def test_radial_leaves_out_what_is_beyond_its_band(vertical, horizontal):
    assert measure_feature(wave(48, 48, vertical, horizontal), "radial").item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("kind, cycles", [("reference", (3, 12)), ("radial", (3, 12))])
def test_fast_changes_and_low_contrast_measure_less(kind, cycles):
    slow, fast = (wave(48, 48, horizontal=number) for number in cycles)
    measure = [measure_feature(x, kind).item() for x in (slow, 0.5 * slow + 0.5 * fast, 0.2 * slow + 0.8 * fast)]
    assert measure == pytest.approx([measure[0], 0.5 * measure[0], 0.2 * measure[0]], rel=1e-9)


def test_grey_weighs_red_green_blue():
    x = wave(32, 32, horizontal=4)
    shares = [measure_feature(x * torch.eye(3)[channel][:, None, None]).item() for channel in range(3)]
    assert np.array(shares) / sum(shares) == pytest.approx([0.299, 0.587, 0.114], rel=1e-6)


@pytest.mark.parametrize("kind", FEATURES)
def test_half_precision_is_measured_in_double(kind):
    x = (100 * wave(32, 32, 1, 3)).half()
    before = x.clone()
    measured = measure_feature(x, kind)
    assert measured.dtype is torch.float64
    torch.testing.assert_close(measured, measure_feature(x.double(), kind), rtol=0, atol=0)
    assert torch.equal(x, before)


@pytest.mark.parametrize("shape, kind, message", [
    ((1, 3, 32, 32), "high", "unknown feature 'high': expected one of reference, radial"),
    ((1, 1, 32, 32), "radial", r"expected \[B, 3, H, W\]"),
    ((3, 32, 32), "reference", r"expected \[B, 3, H, W\]"),
    ((1, 3, 200, 32), "reference", "200 x 32 pixels leave no frequency to measure"),
    ((1, 3, 1, 1), "radial", "1 x 1 pixels leave no frequency to measure"),
])
def test_what_cannot_be_measured_is_refused(shape, kind, message):
    with pytest.raises(UserError, match=message):
        measure_feature(torch.zeros(shape), kind)
