"""Labels that say what was measured are perfect; others are told from them in the way they are wrong."""
import numpy as np
import pytest

from add.classification.label_quality import label_quality, mean_by_place, severity_measure
from add.data import tissue

SEVERITY = np.linspace(0.1, 0.9, 41)
MEANS = (0.2, 0.7)
TRUTH = ((SEVERITY - 0.2) / 0.5).clip(0, 1)


def test_true_labels_have_no_error():
    quality = label_quality(TRUTH, SEVERITY, *MEANS)
    assert quality.calibration_error == pytest.approx(0, abs=1e-12)
    assert quality.rmse == pytest.approx(0, abs=1e-12)
    assert quality.spearman > 0.98  # labels that are cut off at the ends tie


def test_shifted_labels_are_ranked_right_and_calibrated_wrongly():
    inside = (TRUTH > 0.1) & (TRUTH < 0.8)
    quality = label_quality(TRUTH[inside] + 0.1, SEVERITY[inside], *MEANS)
    assert quality.spearman == pytest.approx(1)
    assert quality.calibration_error == pytest.approx(0.1) and quality.rmse == pytest.approx(0.1)


def test_labels_of_the_other_domain_are_ranked_backwards():
    assert label_quality(1 - TRUTH, SEVERITY, *MEANS).spearman < -0.98


def test_chance_that_averages_out_is_an_error_but_no_calibration_error():
    labels = np.full(1000, 0.55)
    truth = np.where(np.arange(1000) % 2, 0.35, 0.75)
    quality = label_quality(np.append(labels, 0.0), np.append(truth, 0.0), 0, 1)
    assert quality.calibration_error == pytest.approx(0, abs=1e-12)
    assert quality.rmse == pytest.approx(0.2, rel=1e-3)


def test_mean_by_place():
    assert mean_by_place(np.array([1.0, 2.0, 3.0, 6.0]), np.array([1, 2, 1, 2])) == [2.0, 4.0]


def test_measure_of_tissue_is_the_share_of_brown():
    brown, blue = np.array([150, 100, 60], dtype=np.uint8), np.array([60, 60, 150], dtype=np.uint8)
    image = np.stack([np.tile(brown, (8, 1)), *[np.tile(blue, (8, 1))] * 3])
    assert tissue.stain_masks(image)["brown"].mean() == 0.25
    assert severity_measure("tissue", 8)(image[None]).tolist() == [0.25]


def test_folders_of_users_have_no_measure():
    assert severity_measure("data/mine", 32) is None
