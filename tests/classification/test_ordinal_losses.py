"""CORAL and CORN: their losses by hand, and that they learn the order of three grades."""
import math

import pytest
import torch

from add.classification.classifier import ClassifierConfig, build_for_heads, predict_logits, train_classifier
from add.classification.heads import read_outputs
from add.classification.labelled_images import Labelled, expected_positions, one_hot
from add.classification.ordinal_losses import (
    Thresholds,
    coral_log_probabilities,
    coral_loss,
    corn_log_probabilities,
    corn_loss,
    shares_above,
)


def logit(p):
    return math.log(p / (1 - p))


def test_what_lies_above_each_border():
    labels = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.2, 0.3, 0.5]])
    torch.testing.assert_close(shares_above(labels), torch.tensor([[0, 0], [1, 0], [1, 1], [0.8, 0.5]]))


def test_coral_by_hand():
    """Probabilities 0.8 and 0.3 of the two borders, of an image of the middle grade."""
    logits = torch.tensor([[logit(0.8), logit(0.3)]])
    assert coral_loss(logits, one_hot(torch.tensor([1]), 3)).item() == pytest.approx(-math.log(0.8) - math.log(0.7))
    assert coral_log_probabilities(logits).exp()[0].tolist() == pytest.approx([0.2, 0.5, 0.3])


def test_corn_by_hand():
    """Of the lowest grade border 1 alone counts; of the highest both do: three terms in all."""
    logits = torch.tensor([[logit(0.8), logit(0.3)]] * 2)
    labels = one_hot(torch.tensor([0, 2]), 3)
    expected = -(math.log(0.2) + math.log(0.8) + math.log(0.3)) / 3
    assert corn_loss(logits, labels).item() == pytest.approx(expected)
    assert corn_log_probabilities(logits).exp()[0].tolist() == pytest.approx([0.2, 0.8 * 0.7, 0.8 * 0.3])


def test_an_image_of_the_lowest_grade_teaches_corn_s_higher_borders_nothing():
    logits = torch.zeros(1, 3, requires_grad=True)
    corn_loss(logits, one_hot(torch.tensor([0]), 4)).backward()
    assert logits.grad[0, 0] > 0 and logits.grad[0, 1:].tolist() == [0, 0]


def test_of_two_classes_both_are_binary_cross_entropy():
    logits, labels = torch.tensor([[0.7], [-1.2]]), one_hot(torch.tensor([1, 1]), 2)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], torch.ones(2))
    torch.testing.assert_close(coral_loss(logits, labels), expected)
    torch.testing.assert_close(corn_loss(logits, labels), expected)


def test_coral_s_thresholds_fall_and_share_one_score():
    found = Thresholds(3)(torch.tensor([[0.0], [2.0]]))
    assert (found.diff(dim=1) < 0).all() and torch.equal(found[1] - found[0], torch.full((3,), 2.0))
    assert sum(own.numel() for name, own in build_for_heads("small_resnet", "coral", 4).named_parameters()
               if name.startswith(("0.head", "1."))) == 64 + 1 + 3


@pytest.mark.parametrize("heads", ["coral", "corn"])
def test_three_grades_are_learnt_in_order(heads):
    grades = torch.arange(3).repeat(12)
    noise = 0.1 * torch.randn(36, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    real = Labelled((noise + 0.7 * (grades - 1)[:, None, None, None]).clamp(-1, 1), one_hot(grades, 3))
    network = train_classifier(real, ClassifierConfig(steps=60, batch_size=16, lr=5e-3), 0, heads=heads)
    logits, severity = read_outputs(predict_logits(network, real.images), heads, 3)
    assert severity is None and (logits.argmax(dim=1) == grades).float().mean() > 0.9
    places = expected_positions(logits.softmax(dim=1))
    assert places[grades == 0].mean() < 0.2 < 0.4 < places[grades == 1].mean() < 0.6 < places[grades == 2].mean()
