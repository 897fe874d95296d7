"""The closed-form denoiser: moments of known sets, and the three predictions against regression by hand."""
import pytest
import torch

from add.diffusion.gaussian_prior import (
    QUANTISATION,
    SYMMETRIES,
    dct_matrix,
    fit_gaussian,
    linear_gain,
    mean_factor,
    open_variance,
)
from add.errors import UserError

SIGNAL = torch.tensor([0.0, 1e-4, 0.3, 0.8, 0.99999], dtype=torch.float64)
SPREAD = (1 - SIGNAL.square()).sqrt()
VARIANCES = torch.tensor([[1e-5], [0.02], [1.0], [30.0]], dtype=torch.float64)


def images(count, shape=(3, 8, 8), seed=0):
    """Return correlated images of a mean that is not 0: neighbouring pixels and colours vary together."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, *shape, generator=generator, dtype=torch.float64)
    smooth = noise.cumsum(dim=-1) * 0.1 + noise.cumsum(dim=-2) * 0.05
    return smooth + 0.5 * smooth.flip(1) + torch.linspace(-0.5, 0.5, shape[0], dtype=torch.float64)[:, None, None]


def covariance(prior):
    return torch.einsum("cehw,ehw,dehw->cdhw", prior.axes, prior.variances, prior.axes)


def dct(x):
    rows, columns = (dct_matrix(size) for size in x.shape[-2:])
    return rows @ x @ columns.T


@pytest.mark.parametrize("size", [1, 2, 7, 16])
def test_the_dct_is_orthonormal_and_its_first_row_is_the_mean(size):
    matrix = dct_matrix(size)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size, dtype=torch.float64))
    torch.testing.assert_close(matrix[0], torch.full((size,), size ** -0.5, dtype=torch.float64))


def test_the_dct_of_a_cosine_is_one_coefficient():
    """cos(pi k (x + 1/2) / n), the DCT-II's own basis, by its definition."""
    places = torch.arange(8, dtype=torch.float64)
    wave = torch.cos(torch.pi * 3 * (places + 0.5) / 8)
    found = dct_matrix(8) @ wave
    assert found.abs().argmax() == 3 and found.abs().sort().values[-2] < 1e-12


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("height, width", [(8, 8), (4, 12)])
def test_covariance_and_mean_are_those_of_the_coefficients(channels, height, width):
    x = images(500, (channels, height, width))
    prior = fit_gaussian(x.split(64))
    z = dct(x)
    deviation = z - dct(prior.mean)
    expected = torch.einsum("bchw,bdhw->cdhw", deviation, deviation) / len(x)
    # float64 images; the smallest variances are those of rounding
    torch.testing.assert_close(covariance(prior), expected, atol=2 * QUANTISATION, rtol=1e-6)
    torch.testing.assert_close(prior.mean.mean(dim=(1, 2)), x.mean(dim=(0, 2, 3)), atol=0.02, rtol=0)
    assert (prior.variances.diff(dim=0) >= 0).all()


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_a_symmetry_is_the_set_seen_in_all_its_orientations(symmetry):
    x = images(40)
    turned = {"none": [x], "mirror": [x, x.flip(-1)], "flips": [x, x.flip(-1), x.flip(-2), x.flip(-1, -2)]}
    turned["dihedral"] = [*turned["flips"], *(image.mT for image in turned["flips"])]
    by_hand, found = fit_gaussian([torch.cat(turned[symmetry])]), fit_gaussian(x.split(16), symmetry)
    # by hand there seem to be more images, so that less of the mean is taken for chance: compare second moments
    for prior in (by_hand, found):
        assert prior.mean.shape == (3, 8, 8)
    moments = [covariance(prior) + dct(prior.mean)[:, None] * dct(prior.mean)[None] for prior in (by_hand, found)]
    first = torch.cat(turned[symmetry]).mean(dim=0)
    corrected = [moment + (dct(first)[:, None] - dct(prior.mean)[:, None]) * dct(prior.mean)[None]
                 + dct(prior.mean)[:, None] * (dct(first) - dct(prior.mean))[None]
                 for moment, prior in zip(moments, (by_hand, found), strict=True)]
    torch.testing.assert_close(*corrected, atol=3 * QUANTISATION, rtol=1e-5)


def test_a_texture_keeps_its_mean_colour_alone_and_an_object_in_the_middle_its_shape():
    generator = torch.Generator().manual_seed(0)
    texture = 0.3 * torch.randn(30, 3, 16, 16, generator=generator) + 0.2
    rough = texture.mean(dim=0).std()
    assert fit_gaussian([texture]).mean.std() < 0.75 * rough  # the plain mean keeps the noise of 30 images
    disc = torch.zeros(3, 16, 16)
    disc[:, 4:12, 4:12] = 1
    found = fit_gaussian([texture + disc]).mean
    assert (found - 0.2 - disc).square().mean() < 0.8 * ((texture + disc).mean(dim=0) - 0.2 - disc).square().mean()
    assert found[:, 6:10, 6:10].mean() > 1.1 and found[:, :3, :3].mean() < 0.3


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_images_give_finite_positive_variances(count):
    prior = fit_gaussian([images(count)])
    assert all(value.isfinite().all() for value in vars(prior).values()) and (prior.variances >= QUANTISATION).all()


def test_no_images_are_refused():
    with pytest.raises(UserError, match="expected at least one"):
        fit_gaussian([])


@pytest.mark.parametrize("prediction", ["epsilon", "x_start", "v"])
def test_expectations_minimise_the_error_and_leave_the_open_variance(prediction):
    """By regression on an axis of mean 0: gain = E[y x_t] / E[x_t^2], with moments written out by hand."""
    s, n = SIGNAL, SPREAD
    about = {"epsilon": (n, torch.ones_like(s)), "x_start": (s * VARIANCES, VARIANCES),
             "v": (s * n * (1 - VARIANCES), s.square() + n.square() * VARIANCES)}
    with_x_t, own = about[prediction]
    variance = s.square() * VARIANCES + n.square()
    gain = linear_gain(VARIANCES, s, n, prediction)
    torch.testing.assert_close(gain, (with_x_t / variance).expand_as(gain), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(open_variance(VARIANCES, s, n, prediction), own - with_x_t.square() / variance,
                               rtol=1e-6, atol=1e-9)


def test_the_mean_is_predicted_where_the_image_is_the_mean():
    """x_t = s m + n eps on an axis without variance: x_start = m, and v = s eps - n m."""
    assert torch.equal(mean_factor(SPREAD, "x_start"), torch.ones_like(SPREAD))
    assert torch.equal(mean_factor(SPREAD, "epsilon"), torch.zeros_like(SPREAD))
    torch.testing.assert_close(mean_factor(SPREAD, "v"), -SPREAD)
