"""SSIM, MS-SSIM and edge agreement: closed forms for flat images, and what each is blind to."""
import sys
from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F

from add.errors import UserError
from add.metrics.ssim import EXPONENTS, edge_agreement, ms_ssim, scale_exponents, ssim

needs_torchmetrics = pytest.mark.skipif(find_spec("torchmetrics") is None, reason="torchmetrics is not installed")


def drawn(count, size, seed=0):
    """Return smooth random images."""
    coarse = torch.rand(count, 3, size // 4, size // 4, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(size, size), mode="bilinear") * 2 - 1


def flat(value, size=16):
    return torch.full((1, 3, size, size), value)


@needs_torchmetrics
@pytest.mark.parametrize("measure", [ssim, ms_ssim])
@pytest.mark.parametrize("size", [16, 32])
def test_equal_images_are_one_and_blurred_ones_less(measure, size):
    x = drawn(3, size)
    torch.testing.assert_close(measure(x, x), torch.ones(3))
    near, far = (measure(x, F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)) for side in (3, 7))
    assert (near < 1).all() and (far < near).all()


@needs_torchmetrics
def test_flat_images_by_hand():
    """Grey 0.25 against 0.75: no structure, so SSIM is (2 * 0.25 * 0.75 + C1) / (0.25^2 + 0.75^2 + C1), C1 = 0.01^2.

    MS-SSIM takes the means at the coarsest scale only: of two scales at 32 pixels, to the power of the second's
    share 0.2856 / (0.0448 + 0.2856).
    """
    expected = (0.375 + 1e-4) / (0.625 + 1e-4)
    torch.testing.assert_close(ssim(flat(-0.5), flat(0.5)), torch.tensor([expected]), rtol=1e-3, atol=0)
    torch.testing.assert_close(ms_ssim(flat(-0.5, 32), flat(0.5, 32)), torch.tensor([expected ** (0.2856 / 0.3304)]),
                               rtol=1e-3, atol=0)


@needs_torchmetrics
def test_pairs_stay_apart():
    """Each value belongs to its pair: the batch neither averages nor sets a common range."""
    x, y = drawn(4, 32), drawn(4, 32, seed=1)
    y[2] = x[2]
    for measure in (ssim, ms_ssim, edge_agreement):
        whole = measure(x, y)
        torch.testing.assert_close(whole, torch.cat([measure(x[i:i + 1], y[i:i + 1]) for i in range(4)]))
        assert whole.argmax() == 2 and whole[2] > 0.999 and measure(x[:0], y[:0]).shape == (0,)


@pytest.mark.parametrize("size, count", [(11, 1), (16, 1), (31, 1), (32, 2), (64, 3), (128, 4), (255, 4), (256, 5),
                                         (1024, 5)])
def test_scales_fit_the_size(size, count):
    found = scale_exponents(size)
    assert len(found) == count and sum(found) == pytest.approx(1)
    assert found[-1] / found[0] == pytest.approx(EXPONENTS[count - 1] / EXPONENTS[0])


@needs_torchmetrics
def test_full_scales_have_the_published_exponents():
    assert scale_exponents(256) == pytest.approx(EXPONENTS, abs=1e-4)
    assert ms_ssim(flat(0.1, 256), flat(0.1, 256)).item() == pytest.approx(1)


def test_edges_ignore_brightness_contrast_and_sign():
    x = drawn(2, 16) / 2
    torch.testing.assert_close(edge_agreement(x, 0.5 * x + 0.2), torch.ones(2))
    torch.testing.assert_close(edge_agreement(x, -x), torch.ones(2))


def test_edges_by_hand():
    """Vertical steps in columns 2|3 and 2|3, or 2|3 and 5|6: of six inner columns two show each step's edge.

    Magnitudes (0, 1, 1, 0, 0, 0) and (0, 0, 0, 0, 1, 1): mean 1/3, covariance -1/9, variance 2/9, correlation -1/2.
    """
    left, right = -torch.ones(1, 3, 8, 8), -torch.ones(1, 3, 8, 8)
    left[..., 3:] = 1
    right[..., 6:] = 1
    torch.testing.assert_close(edge_agreement(left, left), torch.ones(1))
    torch.testing.assert_close(edge_agreement(left, right), torch.tensor([-0.5]))
    torch.testing.assert_close(edge_agreement(left.mT, right.mT), torch.tensor([-0.5]))


def test_edges_of_other_images_do_not_agree():
    x = drawn(6, 32)
    moved = edge_agreement(x, x.roll(2, -1))
    assert edge_agreement(x, x.flip(0)).abs().max() < 0.35
    assert (edge_agreement(x, x.roll(1, -1)) > moved).all()


def test_an_image_without_edges_agrees_with_none():
    ramp = torch.linspace(-1, 1, 16).expand(1, 3, 16, 16).contiguous()
    for x in (flat(0.3), ramp):
        assert edge_agreement(x, drawn(1, 16)).item() == 0 and edge_agreement(x, x).item() == 0


@pytest.mark.parametrize("measure", [ssim, ms_ssim, edge_agreement])
def test_refusals(measure):
    with pytest.raises(UserError, match="as many of the same size"):
        measure(torch.zeros(2, 3, 16, 16), torch.zeros(3, 3, 16, 16))
    with pytest.raises(UserError, match="expected at least"):
        measure(torch.zeros(1, 3, 3, 16), torch.zeros(1, 3, 3, 16))
    with pytest.raises(UserError, match=r"expected \[n, 3, H, W\]"):
        measure(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16))
    with pytest.raises(UserError, match="NaN or infinite"):
        measure(flat(float("nan")), flat(0.0))


@pytest.mark.parametrize("measure", [ssim, ms_ssim])
def test_a_missing_package_is_named(measure, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    with pytest.raises(UserError, match=r"torchmetrics.*pip install .*torchmetrics"):
        measure(flat(0.0), flat(0.0))
