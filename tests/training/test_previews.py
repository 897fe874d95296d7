import torch

from add.training.previews import GAP, tile


def test_small_images_are_enlarged_to_be_seen_with_a_gap_between():
    shades = torch.tensor([-1.0, 0.0, 1.0])
    images = shades[:, None, None, None].expand(3, 3, 16, 16).clone()
    images[0, :, 0, 0] = 1
    picture = tile(images)
    side = 96 + GAP
    assert picture.shape == (2 * side + GAP, 2 * side + GAP, 3)
    assert (picture[:GAP] == 255).all() and (picture[:, side:side + GAP] == 255).all()
    assert (picture[GAP:GAP + 6, GAP:GAP + 6] == 255).all()  # one pixel, six times as large
    assert (picture[GAP + 6:GAP + 96, GAP:GAP + 96] == 0).all()
    assert (picture[GAP:GAP + 96, GAP + side:GAP + side + 96] == 127).all()
    assert (picture[side + GAP:, GAP + side:] == 255).all()  # no fourth image


def test_large_images_keep_their_pixels_and_columns_are_as_asked_for():
    images = torch.rand(4, 3, 128, 100) * 2 - 1
    picture = tile(images, columns=4)
    assert picture.shape == (128 + 2 * GAP, 4 * (100 + GAP) + GAP, 3)
