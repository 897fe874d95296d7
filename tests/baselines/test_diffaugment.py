"""DiffAugment: what each augmentation may change, exact cases, and gradients."""
import pytest
import torch

from add.baselines import diffaugment
from add.baselines.step_draws import Draw
from add.errors import UserError

ALL = ("color", "translation", "cutout")


def draws(seed=0):
    return Draw(seed, step=0, index=0)


class FixedDraws:
    """Every uniform is `share`, every integer `number`."""

    def __init__(self, share=0.5, number=0):
        self.share, self.number = share, number

    def uniform(self, *shape):
        return torch.full(shape, self.share)

    def integers(self, high, *shape):
        return torch.full(shape, min(self.number, high - 1))


def images(count=3, size=16, seed=0):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("names", [*[(name,) for name in ALL], ALL])
def test_same_draws_give_the_same_images_and_others_others(names):
    x = images()
    out = diffaugment.augment(x, names, draws(5))
    assert out.shape == x.shape
    torch.testing.assert_close(out, diffaugment.augment(x, names, draws(5)), rtol=0, atol=0)
    assert (out - diffaugment.augment(x, names, draws(6))).abs().max() > 0.05


@pytest.mark.parametrize("name", ["translation", "cutout"])
def test_moving_and_cutting_stay_in_range(name):
    out = diffaugment.augment(images(40), (name,), draws())
    assert out.abs().max() <= 1
    changed = (out != images(40)).any(1)
    assert changed.flatten(1).any(1).float().mean() > 0.9


def test_colours_stay_within_what_the_factors_allow():
    """|x + 0.5| <= 1.5, then at most twice as far from grey and half as far again from the mean."""
    out = diffaugment.augment(images(200), ("color",), draws())
    assert out.isfinite().all()
    assert 1 < out.abs().max() < 1.5 + 3 * 2 * 1.5


def test_middle_draws_change_no_colour():
    torch.testing.assert_close(diffaugment.colour(images(), FixedDraws(0.5)), images())


def test_least_saturation_is_grey_and_least_contrast_halves():
    out = diffaugment.colour(images(), FixedDraws(0.0))  # brightness -0.5, saturation 0, contrast 0.5
    grey = images().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    level = grey.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(out, level - 0.5 + 0.5 * (grey - level))


@pytest.mark.parametrize(("number", "shift"), [(0, -2), (2, 0), (4, 2)])
def test_translation_moves_by_at_most_an_eighth_and_zeros_come_in(number, shift):
    x = images(size=16)
    out = diffaugment.translation(x, FixedDraws(number=number))
    expected = torch.zeros_like(x)
    size = 16
    here, there = slice(max(0, -shift), size - max(0, shift)), slice(max(0, shift), size - max(0, -shift))
    expected[:, :, here, here] = x[:, :, there, there]
    torch.testing.assert_close(out, expected, rtol=0, atol=0)


def test_translation_takes_both_axes_and_every_image_apart():
    dot = torch.zeros(200, 1, 16, 16)
    dot[:, :, 8, 8] = 1
    places = diffaugment.translation(dot, draws()).nonzero()[:, 2:]
    assert len(places) == 200
    assert places.min(0).values.tolist() == [6, 6]
    assert places.max(0).values.tolist() == [10, 10]
    assert len(places.unique(dim=0)) == 25


@pytest.mark.parametrize(("number", "rows"), [(0, range(4)), (8, range(4, 12)), (16, range(12, 16))])
def test_cutout_takes_half_the_side_around_any_centre(number, rows):
    x = images(size=16)
    out = diffaugment.cutout(x, FixedDraws(number=number))
    expected = x.clone()
    expected[:, :, rows.start:rows.stop, rows.start:rows.stop] = 0
    torch.testing.assert_close(out, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_gradients_pass(name):
    """Checked against differences: the augmentation is a smooth function of the images."""
    x = images(2, 8).double().requires_grad_()

    class Double(Draw):
        def uniform(self, *shape):
            return super().uniform(*shape).double()

    assert torch.autograd.gradcheck(lambda x: diffaugment.augment(x, (name,), Double(3, 0, 0)), x)


@pytest.mark.parametrize("name", ALL)
def test_gradients_of_gradients_pass(name):
    x = images(2, 8).requires_grad_()
    out = diffaugment.augment(x, (name,), draws(3))
    gradient, = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert x.grad.abs().max() > 0


def test_policy_is_read_in_its_order():
    assert diffaugment.parse("") == ()
    assert diffaugment.parse("cutout, color") == ("cutout", "color")
    with pytest.raises(UserError, match="expected some of color, translation, cutout"):
        diffaugment.parse("color,flip")


def test_no_policy_changes_nothing_and_draws_nothing():
    assert diffaugment.augment(x := images(), (), None) is x
