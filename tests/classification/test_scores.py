"""Scores and intervals against values worked out by hand."""
import math

import numpy as np
import pytest
import torch

from add.classification.scores import (
    check_packages,
    classification_scores,
    interval,
    linked_positions,
    linked_scores,
    paired_difference,
    severity_scores,
)
from add.errors import UserError


def two_classes(probabilities):
    """Return the logits [n, 2] whose probabilities of class 1 these are."""
    odds = torch.tensor([p / (1 - p) for p in probabilities])
    return torch.stack([torch.zeros(len(odds)), odds.log()], dim=1)


def log_odds(*values):
    """Return logits [n, 2] with these log-odds of class 1."""
    values = torch.tensor([float(value) for value in values])
    return torch.stack([torch.zeros(len(values)), values], dim=1)


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


def test_severity_scores_by_hand():
    """Means 0.2 and 0.8 put severities 0.2, 0.5, 0.8 at 0, 0.5, 1; probabilities 1/4, 1/2, 3/4 err by 1/4, 0, 1/4."""
    found = severity_scores(two_classes([0.25, 0.5, 0.75]), np.array([0.2, 0.5, 0.8]), (0.2, 0.8))
    assert found["severity_spearman"] == pytest.approx(1.0)
    assert found["severity_rmse"] == pytest.approx(math.sqrt(0.125 / 3), abs=1e-6)


def test_severities_beyond_the_means_count_as_the_means():
    inner, outer = (severity_scores(two_classes([0.25, 0.5, 0.75]), np.array(severity), (0.2, 0.8))
                    for severity in ([0.2, 0.5, 0.8], [0.0, 0.5, 1.0]))
    assert outer == pytest.approx(inner)


def test_reversed_grading_is_seen():
    found = severity_scores(two_classes([0.75, 0.5, 0.25]), np.array([0.2, 0.5, 0.8]), (0.2, 0.8))
    assert found["severity_spearman"] == pytest.approx(-1.0)
    assert found["severity_rmse"] == pytest.approx(math.sqrt(2 * 0.75**2 / 3), abs=1e-6)


def test_rank_correlation_sees_saturated_logits():
    logits = torch.tensor([[0.0, 42.0], [0.0, 44.0], [0.0, 46.0]])
    assert severity_scores(logits, np.array([0.1, 0.2, 0.3]), (0, 1))["severity_spearman"] == pytest.approx(1.0)


def test_linked_scores_by_hand():
    """Validation log-odds of -3, -1 and 1, 5 make the line from -2 (0) to 3 (1); 0.5, its middle, parts the classes."""
    validation, ends = log_odds(-3, -1, 1, 5), torch.tensor([0, 0, 1, 1])
    assert linked_positions(torch.tensor([-9.0, -2.0, 0.5, 2.0, 9.0]), torch.tensor([-3.0, -1.0]),
                            torch.tensor([1.0, 5.0])).tolist() == pytest.approx([0, 0, 0.5, 0.8, 1])
    found = linked_scores(log_odds(-9, 0.4, 2), torch.tensor([0, 1, 1]), validation, ends, np.array([0.2, 0.5, 0.9]),
                          (0.2, 0.8))
    assert found["halfway_accuracy"] == pytest.approx(2 / 3)  # the second image, whose probability is 0.6, is too low
    assert found["severity_rmse_linked"] == pytest.approx(math.sqrt((0 + 0.02**2 + 0.2**2) / 3), abs=1e-6)
    assert linked_scores(log_odds(-9, 0.4, 2), torch.tensor([0, 1, 1]), validation, ends).keys() == {"halfway_accuracy"}


def test_confidence_changes_the_softmax_error_and_not_the_linked_one():
    generator = torch.Generator().manual_seed(0)
    severity = torch.linspace(0, 1, 50, dtype=torch.float64)
    logits = log_odds(*(4 * severity - 2 + 0.3 * torch.randn(50, generator=generator)))
    classes = (severity > 0.5).long()
    given = severity.numpy(), (0.1, 0.9)
    ends = torch.tensor([0] * 10 + [1] * 10)
    plain, bold = (linked_scores(c * logits, classes, c * logits[[*range(10), *range(40, 50)]], ends, *given)
                   for c in (1, 10))
    assert bold == pytest.approx(plain, abs=1e-7) and plain["severity_rmse_linked"] < 0.12
    softmax = [severity_scores(c * logits, *given)["severity_rmse"] for c in (1, 10)]
    assert softmax[1] > softmax[0] + 0.1


def test_a_classifier_that_can_not_tell_the_ends_apart_places_everything_half_way():
    found = linked_scores(log_odds(-1, 3), torch.tensor([0, 1]), log_odds(2, 1), torch.tensor([0, 1]),
                          np.array([0.0, 1.0]), (0, 1))
    assert found == {"halfway_accuracy": 0.5, "severity_rmse_linked": 0.5}


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


def test_constant_scores_have_no_rank_correlation():
    found = severity_scores(two_classes([0.5, 0.5, 0.5]), np.array([0.1, 0.5, 0.9]), (0.1, 0.9))
    assert found == {"severity_spearman": 0.0, "severity_rmse": pytest.approx(math.sqrt((0.25 + 0 + 0.25) / 3))}


def test_a_missing_package_is_named_before_anything_is_trained(monkeypatch):
    check_packages()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "sklearn" else object())
    with pytest.raises(UserError, match=r'need the package sklearn.*pip install "add-diffusion\[eval\]"'):
        check_packages()
