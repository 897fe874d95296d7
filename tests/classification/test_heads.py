"""What each head is taught, by hand, and what its outputs mean."""
import dataclasses
import math

import pytest
import torch

from add.classification.classifier import ClassifierConfig, predict_logits, train_classifier
from add.classification.grading import head_scores
from add.classification.heads import heads_loss, num_outputs, read_outputs, targets_of
from add.classification.labelled_images import Labelled, one_hot
from add.classification.mixing import mixup
from add.errors import UserError

BOTH = "class,severity"
SHORT = ClassifierConfig(steps=60, batch_size=16, lr=5e-3)


def grey(levels):
    """Return noisy 16 x 16 images of these brightnesses in [0, 1]."""
    noise = 0.1 * torch.randn(len(levels), 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return (noise + (2 * torch.tensor(levels) - 1)[:, None, None, None]).clamp(-1, 1)


def ends(count=12):
    return Labelled(grey([0.1] * count + [0.9] * count), one_hot(torch.arange(2).repeat_interleave(count), 2))


def between(count=24):
    """Return images from one end to the other whose soft labels are their brightness."""
    levels = torch.linspace(0.1, 0.9, count)
    share = (levels - 0.1) / 0.8
    return Labelled(grey(levels.tolist()), torch.stack([1 - share, share], dim=1))


@pytest.mark.parametrize(("heads", "expected"), [("class", 3), (BOTH, 4), ("severity", 1), ("coral", 2), ("corn", 2)])
def test_outputs_are_counted(heads, expected):
    assert num_outputs(heads, 3) == expected


def test_targets_by_hand():
    """Generated images within 0.1 of an end are of its class; others teach the severity alone."""
    labels = torch.tensor([[1.0, 0], [0.95, 0.05], [0.6, 0.4], [0.05, 0.95]])
    assert targets_of(labels, "class", generated=True) is labels
    found = targets_of(labels, BOTH, generated=True)
    assert found.tolist() == [pytest.approx(row) for row in (
        [1, 0, 1, 0], [1, 0, 1, 0.05], [1, 0, 0, 0.4], [0, 1, 1, 0.95])]
    torch.testing.assert_close(targets_of(labels, BOTH)[:, :2], labels)


def test_the_severity_of_three_grades_is_their_place():
    labels = torch.tensor([[0, 1.0, 0], [0.5, 0.5, 0], [0, 0.04, 0.96]])
    assert targets_of(labels, BOTH, generated=True)[:, -1].tolist() == pytest.approx([0.5, 0.25, 0.98])


def test_the_loss_by_hand():
    """Odds of 3:1 for the first image, whose class is taught: ln 4/3. Severities are off by 0.2 and 0.4."""
    outputs = torch.tensor([[math.log(3), 0.0, 0.2], [5.0, 0.0, 0.8]])
    targets = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0.4]])
    squares = (0.04 + 0.16) / 2
    assert heads_loss(outputs, targets, BOTH).item() == pytest.approx(math.log(4 / 3) + squares)
    assert heads_loss(outputs, targets, "severity").item() == pytest.approx(squares)
    assert heads_loss(outputs[1:], targets[1:], BOTH).item() == pytest.approx(0.16)


def test_images_between_move_no_class_logit():
    outputs = torch.zeros(2, 3, requires_grad=True)
    labels = torch.tensor([[0.2, 0.8], [0.98, 0.02]])
    heads_loss(outputs, targets_of(labels, BOTH, generated=True), BOTH).backward()
    assert outputs.grad[0, :2].tolist() == [0, 0] and outputs.grad[1, :2].abs().min() > 0.1
    assert outputs.grad[:, 2].abs().min() > 0


def test_a_mixed_image_teaches_the_class_where_both_parts_do():
    real, generated = targets_of(torch.eye(2), BOTH), targets_of(torch.tensor([[0.4, 0.6]]), BOTH, generated=True)
    targets = mixup(torch.zeros(3, 3, 8, 8), torch.cat([real, generated]), 0.7, torch.tensor([1, 2, 0]))[1]
    outputs = torch.zeros(3, 3, requires_grad=True)
    heads_loss(outputs, targets, BOTH).backward()
    assert [row.abs().max() > 0 for row in outputs.grad[:, :2]] == [True, False, False]
    assert targets[:, -1].tolist() == pytest.approx([0.3, 0.88, 0.42])


def test_outputs_are_read_by_their_heads():
    outputs = torch.tensor([[1.0, 2, 0.3], [3, 4, 1.2]])
    assert read_outputs(outputs, "class", 3) == (outputs, None)
    logits, severity = read_outputs(outputs, BOTH, 2)
    assert logits.tolist() == [[1, 2], [3, 4]] and severity.tolist() == pytest.approx([0.3, 1.2])


def test_logits_of_a_severity_alone_choose_the_nearest_grade():
    """Their log-odds grow in a straight line, 4 a unit, from half way: the link sees the severity itself."""
    severity = torch.tensor([[-0.2], [0.45], [0.55], [1.0]])
    logits, found = read_outputs(severity, "severity", 2)
    assert (logits[:, 1] - logits[:, 0]).tolist() == pytest.approx([-2.8, -0.2, 0.2, 2])
    assert found.tolist() == pytest.approx(severity[:, 0].tolist())
    assert read_outputs(torch.tensor([[0.2], [0.3], [0.8]]), "severity", 3)[0].argmax(dim=1).tolist() == [0, 1, 2]


def test_both_heads_learn_from_one_network():
    """Images between are graded as they are, and classes stay sure, where soft labels would have softened them."""
    both = train_classifier(ends(), SHORT, 0, between(), 0.5, heads=BOTH)
    soft = train_classifier(ends(), SHORT, 0, between(), 0.5)
    test = between(9)
    logits, severity = read_outputs(predict_logits(both, test.images), BOTH, 2)
    assert (severity - test.labels[:, 1]).abs().mean() < 0.12
    assert (logits.argmax(dim=1) == test.labels.argmax(dim=1))[[0, 1, -2, -1]].all()
    confidence = [own.softmax(dim=1).max(dim=1).values.mean() for own in (logits, predict_logits(soft, test.images))]
    assert confidence[0] > confidence[1]


def test_the_default_head_is_that_of_earlier_versions():
    short = dataclasses.replace(SHORT, steps=3)
    first, second = (train_classifier(ends(), short, 0, between(), 0.5, **given) for given in ({}, {"heads": "class"}))
    assert torch.equal(first.head.weight, second.head.weight) and first.head.out_features == 2


def test_head_scores_by_hand():
    """Severities -0.1, 0.3, 0.6, 0.9 of grades 0, 1, 1, 2 of three: nearest are 0, 1, 1, 2."""
    found = head_scores(torch.tensor([-0.1, 0.3, 0.6, 0.9]), torch.tensor([0, 1, 1, 2]), 3)
    assert found == {"halfway_accuracy_head": 1, "kappa_quadratic_head": 1}
    assert head_scores(torch.tensor([0.6, 1.7]), torch.tensor([0, 1]), 2) == {"halfway_accuracy_head": 0.5}


def test_unknown_heads_are_refused():
    with pytest.raises(UserError, match="heads 'grade' are unknown: expected one of class; class,severity; severity"):
        train_classifier(ends(), SHORT, 0, heads="grade")
