"""Logistic regression on features: what it learns, by features of known classes in place of EfficientNet's."""
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from add.classification import feature_classifier
from add.classification.feature_classifier import as_network, features_of, fit_features
from add.classification.labelled_images import Labelled


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


def test_features_are_computed_once(projected):
    images = toy_images(8).images
    first = features_of(images)
    assert torch.equal(features_of(images.clone()), first) and projected == [8]
    features_of(images + 1)
    assert projected == [8, 8]


def test_a_state_is_the_linear_layer_alone(projected):
    assert set(as_network(np.ones((1, 6)), np.ones(1), 2).state_dict()) == {"head.weight", "head.bias"}
