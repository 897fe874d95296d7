"""Classifiers of every method and seed: trained once, kept with their weights, and scored on test sets."""
import dataclasses
import hashlib
import json

import numpy as np
import torch

from add.classification.classifier import build_network, predict_logits
from add.classification.classifier_methods import train_method
from add.classification.labelled_images import Labelled
from add.classification.scores import classification_scores, linked_scores, severity_scores
from add.data.files import save_json, save_torch
from add.errors import UserError


@dataclasses.dataclass(frozen=True)
class TestSet:
    """Held-out images: name, Labelled, and the known severities float64 [n] or None."""

    name: str
    data: Labelled
    severity: np.ndarray | None


def train_run(method, share, seed, real, validation, synthetic, digest, classifier_config, out_dir):
    """Return the record of one run, trained now if it is not there; `digest` is that of its synthetic images."""
    record_path, weights_path = run_paths(method, share, seed, out_dir)
    if record_path.exists() and weights_path.exists():
        record = json.loads(record_path.read_text())
        if record["synthetic_sha256"] != digest:
            raise UserError(f"{record_path} was made with other synthetic images or labels: give the same ones to "
                            f"continue, or another --out_dir")
        return record
    network = train_method(method, real.data, synthetic, classifier_config, share, seed)
    scores = classification_scores(predict_logits(network, validation.images), validation.labels.argmax(dim=1))
    save_torch(weights_path, network.state_dict())
    record = {"method": method.name, "share": share, "seed": seed, "synthetic_sha256": digest, "validation": scores}
    save_json(record_path, record)
    return record


def score_runs(method, share, test, validation, domain_means, config, classifier_config, out_dir):
    """Return the scores on a test set of each seed's classifier, a list of {score: float}.

    Args:
        method: Method. share: of synthetic images, of the runs that were chosen.
        test: TestSet. validation: Labelled, whose two domains' means are the ends of the linked scores.
        domain_means: mean severity of each domain's training images, or None.
        config: num_seeds and seed. classifier_config: ClassifierConfig. out_dir: where the runs lie.
    """
    num_classes = test.data.labels.shape[1]
    classes = test.data.labels.argmax(dim=1)
    found = []
    for i in range(config.num_seeds):
        network = build_network(classifier_config.network, num_classes).to(memory_format=torch.channels_last)
        weights = run_paths(method, share, config.seed + i, out_dir)[1]
        network.load_state_dict(torch.load(weights, weights_only=True))
        logits = predict_logits(network.eval(), test.data.images)
        scores = classification_scores(logits, classes)
        graded = test.severity is not None and domain_means is not None
        if num_classes == 2:
            ends = predict_logits(network, validation.images), validation.labels.argmax(dim=1)
            scores |= severity_scores(logits, test.severity, domain_means) if graded else {}
            scores |= linked_scores(logits, classes, *ends, *((test.severity, domain_means) if graded else ()))
        found.append(scores)
    return found


def run_paths(method, share, seed, out_dir):
    name = f"{method.name}_share{share:g}_seed{seed}" if method.source else f"{method.name}_seed{seed}"
    return out_dir / "runs" / f"{name}.json", out_dir / "runs" / f"{name}.pt"


def digest_of(data):
    """Return the SHA-256 of images and labels."""
    digest = hashlib.sha256(data.images.contiguous().numpy().tobytes())
    digest.update(data.labels.contiguous().numpy().tobytes())
    return digest.hexdigest()
