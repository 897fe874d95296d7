"""The training loop learns what it is given, in the shares it is given, and depends on nothing but its seed."""
import dataclasses
import math
import sys

import pytest
import torch
from torch.nn import functional as F

from add.classification import classifier
from add.classification.classifier import (
    ClassifierConfig,
    build_network,
    predict_logits,
    train_classifier,
)
from add.classification.heads import soft_cross_entropy
from add.classification.labelled_images import Labelled, one_hot
from add.errors import UserError

SHORT = ClassifierConfig(steps=30, batch_size=8, lr=5e-3)


def toy(count=12, seed=0, flipped=False):
    """Return `count` dark images of class 0 and as many bright ones of class 1; `flipped` labels them wrongly."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.arange(2).repeat_interleave(count)
    images = 0.3 * torch.randn(2 * count, 3, 16, 16, generator=generator) + (classes - 0.5)[:, None, None, None]
    return Labelled(images.clamp(-1, 1), one_hot(1 - classes if flipped else classes, 2))


def accuracy(network, data):
    return (predict_logits(network, data.images).argmax(dim=1) == data.labels.argmax(dim=1)).float().mean().item()


def same_weights(first, second):
    states = (network.state_dict().values() for network in (first, second))
    return all(torch.equal(a, b) for a, b in zip(*states, strict=True))


@pytest.fixture
def batches(monkeypatch):
    """The (images, labels) of every batch before mixing, noted while classifiers are trained."""
    seen, mix = [], classifier.mix

    def noted(images, labels, kind, generator):
        seen.append((images, labels))
        return mix(images, labels, kind, generator)

    monkeypatch.setattr(classifier, "mix", noted)
    return seen


def test_soft_cross_entropy_by_hand():
    """Logits (ln 3, 0) are the probabilities 3/4 and 1/4; a half of each label: -(ln 3/4 + ln 1/4) / 2 = 0.8370."""
    logits = torch.tensor([[math.log(3), 0.0]])
    assert soft_cross_entropy(logits, torch.tensor([[0.5, 0.5]])).item() == pytest.approx(0.836988, abs=1e-6)
    assert soft_cross_entropy(logits, torch.tensor([[1.0, 0.0]])).item() == pytest.approx(-math.log(0.75), abs=1e-6)


def test_hard_labels_give_the_usual_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits, classes = torch.randn(5, 3, generator=generator), torch.tensor([0, 2, 1, 1, 0])
    torch.testing.assert_close(soft_cross_entropy(logits, one_hot(classes, 3)), F.cross_entropy(logits, classes))


def test_the_least_loss_is_at_the_soft_label_itself():
    label = torch.tensor([[0.3, 0.7]])
    best = soft_cross_entropy(label.log(), label)
    for other in ([[0.2, 0.8]], [[0.4, 0.6]], [[0.0001, 0.9999]]):
        assert soft_cross_entropy(torch.tensor(other).log(), label) > best


def test_a_separable_problem_is_learnt():
    losses = []
    network = train_classifier(toy(), SHORT, seed=0, on_step=lambda step, loss: losses.append(loss))
    assert accuracy(network, toy(seed=1)) == 1.0
    assert len(losses) == 30 and sum(losses[-5:]) < sum(losses[:5]) / 4
    assert not network.training


def test_soft_labels_are_learnt_as_probabilities():
    """All images labelled 0.2 and 0.8: so says the network, whatever the image."""
    real = toy().images
    network = train_classifier(Labelled(real, torch.tensor([[0.2, 0.8]]).repeat(len(real), 1)), SHORT, seed=0)
    assert predict_logits(network, real).softmax(dim=1)[:, 1].mean().item() == pytest.approx(0.8, abs=0.05)


def test_the_seed_alone_decides_the_weights():
    short = dataclasses.replace(SHORT, steps=3)
    first = train_classifier(toy(), short, seed=5, mixing="cutmix")
    torch.manual_seed(123)
    torch.rand(7)
    assert same_weights(train_classifier(toy(), short, seed=5, mixing="cutmix"), first)
    assert not same_weights(train_classifier(toy(), short, seed=6, mixing="cutmix"), first)
    assert not same_weights(train_classifier(toy(), short, seed=5), first)


def test_global_random_numbers_are_left_alone():
    before = torch.get_rng_state()
    train_classifier(toy(), dataclasses.replace(SHORT, steps=2), seed=0, mixing="mixup")
    assert torch.equal(torch.get_rng_state(), before)


def test_training_works_where_gradients_are_off():
    with torch.no_grad():
        network = train_classifier(toy(), SHORT, seed=0)
    assert accuracy(network, toy(seed=1)) == 1.0


def test_wrong_synthetic_labels_ruin_it_where_they_are_most():
    wrong = toy(seed=2, flipped=True)
    assert accuracy(train_classifier(toy(), SHORT, 0, synthetic=wrong, share=0.9), toy(seed=1)) < 0.2
    assert accuracy(train_classifier(toy(), SHORT, 0, synthetic=wrong, share=0.1), toy(seed=1)) > 0.8


def test_no_share_is_the_same_as_no_synthetic_images():
    short = dataclasses.replace(SHORT, steps=2)
    assert same_weights(train_classifier(toy(), short, 0, synthetic=toy(flipped=True), share=0.0),
                        train_classifier(toy(), short, 0))


@pytest.mark.parametrize(("share", "expected"), [(0.25, 2), (0.5, 4), (0.9, 7), (0.99, 7)])
def test_batches_hold_the_share_of_synthetic_images(batches, share, expected):
    """One real image is left at least."""
    synthetic = Labelled(torch.ones(3, 3, 16, 16), torch.full((3, 2), 0.5))
    train_classifier(toy(), dataclasses.replace(SHORT, steps=2), 0, synthetic, share)
    for images, labels in batches:
        is_synthetic = (images == 1).all(dim=(1, 2, 3))
        assert len(images) == 8 and is_synthetic.sum() == expected
        assert torch.equal(is_synthetic, (labels == 0.5).all(dim=1))


def test_augmentation_turns_images_and_keeps_labels(batches):
    """Images with one bright corner, of a class each: every corner is met with turns, one without."""
    images = -torch.ones(4, 3, 16, 16)
    images[:, :, 0, 0] = torch.arange(4.0)[:, None]
    real = Labelled(images, torch.eye(4))
    for kind, corners in (("dihedral", 4), ("none", 1)):
        batches.clear()
        train_classifier(real, dataclasses.replace(SHORT, steps=5, augment=kind), 0)
        seen = torch.cat([images for images, _ in batches])[:, 0, ::15, ::15].flatten(1)
        labels = torch.cat([labels for _, labels in batches])
        assert torch.equal(seen.max(dim=1).values.long(), labels.argmax(dim=1))
        assert len(seen.argmax(dim=1).unique()) == corners


def test_learning_rate_rises_then_falls_to_nothing():
    factors = [classifier._lr_factor(step, 100) for step in range(101)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5) and factors[100] == pytest.approx(0, abs=1e-12)
    assert factors[:10] == sorted(factors[:10]) and factors[10:] == sorted(factors[10:], reverse=True)


def test_batch_size_does_not_change_predictions():
    network, images = train_classifier(toy(), dataclasses.replace(SHORT, steps=1), 0), toy().images
    torch.testing.assert_close(predict_logits(network, images, 5), predict_logits(network, images), rtol=0, atol=1e-5)


def test_subset_keeps_images_and_labels_together():
    part = toy().subset(torch.tensor([0, 23]))
    assert len(part) == 2 and part.labels.tolist() == [[1, 0], [0, 1]]
    assert part.images[0].mean() < 0 < part.images[1].mean()


@pytest.mark.parametrize(("options", "message"), [
    ({"share": 0.5}, "share of 0.5 was asked for without synthetic images"),
    ({"share": 1.0, "synthetic": toy()}, "expected 0 <= share < 1"),
    ({"share": -0.1, "synthetic": toy()}, "expected 0 <= share < 1"),
    ({"mixing": "blur"}, "mixing 'blur' is unknown"),
])
def test_refusals(options, message):
    with pytest.raises(UserError, match=message):
        train_classifier(**{"real": toy(), "config": SHORT, "seed": 0} | options)


def test_unknown_networks_are_refused():
    with pytest.raises(UserError, match="network 'vgg' is unknown: expected one of small_resnet"):
        build_network("vgg", 2)


def test_a_loss_that_is_no_number_stops_the_training():
    broken = toy().images * float("nan")
    with pytest.raises(UserError, match="loss is nan at step 0: lower --lr"):
        train_classifier(Labelled(broken, toy().labels), SHORT, 0)


@pytest.mark.parametrize(("options", "message"), [
    ({"steps": 0}, "--steps is 0, expected 1 or more"),
    ({"batch_size": 1}, "--batch_size is 1, expected 2 or more"),
    ({"lr": 0.0}, "--lr is 0.0, expected a number above 0"),
    ({"weight_decay": -1.0}, "--weight_decay is -1.0, expected 0 or more"),
])
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        ClassifierConfig(**options)


def test_a_missing_monai_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "monai", None)
    monkeypatch.setitem(sys.modules, "monai.networks", None)
    with pytest.raises(UserError, match=r'pip install .*monai`, or take --network small_resnet'):
        build_network("resnet18", 2)


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_networks_of_monai_train(name):
    pytest.importorskip("monai")
    config = ClassifierConfig(network=name, steps=1, batch_size=4)
    data = Labelled(toy().images.repeat(1, 1, 2, 2), toy().labels)
    first, second = (train_classifier(data, config, seed=0) for _ in range(2))
    assert same_weights(first, second)
    assert predict_logits(first, data.images[:3]).shape == (3, 2)


def test_densenet_refuses_images_that_it_halves_away():
    with pytest.raises(UserError, match="densenet121 was given images of 16 pixels: expected 32 or more"):
        train_classifier(toy(), ClassifierConfig(network="densenet121", steps=1), seed=0)


def test_balanced_batches_hold_every_class_equally_often(monkeypatch):
    """Of 30 dark images and 3 bright ones; without it, a batch has a tenth of the bright ones."""
    classes = torch.tensor([0] * 30 + [1] * 3)
    real = Labelled(classes[:, None, None, None].expand(-1, 3, 8, 8).float(), one_hot(classes, 2))
    shares = {}
    for balance in (False, True):
        seen = []

        def noted(images, targets, kind, generator, seen=seen):
            seen.append(targets[:, 1].mean().item())
            return images, targets

        monkeypatch.setattr(classifier, "mix", noted)
        train_classifier(real, ClassifierConfig(steps=40, batch_size=16, balance=balance), seed=0)
        shares[balance] = sum(seen) / len(seen)
    assert shares[True] == pytest.approx(0.5, abs=0.06) and shares[False] == pytest.approx(1 / 11, abs=0.04)
