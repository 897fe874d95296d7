"""Classifiers of every method and seed: trained once, kept with their weights, and scored on test sets."""
import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from add.classification.classifier import ClassifierConfig, build_network, predict_logits
from add.classification.classifier_methods import Method, train_method
from add.classification.labelled_images import Labelled
from add.classification.scores import classification_scores, linked_scores, severity_scores
from add.data.files import save_json, save_torch
from add.data.read_back import read_json
from add.errors import UserError
from add.interfaces import Count, Row
from add.training.checkpoints import load_weights, read_state

RECORD = {"synthetic_sha256": (None, str), "validation": {str: (None, float)}}


@dataclasses.dataclass(frozen=True)
class TestSet:
    """Held-out images: name, Labelled, the known severities float64 [n] or None, and the files."""

    name: str
    data: Labelled
    severity: np.ndarray | None
    paths: list[str]


@dataclasses.dataclass(frozen=True)
class ClassifierRuns:
    """The runs of a comparison, one for each method, share of synthetic images and seed, in a folder.

    folder: where a run's NAME.json (its scores) and NAME.pt (its weights) lie.
    real, validation: training images, and those to choose by. synthetic: {source of a Method: images}.
    config: of all classifiers.
    """

    folder: Path
    real: Labelled
    validation: Labelled
    synthetic: dict[str, Labelled]
    config: ClassifierConfig

    @functools.cached_property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of the synthetic images and labels of each source."""
        return {source: digest_of(data) for source, data in self.synthetic.items()}

    def is_there(self, method: Method, share: float, seed: int) -> bool:
        """Return whether one run is finished."""
        return all(path.exists() for path in self._paths(method, share, seed))

    def train(self, method: Method, share: float, seed: int, count: Count = lambda number: None) -> Row:
        """Return the record of one run, trained now if it is not there.

        Args:
            count: called with the number of steps since its last call.

        Raises:
            UserError: the run was made with other synthetic images or labels.
        """
        record_path, weights_path = self._paths(method, share, seed)
        digest = self.digests.get(method.source)
        if self.is_there(method, share, seed):
            record = dict(read_json(record_path, RECORD, "remove it, and the same command trains that run again"))
            if record["synthetic_sha256"] != digest:
                raise UserError(f"{record_path} was made with other synthetic images or labels: give the same ones to "
                                f"continue, or another --out_dir")
            return record
        network = train_method(method, self.real, self.synthetic, self.config, share, seed, count)
        scores = classification_scores(*self._validated(network))
        save_torch(weights_path, network.state_dict())
        record = {"method": method.name, "share": share, "seed": seed, "synthetic_sha256": digest,
                  "validation": scores}
        save_json(record_path, record)
        return record

    def score(self, method: Method, share: float, seeds: Sequence[int], test: TestSet,
              domain_means: Sequence[float] | None) -> list[dict[str, float]]:
        """Return {score: value} on a test set for the classifier of each seed.

        Of two classes, the validation images of both are the ends of the linked scores.

        Args:
            domain_means: mean severity of each domain's training images, or None where it is not known.
        """
        num_classes = test.data.labels.shape[1]
        classes = test.data.labels.argmax(dim=1)
        found = []
        for seed in seeds:
            network = build_network(self.config.network, num_classes)
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            weights_path = self._paths(method, share, seed)[1]
            load_weights(network, read_state(weights_path), weights_path)
            logits = predict_logits(network.eval(), test.data.images)
            scores = classification_scores(logits, classes)
            if num_classes == 2:
                end_logits, end_classes = self._validated(network)
                if test.severity is None or domain_means is None:
                    scores |= linked_scores(logits, classes, end_logits, end_classes)
                else:
                    scores |= severity_scores(logits, test.severity, domain_means)
                    scores |= linked_scores(logits, classes, end_logits, end_classes, test.severity,
                                            domain_means)
            found.append(scores)
        return found

    def _validated(self, network):
        """Return (logits [n, K], classes int64 [n]) of the validation images."""
        return predict_logits(network, self.validation.images), self.validation.labels.argmax(dim=1)

    def _paths(self, method, share, seed):
        name = f"{method.name}_share{share:g}_seed{seed}" if method.source else f"{method.name}_seed{seed}"
        return self.folder / f"{name}.json", self.folder / f"{name}.pt"


def digest_of(data: Labelled) -> str:
    """Return the SHA-256 of images and labels, as hexadecimal digits."""
    digest = hashlib.sha256(data.images.contiguous().numpy().tobytes())
    digest.update(data.labels.contiguous().numpy().tobytes())
    return digest.hexdigest()
