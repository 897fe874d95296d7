"""Crops have the asked size whatever comes in; orientations move pixels and change none."""
import numpy as np
import pytest
import torch

from add.data import transforms

SQUARE = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4)


def noise(height, width):
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(64, 64), (200, 301), (63, 65), (7, 5), (1, 1), (64, 640), (129, 128)])
def test_crops_have_the_asked_size(size):
    image = noise(*size)
    assert transforms.center_crop(image, 64).shape == (64, 64, 3)
    for seed in range(5):
        crop = transforms.place_random_crop(image, 64, np.random.default_rng(seed).random(3), (0.3, 1.0))
        assert crop.shape == (64, 64, 3) and crop.dtype == np.uint8


def test_an_image_of_the_asked_size_is_untouched():
    image = noise(32, 32)
    np.testing.assert_array_equal(transforms.center_crop(image, 32), image)


@pytest.mark.parametrize("size, rows, columns", [
    ((32, 40), slice(0, 32), slice(4, 36)), ((35, 32), slice(1, 33), slice(0, 32))])
def test_the_centre_is_cut_out_rounding_towards_the_start(size, rows, columns):
    image = noise(*size)
    np.testing.assert_array_equal(transforms.center_crop(image, 32), image[rows, columns])


def test_halving_is_the_mean_of_two_by_two_boxes():
    """ADM's first step: at twice the size only the box average acts, rounded along rows and along columns."""
    image = noise(64, 64)
    means = image.astype(float).reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(transforms.center_crop(image, 32) - means).max() <= 1


def test_a_crop_is_that_of_its_numbers():
    image = noise(80, 60)
    crops = [transforms.place_random_crop(image, 32, numbers) for numbers in [(0.5, 0.2, 0.7)] * 2 + [(0.1, 0.9, 0.3)]]
    np.testing.assert_array_equal(crops[0], crops[1])
    assert (crops[0] != crops[2]).any()


def test_a_crop_at_full_share_reaches_both_ends():
    image = noise(32, 48)
    first = transforms.place_random_crop(image, 32, (0, 0, 0), (1, 1))
    last = transforms.place_random_crop(image, 32, (0, 0.999, 0.999), (1, 1))
    np.testing.assert_array_equal(first, image[:, :32])
    np.testing.assert_array_equal(last, image[:, 16:])


def test_share_range_is_checked():
    with pytest.raises(ValueError, match="expected 0 < least <= most <= 1"):
        transforms.place_random_crop(noise(8, 8), 4, (0, 0, 0), (0.5, 2))


def test_model_input_spans_minus_one_to_one():
    images = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    images[0, 0, 1] = (255, 51, 0)
    x = transforms.to_model_input(images)
    assert x.shape == (1, 3, 2, 2) and x.dtype == torch.float32 and x.is_contiguous()
    torch.testing.assert_close(x[0, :, 0, 1], torch.tensor([1.0, -0.6, -1.0]))
    torch.testing.assert_close(x, transforms.to_model_input(torch.from_numpy(images)), rtol=0, atol=0)
    with pytest.raises(ValueError, match="expected uint8"):
        transforms.to_model_input(images.astype(np.float32))


def test_to_uint8_cuts_the_fraction_and_clamps():
    x = torch.tensor([-3, -1, -1 + 1.9 / 127.5, 0, 1, 3]).reshape(1, 1, 1, 6).expand(1, 3, 1, 6)
    assert transforms.to_uint8(x)[0, 0, :, 0].tolist() == [0, 0, 1, 127, 255, 255]


def test_there_and_back_is_off_by_one_at_most():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    back = transforms.to_uint8(transforms.to_model_input(levels)).numpy()
    assert set(np.unique(levels - back)) <= {0, 1}


def test_the_eight_orientations_differ_and_close():
    image = SQUARE[:1]
    seen = {tuple(transforms.orient(image, [code]).flatten().tolist()): code for code in range(8)}
    assert len(seen) == 8
    for first in range(8):
        for second in range(8):
            both = transforms.orient(transforms.orient(image, [first]), [second])
            assert tuple(both.flatten().tolist()) in seen


def test_orientations_mean_what_they_say():
    image = SQUARE[:1]
    torch.testing.assert_close(transforms.orient(image, [4]), image.flip(-1))
    torch.testing.assert_close(transforms.orient(image, [6]), image.flip(-2))
    torch.testing.assert_close(transforms.orient(image, [1]), torch.rot90(image, 1, (-2, -1)))


@pytest.mark.parametrize("kinds", list(transforms.ORIENTATIONS))
def test_augment_keeps_every_image_s_pixels(kinds):
    batch = torch.rand(32, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    before = batch.clone()
    result = transforms.augment(batch, torch.Generator().manual_seed(1), kinds)
    again = transforms.augment(batch, torch.Generator().manual_seed(1), kinds)
    assert torch.equal(result, again) and torch.equal(batch, before)
    assert torch.equal(result.flatten(2).sort(-1).values, batch.flatten(2).sort(-1).values)
    distinct = {code for image, original in zip(result, batch, strict=True) for code in range(8)
                if torch.equal(transforms.orient(original[None], [code])[0], image)}
    assert distinct == set(transforms.ORIENTATIONS[kinds])


def test_arrays_and_tensors_turn_alike():
    codes = [5, 3]
    np.testing.assert_array_equal(transforms.orient(SQUARE.numpy(), codes), transforms.orient(SQUARE, codes))


def test_oblong_images_only_flip():
    oblong = torch.zeros(2, 3, 4, 6)
    assert transforms.augment(oblong, torch.Generator(), "flips").shape == oblong.shape
    with pytest.raises(ValueError, match="expected squares"):
        transforms.orient(oblong, [0, 1])


def test_unknown_augmentation_names_the_known():
    with pytest.raises(ValueError, match="none, mirror, flips, dihedral"):
        transforms.augment(SQUARE, torch.Generator(), "colour")
