"""Soft labels from images: brightness is the truth of these toy images, and rules must find it."""
import numpy as np
import pytest
import torch

from add.classification import label_rules
from add.classification.label_rules import likelihood_positions, line_between, restoring_gain, two_sided
from add.diffusion import create_gaussian_diffusion
from add.errors import UserError
from tests.classification.shaded_images import BRIGHTNESS, domain, rank_correlation, shaded


def gaussian_models(std=0.3):
    """Return (source, target), each (exact eps of data N(-+BRIGHTNESS, std^2), diffusion)."""
    diffusion = create_gaussian_diffusion(learn_sigma=False)
    levels = torch.from_numpy(diffusion.alphas_cumprod).float()

    def model_of(mean):
        def model(x, t):
            level = levels[t.long()][:, None, None, None]
            return (1 - level).sqrt() * (x - level.sqrt() * mean) / (level * std**2 + 1 - level)

        return model, diffusion

    return model_of(-BRIGHTNESS), model_of(BRIGHTNESS)


def test_line_between_by_hand():
    """Means 2 and 6: 2 is at 0, 4 half-way, 6 at 1, and the line goes on behind both."""
    scores = torch.tensor([2.0, 4.0, 6.0, 0.0, 8.0])
    found = line_between(scores, torch.tensor([1.0, 3.0]), torch.tensor([5.0, 6.0, 7.0]))
    assert found.tolist() == [0.0, 0.5, 1.0, -0.5, 1.5]


@pytest.mark.parametrize("target", [[1.0, 3.0], [0.0, 1.0], [float("nan"), 3.0]])
def test_a_score_that_can_not_tell_domains_apart_is_refused(target):
    with pytest.raises(UserError, match="can't tell the two domains apart"):
        line_between(torch.zeros(1), torch.tensor([1.0, 3.0]), torch.tensor(target))


def test_likelihood_positions_of_gaussian_domains_are_their_brightness():
    """Exact: two Gaussians of one spread differ by a linear function of the mean pixel, whatever the noise."""
    source, target = domain(-1, seed=1), domain(1, seed=2)
    images = shaded(torch.linspace(-0.8, 0.8, 9), seed=3)
    low, high, own = (part.double().mean(dim=(1, 2, 3)) for part in (source, target, images))
    expected = (own - low.mean()) / (high.mean() - low.mean())
    found = likelihood_positions(images, source, target, gaussian_models())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    assert rank_correlation(found, own) == pytest.approx(1)


def test_real_images_decide_the_direction_not_the_order_of_the_models():
    """The weights of the timesteps take the sign that puts the target's images higher."""
    images, source, target = shaded([-0.3, 0.4]), domain(-1, seed=1), domain(1, seed=2)
    models = gaussian_models()
    torch.testing.assert_close(likelihood_positions(images, source, target, models[::-1]),
                               likelihood_positions(images, source, target, models))


def test_one_model_twice_can_not_tell_the_domains_apart():
    model = gaussian_models()[0]
    with pytest.raises(UserError, match="can't tell the two domains apart"):
        likelihood_positions(shaded([0.0]), domain(-1), domain(1), (model, model))


def test_noise_is_seeded_and_draws_are_averaged():
    images, models = shaded([0.0, 0.3]), gaussian_models()
    first, second = (restoring_gain(images, models, seed=seed) for seed in (0, 1000))
    assert not torch.equal(first, second)
    assert torch.equal(restoring_gain(images, models, seed=0), first)
    torch.testing.assert_close(restoring_gain(images, models, draws=2), (first + second) / 2)


def test_gain_is_positive_where_the_second_model_fits_better():
    gain = restoring_gain(torch.cat([domain(1, 4), domain(-1, 4)]), gaussian_models())
    assert (gain[:4] > 0).all() and (gain[4:] < 0).all()


def test_images_get_the_same_gain_in_other_chunks(monkeypatch):
    images, models = shaded([-0.4, 0.0, 0.1, 0.2, 0.5]), gaussian_models()
    whole = restoring_gain(images, models)
    monkeypatch.setattr(label_rules, "_CHUNK", 2)
    torch.testing.assert_close(restoring_gain(images, models), whole, rtol=0, atol=1e-6)


def test_two_sided_rows():
    """Positions behind the ends count as the ends; other domains get nothing."""
    expected = [[0.75, 0.0, 0.25], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    np.testing.assert_array_equal(two_sided([0.25, -3.0, 1.5], 0, 2, 3), expected)
    np.testing.assert_array_equal(two_sided(torch.tensor([0.25]), 1, 0, 2), [[0.25, 0.75]])
