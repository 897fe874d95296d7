"""TrivialAugment's operations and stain jitter, by hand and by what they must leave alone."""
import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from add.classification import image_changes
from add.classification.image_changes import (
    OPERATIONS,
    STAINS,
    change_colors,
    change_stains,
    color_jitter,
    stain_jitter,
    trivial_augment,
)
from add.data.transforms import to_model_input

SIGNED = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y", "color", "contrast", "brightness", "sharpness")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def some_images(count=40, size=16):
    """Return images whose pixels are whole numbers of 0 to 255."""
    return to_model_input(torch.randint(256, (count, size, size, 3), generator=seeded(1)).to(torch.uint8))


def picture(side=16):
    """Return a Pillow image that grows brighter to the right and downwards, with some noise."""
    rise = np.add.outer(np.arange(side), np.arange(side))[..., None] * 120 / (2 * side)
    return Image.fromarray((60 + rise + np.random.default_rng(0).integers(0, 20, (side, side, 3))).astype(np.uint8))


def changed_share(name, strength):
    """Return the mean absolute change of pixels by one operation, in grey levels."""
    before, after = np.asarray(picture(), float), np.asarray(OPERATIONS[name](picture(), strength), float)
    return np.abs(after - before).mean()


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("autocontrast", "equalize")])
def test_no_strength_is_no_change(name):
    assert changed_share(name, 0.0) < 0.51


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("identity", "autocontrast", "equalize")])
def test_strength_grows_the_change(name):
    assert changed_share(name, 0.2) < changed_share(name, 1.0)


@pytest.mark.parametrize("name", SIGNED)
def test_signs_are_two_directions(name):
    assert OPERATIONS[name](picture(), 0.8).tobytes() != OPERATIONS[name](picture(), -0.8).tobytes()


def test_operations_by_hand():
    """A bright square of 2 x 2 left above the centre of 20 x 20: 0.3 of the side are 6 pixels."""
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[8:10, 8:10] = 200
    image = Image.fromarray(pixels)

    def place(name, strength):
        """The mean row and column of the bright pixels."""
        found = np.argwhere(np.asarray(OPERATIONS[name](image, strength))[..., 0] > 150)
        return (found.mean(axis=0) - 9.5 + 1).round().tolist()

    assert place("identity", 1) == [0, 0]
    assert place("translate_x", 1) == [0, -6] and place("translate_y", -1) == [6, 0]
    level = Image.fromarray(np.full((2, 2, 3), 201, np.uint8))
    assert OPERATIONS["solarize"](level, 1).getpixel((0, 0)) == (54, 54, 54)
    assert OPERATIONS["posterize"](level, 1).getpixel((0, 0)) == (192, 192, 192)  # 201 of 4 bits
    assert OPERATIONS["brightness"](level, -1).getpixel((0, 0)) == (20, 20, 20)  # a tenth


def test_operations_and_strengths_are_drawn_evenly(monkeypatch):
    """Each of 2000 images is changed by one operation, all of them equally often within five standard errors."""
    seen = []
    noted = {name: lambda image, strength, name=name: seen.append((name, strength)) or image for name in OPERATIONS}
    monkeypatch.setattr(image_changes, "OPERATIONS", noted)
    images = some_images(2000, 2)
    assert torch.equal(trivial_augment(images, seeded()), images)
    counts = [sum(name == own for name, _ in seen) for own in OPERATIONS]
    expected = 2000 / len(OPERATIONS)
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts) and len(seen) == 2000
    strengths = {round(30 * abs(strength)) for _, strength in seen}
    assert strengths == set(range(31)) and {strength > 0 for _, strength in seen if strength} == {True, False}


@pytest.mark.parametrize("change", [trivial_augment, color_jitter, stain_jitter])
def test_images_change_by_the_generator_alone_and_stay_in_range(change):
    images = some_images()
    before = images.clone()
    first, again, other = (change(images, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other) and torch.equal(images, before)
    assert first.shape == images.shape and first.dtype == images.dtype
    assert first.min() >= -1 and first.max() <= 1 and not torch.equal(first, images)


def test_stains_by_hand():
    """Half the light of haematoxylin's colours: twice its amount squares the light, and other stains are not met."""
    vector = torch.tensor(STAINS[0], dtype=torch.float64) / torch.tensor(STAINS[0], dtype=torch.float64).norm()
    light = 10 ** (-0.3 * vector)
    image = (2 * light - 1).reshape(1, 3, 1, 1)
    twice = change_stains(image, torch.tensor([[2.0, 1, 1]]), torch.zeros(1, 3))
    torch.testing.assert_close(((twice + 1) / 2).flatten(), light**2)
    for k in (1, 2):
        factors = torch.ones(1, 3).index_fill(1, torch.tensor([k]), 3.0)
        torch.testing.assert_close(change_stains(image, factors, torch.zeros(1, 3)), image)
    shifted = change_stains(image, torch.ones(1, 3), torch.tensor([[0.1, 0, 0]]))
    torch.testing.assert_close(((shifted + 1) / 2).flatten(), 10 ** (-0.4 * vector))


def test_stains_that_do_not_change_leave_images():
    images = some_images()
    images[images == -1] = -0.99  # black has no density
    torch.testing.assert_close(change_stains(images, torch.ones(40, 3), torch.zeros(40, 3)), images, atol=1e-5, rtol=0)


def test_colours_change_as_pillow_changes_them():
    """To the grey levels that Pillow cuts off after each of the three."""
    image = picture()
    image.putpixel((3, 4), (150, 90, 60))
    expected = image
    for kind, factor in ((ImageEnhance.Brightness, 1.1), (ImageEnhance.Contrast, 0.85), (ImageEnhance.Color, 1.2)):
        expected = kind(expected).enhance(factor)
    found = change_colors(to_model_input(np.asarray(image)[None]), torch.tensor([[1.1, 0.85, 1.2]]))
    torch.testing.assert_close(found, to_model_input(np.asarray(expected)[None]), atol=4 / 127.5, rtol=0)
    images = some_images()
    torch.testing.assert_close(change_colors(images, torch.ones(40, 3)), images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("jitter", [color_jitter, stain_jitter])
def test_jitter_is_small(jitter):
    moved = (jitter(some_images(), seeded()) - some_images()).abs().mean(dim=(1, 2, 3))
    assert 0.01 < moved.mean() < 0.2 and moved.std() > 0.005
