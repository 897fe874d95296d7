"""How good could a classifier get? Real phantoms of every severity with true labels instead of generated images.

A study's classifiers see real images of its two domains only. Here half of each batch are further real images, from the
whole way between the domains, labelled with the truth: by severity as the soft labels are meant, or by class. So this
is the most that progressive images could bring.

python benchmarks/study_ceiling.py --study results/study_phantom --num_train 50
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch

from add.classification.classifier import ClassifierConfig, predict_logits, train_classifier
from add.classification.grading import DomainSeverities, fit_link, linked_scores
from add.classification.label_rules import two_sided
from add.classification.labelled_images import Labelled, one_hot, read_domains
from add.classification.scores import classification_scores, interval, mean_and_half
from add.data import to_model_input
from add.data.severity_table import read_severity
from add.metrics.severity_meter import fresh_phantoms, relative_severity

STREAM = 104729  # of the further images, which no study draws from
SHOWN = ("accuracy", "auc", "calibration_error", "halfway_accuracy", "severity_spearman", "severity_rmse_linked",
         "severity_rmse_linked_ends", "severity_rmse_linked_middle", "severity_rmse")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="folder of a study of the phantom")
    parser.add_argument("--num_train", type=int, default=50, help="size of the training set")
    parser.add_argument("--count", type=int, default=1000, help="further real images")
    parser.add_argument("--seeds", type=int, default=8, help="classifiers per row")
    args = parser.parse_args()
    torch.set_num_threads(1)
    study = Path(args.study)
    options = json.loads((study / "study_options.json").read_text())
    size = options["image_size"]
    real = read_domains(study / f"n{args.num_train}" / "train", size)
    known = read_severity(study / f"n{args.num_train}" / "train", real.paths)
    own = [known[real.classes == k] for k in range(2)]
    means = [values.mean() for values in own]
    trained = DomainSeverities(means, [(values.min(), values.max()) for values in own])
    validation = read_domains(study / f"n{args.num_train}" / "val", size)
    test = read_domains(study / "test" / "all", size)
    test_severity = read_severity(study / "test" / "all", test.paths)
    images, severity = fresh_phantoms(size, args.count, np.random.default_rng([STREAM, options["seed"]]))
    images = to_model_input(images)
    soft = torch.from_numpy(two_sided(relative_severity(severity, *means), 0, 1, 2)).float()
    hard = one_hot(torch.from_numpy(severity > sum(means) / 2).long(), 2)
    config = ClassifierConfig(steps=options["classifier_steps"])
    print(f"| further real images | {' | '.join(SHOWN)} |\n" + "| --- " * (len(SHOWN) + 1) + "|")
    for name, labels in (("true soft labels", soft), ("true classes", hard)):
        runs = []
        for seed in range(options["seed"], options["seed"] + args.seeds):
            network = train_classifier(real.data, config, seed, Labelled(images, labels), 0.5)
            logits = predict_logits(network, test.data.images)
            link = fit_link(predict_logits(network, validation.data.images), validation.classes)
            runs.append(classification_scores(logits, test.classes)
                        | linked_scores(logits, test.classes, link, test_severity, trained))
        found = [interval([run[score] for run in runs]) for score in SHOWN]
        print(f"| {name} | " + " | ".join(mean_and_half(one.mean, one.low) for one in found) + " |",
              flush=True)


if __name__ == "__main__":
    main()
