"""A grader's calibration: temperature, intervals that hold what they promise, familiarity, intervals over groups."""
import numpy as np
import pytest
import torch

from add.classification.classifier_runs import Reading
from add.classification.familiarity import SHARE_OUTSIDE, conformal_quantile, fit_familiarity
from add.classification.grader import COVERAGE, LEAST_SPREAD, fit_calibration, fit_scaling, place_ensemble
from add.classification.group_intervals import grouped_intervals


def readings(classes, members=4, noise=1.0, seed=0, heads=False):
    """Return what members say of images whose log-odds are those of their class, with noise that some share."""
    rng = torch.Generator().manual_seed(seed)
    signal = 4 * classes.double() - 2 + noise * torch.randn(len(classes), generator=rng)
    found = []
    for _ in range(members):
        own = signal + 0.5 * noise * torch.randn(len(classes), generator=rng)
        logits = torch.stack([-own / 2, own / 2], dim=1)
        found.append(Reading(logits, logits[:0], 0.5 + own / 6 if heads else None))
    return found


def test_an_overconfident_ensemble_is_softened_to_its_true_chances():
    """Labels are drawn by probabilities; logits three times too large need the temperature 3, moved ones an offset."""
    rng = torch.Generator().manual_seed(0)
    log_odds = 3 * torch.randn(20000, generator=rng)
    classes = (torch.rand(20000, generator=rng) < log_odds.sigmoid()).long()
    logits = torch.stack([torch.zeros(20000), log_odds], dim=1)
    temperature, offsets = fit_scaling(3 * logits, classes)
    assert temperature == pytest.approx(3, rel=0.05) and offsets.abs().max() < 0.05
    temperature, offsets = fit_scaling(logits + torch.tensor([2.0, 0.0]), classes)
    assert temperature == pytest.approx(1, rel=0.05) and offsets.tolist() == pytest.approx([-1, 1], abs=0.05)
    assert fit_scaling(logits / 3, classes)[0] == pytest.approx(1, abs=1e-3)  # never sharper


def test_classes_that_are_told_apart_meet_half_way():
    """Log-odds of -8 and 2: the border goes to the middle, not to 0, so that classes and severities agree."""
    log_odds = torch.tensor([-8.5, -8.0, -7.5, 1.5, 2.0, 2.5])
    temperature, offsets = fit_scaling(torch.stack([-log_odds / 2, log_odds / 2], dim=1),
                                       torch.tensor([0, 0, 0, 1, 1, 1]))
    assert temperature == pytest.approx(1, abs=1e-3) and (offsets[1] - offsets[0]).item() == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize("heads", [False, True])
def test_intervals_hold_images_of_the_classes_as_often_as_promised(heads):
    """On average over validation sets of 40 images, and no more often than exchangeable ones would."""
    inside = []
    for seed in range(60):
        classes = torch.arange(40) % 2
        calibration = fit_calibration(readings(classes, seed=seed, heads=heads), classes)
        new = torch.arange(400) % 2
        severity, spread = place_ensemble(readings(new, seed=1000 + seed, heads=heads), calibration.links,
                                          calibration.lines)
        inside.append(((severity - new).abs() <= calibration.width * (spread + LEAST_SPREAD)).double().mean().item())
    assert COVERAGE - 0.02 < np.mean(inside) < COVERAGE + 0.05


def test_shrunk_severities_of_noisy_members_err_less():
    """By a line of the ensemble, which is steeper than that of a member: members that differ scatter less together."""
    def scattered(truth, seed, members=4):
        rng = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(truth), generator=rng) + torch.randn(members, len(truth), generator=rng)
        return [Reading(logits, logits[:0], None) for logits in torch.stack(
            [torch.zeros_like(noise), 2 * truth.float() - 1 + noise], dim=2)]

    classes, truth = torch.arange(80) % 2, torch.linspace(0, 1, 500).double()
    calibration = fit_calibration(scattered(classes, 0), classes)
    severity, _ = place_ensemble(scattered(truth, 1), calibration.links, None)
    error, shrunk = (((places - truth) ** 2).mean().sqrt() for places in (severity,
                                                                          calibration.shrinkage.places(severity)))
    assert 0 < calibration.shrinkage.slope < 0.7 and shrunk < 0.85 * error
    alone = [fit_calibration([member], classes).shrinkage.slope for member in scattered(classes, 0)]
    assert calibration.shrinkage.slope > 1.1 * max(alone)


def test_a_conformal_quantile_is_the_order_statistic():
    scores = torch.tensor([3.0, 1.0, 2.0, 5.0, 4.0, 7.0, 6.0, 9.0, 8.0])
    assert conformal_quantile(scores, 0.9) == 9  # ceil(10 * 0.9)
    assert conformal_quantile(scores, 0.5) == 5
    assert conformal_quantile(scores, 0.99) == 9  # too few to promise it


def test_images_that_belong_are_familiar_as_often_as_promised():
    rng = torch.Generator().manual_seed(0)
    centre = torch.randn(1, 32, generator=rng)

    def draw(count, shift=0.0):
        return centre + 0.3 * torch.randn(count, 32, generator=rng) + shift

    shares = [(fit_familiarity(draw(200), draw(40), rng).distances(draw(300)) > 1).double().mean() for _ in range(20)]
    assert 0.2 * SHARE_OUTSIDE < np.mean(shares) < 1.5 * SHARE_OUTSIDE
    away = torch.zeros(32)
    away[:4] = 3
    assert (fit_familiarity(draw(200), draw(40), rng).distances(draw(50, away)) > 1).all()


def test_intervals_over_groups_are_wider_than_over_their_images():
    """Images of one group are alike; of a mean the interval is that of the groups' means."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 25)
    values = rng.standard_normal(20)[groups] + 0.1 * rng.standard_normal(500)
    (low, high), = grouped_intervals(lambda i: {"mean": values[i].mean()}, groups).values()
    (close_low, close_high), = grouped_intervals(lambda i: {"mean": values[i].mean()}, np.arange(500)).values()
    by_group = np.array([values[groups == k].mean() for k in range(20)])
    assert high - low == pytest.approx(2 * 1.96 * by_group.std(ddof=1) / np.sqrt(20), rel=0.15)
    assert high - low > 3 * (close_high - close_low)
    assert grouped_intervals(lambda i: {"mean": 0.0}, [0, 0, 1]) == {}
