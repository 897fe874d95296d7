"""Severity, or severity_shrunk? The errors of both, of images and of groups, had a study's classifiers been graders.

python benchmarks/grader_severities.py results/study/draw_*/n50/classification --methods features,flips

Every folder is one that `add classify` wrote, with tables of severities; as in `add grade` the classifiers of a method
are one grader, calibrated on the validation images of its folder. A row per method: the root mean square error of
images and of the means of groups of five images or more, means over the folders, by severity, by severity_shrunk, and
by placing everything half way; and in how many folders the shrunk error of images is the smaller one.
"""
import argparse
import shlex
from pathlib import Path

import numpy as np

from add.classification.classifier_methods import parse_method
from add.classification.classifier_runs import ClassifierRuns, Reading
from add.classification.comparison_data import domain_severities, read_real
from add.classification.grader import fit_calibration, place_ensemble
from add.commands import classify
from add.data.read_back import read_json
from add.runtime.processes import set_threads

FEWEST = 5  # images of a group


def errors_of(folder, methods, test):
    """Return {method: [error by severity, by severity_shrunk, half way, the same of groups or NaN]} of a folder."""
    noted = read_json(folder / "classification.json", {"command": str, "chosen_share": {str: float}})
    parsed = classify.build_options().parse(shlex.split(noted["command"])[2:])
    config = parsed.take(classify.ClassificationConfig)
    images = read_real(config)
    (tested,) = (own for own in images.tests if own.name == test)
    truth = domain_severities(config, images.train).positions(tested.severity)
    groups = None if tested.groups is None else np.unique(tested.groups, return_inverse=True)[1]
    runs = ClassifierRuns(folder / "runs", images.train.data, images.validation.data, {},
                          parsed.take(classify.ClassifierConfig), config.heads)
    found = {}
    for name in methods:
        readings = [runs.read(parse_method(name, config.sample_folders()), noted["chosen_share"][name], seed, tested)
                    for seed in range(config.seed, config.seed + config.num_seeds)]
        calibration = fit_calibration([Reading(own.validation, own.validation[:0], None) for own in readings],
                                      images.validation.classes)
        severity, _ = place_ensemble(readings, calibration.links, None)
        places = [severity.numpy(), calibration.shrinkage.places(severity).numpy(), np.full(len(truth), 0.5)]
        found[name] = [_error(own, truth) for own in places] + [_group_error(own, truth, groups) for own in places]
    return found


def _error(places, truth):
    return float(np.sqrt(((places - truth) ** 2).mean())) if len(truth) else float("nan")


def _group_error(places, truth, groups):
    if groups is None:
        return float("nan")
    counts = np.bincount(groups)
    own, other = (np.bincount(groups, values) / counts for values in (places, truth))
    return _error(own[counts >= FEWEST], other[counts >= FEWEST])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="folders that `add classify` wrote, one of each draw")
    parser.add_argument("--methods", default="features,flips", help="with commas (features,flips)")
    parser.add_argument("--test", default="all", help="name of the test set (all)")
    args = parser.parse_args(argv)
    set_threads(1)
    draws = [errors_of(folder, args.methods.split(","), args.test) for folder in args.folders]
    head = [f"{kind}: {name}" for kind in ("images", "groups") for name in ("severity", "shrunk", "half way")]
    print(f"| method | {' | '.join(head)} | shrunk smaller |")
    print("| --- " * (len(head) + 2) + "|")
    for name in draws[0]:
        rows = np.array([draw[name] for draw in draws])
        cells = ["" if np.isnan(value) else f"{value:.3f}" for value in rows.mean(axis=0)]
        print(f"| {name} | {' | '.join(cells)} | {(rows[:, 1] < rows[:, 0]).sum()} of {len(rows)} |")


if __name__ == "__main__":
    main()
