"""Soft labels from images: brightness is the truth of these toy images, and rules must find it."""
import numpy as np
import pytest
import torch

from add.classification import label_rules
from add.classification.classifier import ClassifierConfig
from add.classification.label_rules import (
    classifier_positions,
    likelihood_positions,
    line_between,
    restoring_gain,
    two_sided,
)
from add.diffusion import create_gaussian_diffusion
from add.errors import UserError

SHORT = ClassifierConfig(steps=20, batch_size=8, lr=5e-3)
BRIGHTNESS = 0.5  # of the target domain; the source has minus that


def shaded(levels, noise=0.3, seed=0, size=8):
    """Return noisy images [n, 3, size, size] of these mean levels."""
    generator = torch.Generator().manual_seed(seed)
    patterns = noise * torch.randn(len(levels), 3, size, size, generator=generator)
    return patterns + torch.as_tensor(levels, dtype=torch.float32)[:, None, None, None]


def domain(sign, count=10, seed=0):
    return shaded(torch.full((count,), sign * BRIGHTNESS), seed=seed)


def ranks(values):
    return torch.as_tensor(values).argsort().argsort().double()


def rank_correlation(first, second):
    return torch.corrcoef(torch.stack([ranks(first), ranks(second)]))[0, 1].item()


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


def test_classifier_positions_follow_brightness():
    levels = torch.linspace(-BRIGHTNESS, BRIGHTNESS, 41)
    found = classifier_positions(shaded(levels, seed=3), domain(-1, seed=1), domain(1, seed=2), SHORT, folds=2)
    assert rank_correlation(found, levels) > 0.9
    assert found[:4].mean() == pytest.approx(0, abs=0.15) and found[-4:].mean() == pytest.approx(1, abs=0.15)
    assert 0.25 < found[18:23].mean() < 0.75


def test_swapped_domains_mirror_the_positions():
    """Positions p become 1 - p, but for what little the classifiers' luck changes."""
    images, dark, bright = shaded([-0.5, -0.2, 0.2, 0.5]), domain(-1, seed=1), domain(1, seed=2)
    there = classifier_positions(images, dark, bright, SHORT, folds=2)
    back = classifier_positions(images, bright, dark, SHORT, folds=2)
    torch.testing.assert_close(there, 1 - back, rtol=0, atol=0.25)


@pytest.fixture
def folds(monkeypatch):
    """[(levels trained on, [levels scored])] of each classifier; the stand-in's log-odds are the images' mean."""
    seen = []

    def train(real, config, seed, mixing, on_step):
        assert mixing == "mixup"
        seen.append((set(real.images[:, 0, 0, 0].tolist()), []))

    def score(network, images):
        seen[-1][1].append(set(images[:, 0, 0, 0].tolist()))
        return images.double().mean(dim=(1, 2, 3))

    monkeypatch.setattr(label_rules, "train_classifier", train)
    monkeypatch.setattr(label_rules, "_mean_log_odds", score)
    return seen


def test_classifiers_are_calibrated_on_images_they_were_not_trained_on(folds):
    """Every real image is held out once, and trains all other classifiers."""
    source, target = shaded(-torch.arange(1.0, 8), noise=0), shaded(torch.arange(1.0, 7), noise=0)
    found = classifier_positions(shaded([-5.0, 0.0, 5.0], noise=0), source, target, SHORT, folds=3)
    everything = set(source[:, 0, 0, 0].tolist()) | set(target[:, 0, 0, 0].tolist())
    assert len(folds) == 3
    for trained, (_, low, high) in folds:
        assert not trained & (low | high)
        assert trained | low | high == everything
        assert low and max(low) < 0 and high and min(high) > 0
    assert sum(len(low | high) for _, (_, low, high) in folds) == len(everything)
    assert found[1] == pytest.approx(0.5, abs=0.15) and (found.diff() > 0).all()


def test_there_are_no_more_folds_than_images(folds):
    classifier_positions(shaded([0.0]), shaded([-1.0, -2.0, -3.0], 0), shaded([1.0, 2.0, 3.0, 4.0], 0), SHORT, folds=5)
    assert len(folds) == 3


def test_a_slide_is_held_out_as_a_whole(folds):
    """Levels -1 to -6 of three slides and 1 to 6 of two: two folds, and no slide on both sides of one."""
    source, target = shaded(-torch.arange(1.0, 7), noise=0), shaded(torch.arange(1.0, 7), noise=0)
    levels = [*source[:, 0, 0, 0].tolist(), *target[:, 0, 0, 0].tolist()]
    slides = dict(zip(levels, "aabbccddddee", strict=True))
    classifier_positions(shaded([0.0]), source, target, SHORT, folds=3, groups=(list("aabbcc"), list("ddddee")))
    assert len(folds) == 2
    for trained, (_, low, high) in folds:
        assert low and high and not {slides[level] for level in trained} & {slides[level] for level in low | high}


@pytest.mark.parametrize(("source", "target"), [(1, 5), (5, 1)])
def test_one_image_can_not_be_cross_fitted(source, target):
    with pytest.raises(UserError, match=f"given {source} source and {target} target images: expected 2 or more"):
        classifier_positions(shaded([0.0]), domain(-1, source), domain(1, target), SHORT)


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
