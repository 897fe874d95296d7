"""Every score says how to read it, and which way is better."""
import numpy as np
import pytest
import torch

from add.classification.grading import DomainSeverities, fit_link, linked_scores
from add.classification.score_reads import lower_is_better, reading_lines
from add.classification.scores import classification_scores


@pytest.fixture(scope="module")
def scores():
    """Those of three classes, graded well and, with the logits turned around, badly."""
    severity = np.linspace(0, 1, 30)
    classes = torch.from_numpy((severity[:, None] > [0.33, 0.66]).sum(axis=1))
    known = DomainSeverities([0.1, 0.5, 0.9], [(0, 0.2), (0.45, 0.55), (0.8, 1)])
    grades = torch.from_numpy(severity)[:, None] * 2
    logits = -4 * (grades - torch.arange(3)) ** 2
    link = fit_link(logits, classes)
    return [classification_scores(own, classes) | linked_scores(own, classes, link, severity, known)
            for own in (logits, logits.flip(1))]


def test_no_score_is_left_unexplained(scores):
    lines = reading_lines(scores[0])
    said = {line[2:].split(":")[0] for line in lines}
    assert said == {score for score in scores[0] if not score.endswith(("_ends", "_middle"))} | {"_ends", "_middle"}
    assert reading_lines(["auc"]) == [line for line in lines if line.startswith("- auc: ")]


def test_the_better_way_is_that_of_better_grading(scores):
    good, bad = scores
    assert all(lower_is_better(score) == (good[score] < bad[score]) for score in good)
    assert len({lower_is_better(score) for score in good}) == 2
