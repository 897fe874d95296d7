"""Logistic regression on features: what it learns, by features of known classes in place of EfficientNet's."""
import dataclasses

import numpy as np
import pytest
import torch
from sklearn import model_selection
from sklearn.linear_model import LogisticRegression

from add.classification import feature_classifier
from add.classification.classifier import ClassifierConfig
from add.classification.cross_fitted import cross_fit
from add.classification.feature_classifier import FeatureClassifier, as_network, features_of, fit_features
from add.classification.labelled_images import Labelled
from add.errors import UserError


@pytest.fixture
def projected(monkeypatch):
    """In place of EfficientNet: a fixed random projection of the pixels to 6 features. Counts what it was asked for."""
    seen = []
    weight = torch.randn(48, 6, generator=torch.Generator().manual_seed(5))

    def extract(images):
        seen.append(len(images))
        return images.flatten(1) @ weight

    monkeypatch.setattr(feature_classifier, "DIM", 6)
    monkeypatch.setattr(feature_classifier, "_KEPT", {})
    monkeypatch.setattr(feature_classifier, "_extractor", lambda: extract)
    return seen


def toy_images(count, num_classes=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    classes = torch.arange(count) % num_classes
    images = 0.3 * torch.randn(count, 3, 4, 4, generator=generator) + classes[:, None, None, None] - 0.5
    return Labelled(images, torch.eye(num_classes)[classes])


@pytest.mark.parametrize("num_classes", [2, 3])
def test_classes_that_features_tell_apart_are_learnt(projected, num_classes):
    network = fit_features(toy_images(30, num_classes), "dihedral", seed=0)
    test = toy_images(60, num_classes, seed=1)
    logits = network(test.images)
    assert logits.shape == (60, num_classes)
    assert (logits.argmax(dim=1) == test.labels.argmax(dim=1)).float().mean() > 0.95


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_network_says_what_the_regression_says(projected, num_classes):
    test = toy_images(12, num_classes)
    features = features_of(test.images).numpy()
    fitted = LogisticRegression().fit(features, test.labels.argmax(dim=1).numpy())
    network = as_network(fitted.coef_, fitted.intercept_, num_classes)
    found = network(test.images).softmax(dim=1).detach().numpy()
    assert found == pytest.approx(fitted.predict_proba(features), abs=1e-5)


def test_soft_labels_of_generated_images_move_the_border(projected):
    real, between = toy_images(60), toy_images(60, seed=2)
    between = Labelled(torch.zeros_like(between.images) + 0.1 * between.images, torch.full((60, 2), 0.5))
    shifted = Labelled(between.images, torch.tensor([[0.9, 0.1]]).expand(60, 2))

    def log_odds(synthetic):
        logits = fit_features(real, "none", 0, synthetic, 0.5)(between.images)
        return float((logits[:, 1] - logits[:, 0]).mean().detach())

    assert abs(log_odds(between)) < 0.3 and log_odds(shifted) == pytest.approx(np.log(1 / 9), abs=0.5)


def test_the_real_images_once_more_change_nothing(projected):
    real = toy_images(40)
    alone, twice = (fit_features(real, "none", 0, *more)(real.images) for more in ((), (real, 0.5)))
    torch.testing.assert_close(alone, twice, rtol=0, atol=2e-3)


def test_soft_labels_are_the_soft_cross_entropy(projected):
    real, synthetic = toy_images(20), toy_images(30, seed=3)
    synthetic = Labelled(synthetic.images, torch.rand(30, 1, generator=torch.Generator().manual_seed(1)).repeat(1, 2))
    synthetic.labels[:, 1] = 1 - synthetic.labels[:, 0]
    network = fit_features(real, "none", 0, synthetic, 0.25)
    slopes = []
    for move in (-1e-3, 1e-3):  # along the bias, which no penalty holds: the loss is flat there
        logits = [network(data.images).double() + torch.tensor([0, move]) for data in (real, synthetic)]
        own, other = (-(data.labels * each.log_softmax(dim=1)).sum(dim=1).mean()
                      for data, each in zip((real, synthetic), logits, strict=True))
        slopes.append(float((0.75 * own + 0.25 * other).detach()))
    assert (slopes[1] - slopes[0]) / 2e-3 == pytest.approx(0, abs=1e-3)


def test_a_feature_that_real_images_lack_decides_nothing(monkeypatch):
    """Generated images of the first class have a little of it, and so has one test image of the second."""
    monkeypatch.setattr(feature_classifier, "DIM", 3)
    monkeypatch.setattr(feature_classifier, "_KEPT", {})
    monkeypatch.setattr(feature_classifier, "_extractor", lambda: lambda images: images[:, :, 0, 0])
    real = toy_images(40)
    real.images[:, 2] = 0
    generated = toy_images(40, seed=1)
    generated.images[:, 2] = 0.1 * generated.labels[:, :1, None]
    test = toy_images(10, seed=2)
    test.images[:, 2] = 0
    test.images[1, 2] = 0.1
    logits = fit_features(real, "none", 0, generated, 0.5)(test.images)
    log_odds = (logits[:, 1] - logits[:, 0]).detach()
    assert log_odds.abs().max() < 30 and (log_odds > 0).eq(test.labels[:, 1] == 1).float().mean() >= 0.8


def test_features_of_an_image_are_computed_once(projected, monkeypatch):
    images = toy_images(8).images
    first = features_of(images)
    assert torch.equal(features_of(images.clone()), first) and projected == [8]
    mixed = features_of(torch.cat([images[6:], images + 1]))
    assert torch.equal(mixed, torch.cat([first[6:], features_of(images + 1)]))
    assert projected == [8, 8] and features_of(images[:0]).shape == (0, 6)
    monkeypatch.setattr(feature_classifier, "MOST_KEPT", 16)
    assert torch.equal(features_of(torch.cat([images[:1], images - 1]))[0], first[0])
    assert len(feature_classifier._KEPT) == 9 and projected == [8, 8, 9]


def test_members_of_an_ensemble_can_be_regressions_on_features(projected):
    real, test = toy_images(40), toy_images(20, seed=4)
    fitted = cross_fit(*(real.images[real.labels[:, k] == 1] for k in (0, 1)), ClassifierConfig(), folds=4,
                       fit=lambda images, seed: fit_features(images, "dihedral", seed))
    positions = fitted.positions(test.images)
    assert len(fitted.members) == 4 and all(isinstance(member, FeatureClassifier) for member in fitted.members)
    assert positions[test.labels[:, 0] == 1].mean() == pytest.approx(0, abs=0.2)
    assert positions[test.labels[:, 1] == 1].mean() == pytest.approx(1, abs=0.2)


def test_a_state_is_the_linear_layer_alone(projected):
    assert set(as_network(np.ones((1, 6)), np.ones(1), 2).state_dict()) == {"head.weight", "head.bias"}


@pytest.mark.parametrize(("groups", "number"), [(None, 5), ([0, 0, 1, 1, 2, 2] * 5, 3), ([0, 1] * 15, 5)])
def test_the_penalty_is_chosen_by_parts_that_divide_no_group(projected, monkeypatch, groups, number):
    """An image, without groups; by image as well where a class comes from one group, so that no part could do."""
    asked, search = [], model_selection.GridSearchCV
    monkeypatch.setattr(model_selection, "GridSearchCV",
                        lambda *given, cv, **more: asked.append(cv) or search(*given, cv=cv, **more))
    real = dataclasses.replace(toy_images(30), groups=None if groups is None else np.array(groups))
    fit_features(real, "mirror", seed=0)
    (parts,) = asked
    assert len(parts) == number
    kept_together = np.tile(np.arange(30) if groups is None or len(set(groups)) == 2 else groups, 2)
    for train, held_out in parts:
        assert not set(kept_together[train]) & set(kept_together[held_out]) and len(train) + len(held_out) == 60


def test_a_class_of_one_image_is_refused(projected):
    with pytest.raises(UserError, match="a class has 1 training image: expected 2 or more of each"):
        fit_features(toy_images(30).subset(torch.tensor([0, 1, 2])), "none", seed=0)
