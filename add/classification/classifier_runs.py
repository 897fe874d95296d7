"""Classifiers of every method and seed: trained once, kept with their weights, and scored on test sets."""
import dataclasses
import functools
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from add.classification.classifier import ClassifierConfig, predict_logits
from add.classification.classifier_methods import Method, heads_of, network_of, train_method
from add.classification.grading import (
    DomainSeverities,
    border_log_odds,
    fit_link,
    fit_shrinkage,
    head_scores,
    linked_scores,
    of_a_class,
    rank_correlation,
)
from add.classification.group_intervals import grouped_intervals
from add.classification.heads import read_outputs
from add.classification.labelled_images import Domains, Labelled, expected_positions
from add.classification.scores import classification_scores
from add.data.files import save_json, save_torch
from add.data.read_back import read_json
from add.errors import UserError
from add.interfaces import Count, Row
from add.training.checkpoints import load_weights, read_state

EARLIER = {"heads": "class", "classifier": {"balance": False}}  # what settings.json of earlier versions meant
RECORD = {"synthetic_sha256": (None, str), "validation": {str: (None, float)}}


@dataclasses.dataclass(frozen=True)
class TestSet:
    """Held-out images: name, Labelled, severities float64 [n] or None, the files, and their groups or None."""

    name: str
    data: Labelled
    severity: np.ndarray | None
    paths: list[str]
    groups: list[str] | None = None


class Reading(NamedTuple):
    """What one classifier, or several as one, say of a test set.

    logits: [n, K]; validation: [v, K], those of the validation images. severities: [n] of a severity head, or None.
    """

    logits: torch.Tensor
    validation: torch.Tensor
    severities: torch.Tensor | None


def as_one(readings: Sequence[Reading]) -> Reading:
    """Return the `Reading` of an ensemble: the means of its members' log probabilities and severities."""
    severities = [reading.severities for reading in readings if reading.severities is not None]
    return Reading(_mean_log_probability([reading.logits for reading in readings]),
                   _mean_log_probability([reading.validation for reading in readings]),
                   torch.stack(severities).mean(dim=0) if severities else None)


def comparison_settings(config: ClassifierConfig, heads: str, train: Domains, validation: Domains) -> Row:
    """Return what all classifiers of a comparison share, as it is noted in its settings.json."""
    return {"classifier": dataclasses.asdict(config), "heads": heads, "domains": list(train.names),
            "train_sha256": digest_of(train.data), "validation_sha256": digest_of(validation.data)}


@dataclasses.dataclass(frozen=True)
class ClassifierRuns:
    """The runs of a comparison, one for each method, share of synthetic images and seed, in a folder.

    folder: where a run's NAME.json (its scores) and NAME.pt (its weights) lie.
    real, validation: training images, and those to choose by. synthetic: {source of a Method: images}.
    config: of all classifiers. heads: what they say, one of `add.classification.heads.HEADS`.
    """

    folder: Path
    real: Labelled
    validation: Labelled
    synthetic: dict[str, Labelled]
    config: ClassifierConfig
    heads: str = "class"

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
        network = train_method(method, self.real, self.synthetic, self.config, share, seed, count, self.heads)
        scores = classification_scores(self._predict(network, method, self.validation)[0], _classes_of(self.validation))
        save_torch(weights_path, network.state_dict())
        record = {"method": method.name, "share": share, "seed": seed, "synthetic_sha256": digest,
                  "validation": scores}
        save_json(record_path, record)
        return record

    def weights(self, method: Method, share: float, seed: int) -> dict[str, Any]:
        """Return the state dict of one finished run."""
        return read_state(self._paths(method, share, seed)[1])

    def read(self, method: Method, share: float, seed: int, test: TestSet) -> Reading:
        """Return the `Reading` of a test set by the classifier of one run."""
        weights_path = self._paths(method, share, seed)[1]
        state = read_state(weights_path)
        network = network_of(method, self.config.network, self.heads, test.data.labels.shape[1], state)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        load_weights(network, state, weights_path)
        logits, severities = self._predict(network.eval(), method, test.data)
        if self.heads == "class":
            severities = None
        elif severities is None:  # of a method without that head, so that all methods have the same scores
            severities = expected_positions(logits.double().softmax(dim=1))
        return Reading(logits, self._predict(network, method, self.validation)[0], severities)

    def score(self, reading: Reading, test: TestSet, known: DomainSeverities | None,
              ordered: bool = True) -> dict[str, float]:
        """Return {score: value} of a `Reading` of a test set.

        The link's scores are of the class logits; a severity head has its own beside them.

        Args:
            known: severities of the training images, or None.
            ordered: whether the classes have an order. Then all classifiers are graded by the same link, which their
                own log-odds of the validation images fix.
        """
        classes, num_classes = _classes_of(test.data), test.data.labels.shape[1]
        clear = of_a_class(test.severity, known, len(classes))
        scores = classification_scores(reading.logits[clear], classes[clear])
        if ordered:
            link = self._link(reading)
            scores |= linked_scores(reading.logits, classes, link, test.severity, known,
                                    self._shrinkage(link, reading, num_classes))
            if reading.severities is not None:
                scores |= head_scores(reading.severities, classes, num_classes, test.severity, known)
        return scores

    def group_intervals(self, reading: Reading, test: TestSet, known: DomainSeverities | None,
                        ordered: bool = True) -> dict[str, tuple[float, float]]:
        """Return {score: (low, high)}, 95 % intervals over the groups of a test set, or {} where these are not known.

        Of accuracy; of ordered classes also of halfway_accuracy, and where severities are known of
        severity_spearman and severity_rmse_linked. See `grouped_intervals`.
        """
        if test.groups is None:
            return {}
        truth, found = _classes_of(test.data).numpy(), reading.logits.argmax(dim=1).numpy()
        clear = of_a_class(test.severity, known, len(truth)).numpy()
        values = {"accuracy": (found == truth).astype(float)}
        if ordered:
            link = self._link(reading)
            values["halfway_accuracy"] = (link.classes(reading.logits).numpy() == truth).astype(float)
        severity = test.severity if ordered and known is not None else None
        if severity is not None and known is not None:
            ranks = border_log_odds(reading.logits).mean(dim=1).numpy()
            squares = (link.positions(reading.logits).numpy() - known.positions(severity)) ** 2

        def score(chosen):
            of_class = chosen[clear[chosen]]
            scores = {name: own[of_class].mean() if len(of_class) else math.nan for name, own in values.items()}
            if severity is not None:
                scores["severity_spearman"] = rank_correlation(ranks[chosen], severity[chosen])
                scores["severity_rmse_linked"] = float(np.sqrt(squares[chosen].mean()))
            return scores

        return grouped_intervals(score, test.groups)

    def places(self, reading: Reading) -> tuple[np.ndarray, np.ndarray]:
        """Return the places float64 [n] in [0, 1] of the images of a `Reading`: by the link, and these shrunk."""
        link = self._link(reading)
        linked = link.positions(reading.logits)
        return linked.numpy(), self._shrinkage(link, reading, reading.logits.shape[1]).places(linked).numpy()

    def _link(self, reading):
        return fit_link(reading.validation, _classes_of(self.validation))

    def _shrinkage(self, link, reading, num_classes):
        return fit_shrinkage(link.positions(reading.validation), _classes_of(self.validation), num_classes)

    def _predict(self, network, method, data):
        """Return (logits [n, K], severities [n] or None) of labelled images."""
        return predict(network, data.images, method, self.heads, data.labels.shape[1])

    def _paths(self, method, share, seed):
        name = f"{method.name}_share{share:g}_seed{seed}" if method.source else f"{method.name}_seed{seed}"
        return self.folder / f"{name}.json", self.folder / f"{name}.pt"


def predict(network: nn.Module, images: torch.Tensor, method: Method, heads: str, num_classes: int
            ) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return (logits [n, K], severities float64 [n] or None) that a method's network gives images [n, 3, H, W]."""
    return read_outputs(predict_logits(network, images), heads_of(method, heads), num_classes)


def digest_of(data: Labelled) -> str:
    """Return the SHA-256 of images and labels, as hexadecimal digits."""
    digest = hashlib.sha256(data.images.contiguous().numpy().tobytes())
    digest.update(data.labels.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _mean_log_probability(logits):
    return torch.stack([own.double().log_softmax(dim=1) for own in logits]).mean(dim=0)


def _classes_of(data):
    return data.labels.argmax(dim=1)
