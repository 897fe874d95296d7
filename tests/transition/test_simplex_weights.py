"""Points of the simplex along a way, and the fields of a mosaic, whose means they are."""
import pytest
import torch

from add.errors import UserError
from add.transition.simplex_weights import edge_weights, mosaic_weights, parse_weights


def images(count=2, height=24, width=32):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_weights_walk_along_the_edges():
    found = edge_weights(torch.tensor([0, 0.25, 1, 1.5, 2]), 3)
    assert found.tolist() == [[1, 0, 0], [0.75, 0.25, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]]


def test_points_are_read_and_sum_to_one():
    assert parse_weights("0.2,0.3,0.5;1,0,0", 3).tolist() == [[0.2, 0.3, 0.5], [1, 0, 0]]
    assert parse_weights("0.333,0.667", 2).sum() == 1


@pytest.mark.parametrize("text", ["", "0.5", "0.5,0.6", "a,b", "-0.5,1.5", "0.5,0.5;", "nan,1", "0.2,0.3,0.5"])
def test_other_texts_are_refused(text):
    with pytest.raises(UserError, match="no point between 2 domains"):
        parse_weights(text, 2)


@pytest.mark.parametrize("edge", [0, 0.1, 1])
def test_fields_have_the_weights_as_means_and_parts_only_grow(edge):
    weights = edge_weights(torch.arange(1, 11, dtype=torch.float64) / 5, 3).expand(2, -1, -1)
    fields = mosaic_weights(weights, images(), edge=edge)
    assert fields.shape == (2, 10, 3, 24, 32)
    torch.testing.assert_close(fields.mean(dim=(3, 4)), weights, rtol=0, atol=1e-6)
    torch.testing.assert_close(fields.sum(dim=2), torch.ones(2, 10, 24, 32, dtype=torch.float64), rtol=0, atol=1e-9)
    assert fields.min() >= 0
    first, last = fields[:, :, 0], fields[:, :, 2]
    assert (first.diff(dim=1) <= 1e-9).all() and (last.diff(dim=1) >= -1e-9).all()
    assert torch.equal(fields[:, 4], weights[:, 4, :, None, None].expand(-1, -1, 24, 32))  # all of domain 1


def test_hard_edges_leave_one_pixel_between_and_soft_ones_a_share_of_the_image():
    half = torch.tensor([[[0.5, 0.5]]], dtype=torch.float64)

    def between(edge):
        field = mosaic_weights(half, images(1), edge=edge)[0, 0, 0]
        return int(((field > 1e-6) & (field < 1 - 1e-6)).sum())

    assert between(0) <= 1
    assert between(0.2) == pytest.approx(0.2 * 24 * 32, abs=3)


def test_patches_have_the_wanted_size():
    """The border between the halves is the shorter, the larger the patches are."""
    half = torch.tensor([[[0.5, 0.5]]], dtype=torch.float64).expand(6, -1, -1)

    def border(scale):
        field = mosaic_weights(half, images(6, 32, 32), scale=scale, edge=0)[:, 0, 0]
        return float(field.diff(dim=1).abs().sum() + field.diff(dim=2).abs().sum())

    assert border(0.1) > 1.5 * border(0.3) > 2 * border(1.0)


def test_a_field_follows_from_its_image_and_the_seed_alone():
    weights = torch.full((2, 1, 2), 0.5, dtype=torch.float64)
    both = mosaic_weights(weights, images())
    alone = mosaic_weights(weights[1:], images()[1:])
    assert torch.equal(both[1:], alone)
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(mosaic_weights(weights[1:], images()[1:], seed=1), alone)


@pytest.mark.parametrize("options, words", [({"scale": 0}, "mosaic_scale is 0"), ({"scale": 1.5}, "up to 1"),
                                            ({"edge": -0.1}, "mosaic_edge is -0.1"), ({"edge": 2}, "expected 0")])
def test_impossible_mosaics_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        mosaic_weights(torch.full((1, 1, 2), 0.5), images(1), **options)
