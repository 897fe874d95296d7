"""Scores and intervals against values worked out by hand."""
import math

import pytest
import torch

from add.classification.scores import (
    check_packages,
    classification_scores,
    interval,
    mean_and_ends,
    mean_and_half,
    paired_difference,
)
from add.errors import UserError


def two_classes(probabilities):
    """Return the logits [n, 2] whose probabilities of class 1 these are."""
    odds = torch.tensor([p / (1 - p) for p in probabilities])
    return torch.stack([torch.zeros(len(odds)), odds.log()], dim=1)


def test_scores_by_hand():
    """Five images: class 1 has 2 hits, 1 false alarm and 1 miss, class 0 a hit, a false alarm and a miss.

    F1: 4/6 and 2/4. AUC: of 3 x 2 pairs, only 0.3 against 0.6 is the wrong way round. The confidences 0.9, 0.6, 0.7,
    0.8, 0.8 are right, wrong, wrong, right, right.
    """
    found = classification_scores(two_classes([0.9, 0.6, 0.3, 0.2, 0.8]), torch.tensor([1, 0, 1, 0, 1]))
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["auc"] == pytest.approx(5 / 6)
    assert found["calibration_error"] == pytest.approx((0.1 + 0.6 + 0.7 + 0.2 + 0.2) / 5, abs=1e-6)
    expected = -sum(map(math.log, (0.9, 0.4, 0.3, 0.8, 0.8))) / 5
    assert found["nll"] == pytest.approx(expected, abs=1e-6)


def test_calibration_is_that_of_bins_not_of_images():
    """0.75 and 0.77 share a bin of width 1/15, and one of the two is right: |0.76 - 0.5|."""
    found = classification_scores(two_classes([0.75, 0.77]), torch.tensor([1, 0]))
    assert found["calibration_error"] == pytest.approx(0.26, abs=1e-6)


def test_perfect_and_reversed_scores():
    classes = torch.tensor([0, 1, 2, 0, 1, 2])
    perfect = classification_scores(100 * torch.nn.functional.one_hot(classes, 3).float(), classes)
    best = {"accuracy": 1, "macro_f1": 1, "auc": 1, "calibration_error": 0, "nll": 0}
    assert perfect == pytest.approx(best, abs=1e-6)
    wrong = classification_scores(-100 * torch.nn.functional.one_hot(classes, 3).float(), classes)
    assert wrong["accuracy"] == wrong["auc"] == 0.0


def test_auc_of_saturated_logits_does_not_tie():
    """The probabilities of log-odds above 40 are all 1, even in float64; their order is still known."""
    logits = torch.tensor([[0.0, 42.0], [0.0, 44.0], [0.0, 46.0], [0.0, 48.0]])
    assert (logits.double().softmax(dim=1)[:, 1] == 1).all()
    assert classification_scores(logits, torch.tensor([0, 0, 1, 1]))["auc"] == 1.0
    assert classification_scores(logits, torch.tensor([0, 1, 0, 1]))["auc"] == 0.75


def test_a_constant_on_all_logits_of_an_image_says_nothing():
    generator = torch.Generator().manual_seed(0)
    logits, classes = torch.randn(30, 3, generator=generator), torch.arange(30) % 3
    shifted = logits + 20 * torch.randn(30, 1, generator=generator)
    assert classification_scores(shifted, classes) == pytest.approx(classification_scores(logits, classes), abs=1e-5)


def test_overconfidence_costs_likelihood_and_calibration_only():
    classes = torch.tensor([1, 0, 1, 0, 1])
    logits = two_classes([0.9, 0.6, 0.3, 0.2, 0.8])
    mild, bold = classification_scores(logits, classes), classification_scores(20 * logits, classes)
    assert bold["accuracy"] == mild["accuracy"] and bold["auc"] == mild["auc"]
    assert bold["nll"] > mild["nll"] and bold["calibration_error"] == pytest.approx(0.4, abs=0.01)


def test_a_class_without_images_is_refused():
    with pytest.raises(UserError, match="no images of class 1: expected some of each of the 3 classes"):
        classification_scores(torch.zeros(4, 3), torch.tensor([0, 2, 2, 0]))


def test_interval_by_hand():
    """1, 2, 3, 4: mean 2.5, variance 5/3; Student's t at 97.5 % with 3 degrees of freedom is 3.182446 in tables."""
    found = interval([1.0, 2.0, 3.0, 4.0])
    half = 3.182446 * math.sqrt(5 / 3 / 4)
    assert (found.mean, found.count) == (2.5, 4)
    assert found.low == pytest.approx(2.5 - half, abs=1e-5) and found.high == pytest.approx(2.5 + half, abs=1e-5)


def test_interval_covers_the_truth_as_often_as_it_says():
    """Of 1000 intervals at 80 %, 800 within four standard errors."""
    draws = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    covered = sum(found.low < 0 < found.high for found in (interval(row, 0.8) for row in draws))
    assert covered == pytest.approx(800, abs=4 * math.sqrt(160))


def test_one_run_has_no_interval():
    assert interval([0.7]) == (pytest.approx(0.7), None, None, 1)
    assert paired_difference([0.7], [0.6]) == (pytest.approx(0.1), None, None, 1)


def test_means_are_shown_with_what_intervals_there_are():
    assert mean_and_half(0.51234, 0.5) == "0.5123 ± 0.0123" and mean_and_half(0.5, None, 2, "+") == "+0.50"
    assert mean_and_ends(-0.0123, -0.02, 0.0046) == "-0.0123 [-0.0200, +0.0046]"
    assert mean_and_ends(0.0123, None, None, 3) == "+0.012"


def test_shared_luck_cancels_in_pairs():
    """Two methods 0.05 apart whose runs share a seed's luck of 0.1: pairs tell them apart, single intervals don't."""
    luck = torch.randn(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.1
    own = 0.001 * torch.tensor([1, -1, 0, 1, 0, -1], dtype=torch.float64)
    better, worse = (0.85 + luck + own).tolist(), (0.80 + luck).tolist()
    paired = paired_difference(better, worse)
    assert paired.mean == pytest.approx(0.05) and paired.low > 0.04
    assert interval(better).low < interval(worse).mean < interval(better).high
    assert paired.high - paired.low < (interval(better).high - interval(better).low) / 20
    assert paired_difference(worse, better).mean == pytest.approx(-0.05)


def test_unequal_runs_can_not_be_paired():
    with pytest.raises(ValueError, match="2 and 1 runs can't be paired"):
        paired_difference([1.0, 2.0], [1.0])


def test_a_missing_package_is_named_before_anything_is_trained(monkeypatch):
    check_packages()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "sklearn" else object())
    with pytest.raises(UserError, match="need the package sklearn.*pip install .*scikit-learn"):
        check_packages()
