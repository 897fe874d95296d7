"""Colour shift: Lab values of known colours, and sets that are recoloured or faded."""
import sys
from importlib.util import find_spec

import pytest
import torch

from add.errors import UserError
from add.metrics.stain import lab_moments, lab_shift

RED, WHITE, BLACK = (1.0, -1.0, -1.0), (1.0, 1.0, 1.0), (-1.0, -1.0, -1.0)
needs_skimage = pytest.mark.skipif(find_spec("skimage") is None, reason="skimage is not installed")


def plain(*colours, size=4):
    return torch.tensor(colours)[:, :, None, None].expand(-1, -1, size, size)


def drawn(count, seed):
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) - 0.5


@needs_skimage
def test_known_colours():
    """sRGB red is Lab (53.24, 80.09, 67.20) under D65, white (100, 0, 0), black 0."""
    mean, spread = lab_moments(plain(RED))
    assert mean == pytest.approx((53.24, 80.09, 67.20), abs=0.02) and spread == pytest.approx((0, 0, 0), abs=1e-4)
    mean, spread = lab_moments(plain(WHITE, BLACK, BLACK, WHITE))
    assert mean == pytest.approx((50, 0, 0), abs=0.02) and spread == pytest.approx((50, 0, 0), abs=0.02)


@needs_skimage
def test_shift_by_hand():
    """From black to white: 100 in lightness, and nothing else."""
    found = lab_shift(plain(BLACK), plain(WHITE, size=6))
    assert found.mean_shift == pytest.approx((100, 0, 0), abs=0.02) and found.delta_e == pytest.approx(100, abs=0.02)
    found = lab_shift(plain(WHITE), plain(RED))
    assert found.mean_shift == pytest.approx((-46.76, 80.09, 67.20), abs=0.03)
    assert found.delta_e == pytest.approx((46.76 ** 2 + 80.09 ** 2 + 67.20 ** 2) ** 0.5, abs=0.03)


@needs_skimage
def test_more_images_than_a_batch_count_alike():
    x = drawn(70, 0)
    mean, spread = lab_moments(x)
    parts = [lab_moments(x[i:i + 1]) for i in range(70)]
    assert mean == pytest.approx(sum(part[0] for part in parts) / 70)
    second = sum(part[1] ** 2 + part[0] ** 2 for part in parts) / 70
    assert spread == pytest.approx((second - mean ** 2) ** 0.5)


@needs_skimage
def test_recolouring_and_fading_show():
    """Other images of the same colours barely differ; a tint moves the means, lost contrast lowers the spread."""
    real, same = drawn(20, 0), drawn(20, 1)
    assert lab_shift(real, same).delta_e < 1
    tinted = same + torch.tensor([0.1, -0.1, 0.05])[:, None, None]
    assert lab_shift(real, tinted).delta_e > 5 and lab_shift(real, tinted).mean_shift[1] > 3
    faded = lab_shift(real, same / 2)
    assert all(shift < -3 for shift in faded.spread_shift)
    assert faded.fake_spread[0] - faded.real_spread[0] == pytest.approx(faded.spread_shift[0])
    assert lab_shift(real, real) == lab_shift(real, real)._replace(mean_shift=(0, 0, 0), delta_e=0)


def test_refusals():
    pytest.importorskip("skimage")
    for shape in ((0, 3, 4, 4), (1, 1, 4, 4), (3, 4, 4)):
        with pytest.raises(UserError, match=r"expected \[n, 3, H, W\]"):
            lab_shift(plain(RED), torch.zeros(shape))
    with pytest.raises(UserError, match="NaN or infinite"):
        lab_shift(plain(RED) * float("nan"), plain(RED))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.color", None)
    with pytest.raises(UserError, match=r"scikit-image.*pip install .*scikit-image"):
        lab_shift(plain(RED), plain(RED))
