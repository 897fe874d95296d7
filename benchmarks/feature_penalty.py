"""Does a penalty explain what generated images do for a regression on features? Errors of a study, by penalty.

python benchmarks/feature_penalty.py --study results/study --num_train 50

`features` chooses its penalty by cross-validation of the real images, and methods with generated images take the same.
Here every strength is tried, with every kind of images that the study made: if a gain at the chosen penalty is matched
by another penalty without generated images, it is not the images'. The table has the linked error and, in brackets, the
rank correlation, means over the draws; then the difference to features alone in every draw. The penalty is given by C
of scikit-learn: the smaller, the stronger.
"""
import argparse
from pathlib import Path

import numpy as np
import torch

from add.classification.classifier_methods import mixed_pairs
from add.classification.comparison_data import domain_severities
from add.classification.feature_classifier import STRENGTHS, fit_features
from add.classification.grading import fit_link, linked_scores
from add.classification.labelled_images import read_domains, read_translations
from add.data.read_back import read_json
from add.data.severity_table import read_severity
from add.results.translation_series import read_series
from add.study.study_plan import translations


def generated(folder, size, names, real):
    """Return {name: Labelled or None} of what a draw's folder holds: none, mixed pairs of real images, and its own."""
    found = {"alone": None, "mixed": mixed_pairs(real, seed=0)}
    if (folder / "samples").exists():
        found["samples"] = read_domains(folder / "samples", size, names).data
    if all(path.exists() for path in translations(folder)):
        full, progressive = read_translations(map(read_series, translations(folder)), size, len(names))
        found |= {"full": full, "progressive": progressive}
    return found


def scores_of(draw, options):
    """Return {(C, kind of images): (linked error, rank correlation)} of a draw's folder."""
    folder, size, names = draw / f"n{options['num_train']}", options["image_size"], options["domains"].split(",")
    share = float(options["synthetic_share"].split(",")[0])
    train, validation = (read_domains(folder / part, size, names) for part in ("train", "val"))
    tested = draw / "test" / "all"
    test = read_domains(tested, size, names)
    severity = read_severity(tested, test.paths)
    known = domain_severities(argparse.Namespace(data_dir=folder / "train"), train)
    scores = {}
    for kind, images in generated(folder, size, names, train.data).items():
        for strength in STRENGTHS:
            network = fit_features(train.data, options["augment"], 0, images, share, [strength])
            with torch.no_grad():
                link = fit_link(network(validation.data.images), validation.classes)
                found = linked_scores(network(test.data.images), test.classes, link, severity, known)
            scores[strength, kind] = found["severity_rmse_linked"], found["severity_spearman"]
    return scores


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="folder of a finished study of several draws")
    parser.add_argument("--num_train", default="50", help="training images per domain (50)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    options = {"augment": "dihedral"} | read_json(args.study / "study_options.json", {str: object})
    options["num_train"] = args.num_train
    draws = [scores_of(draw, options) for draw in sorted(args.study.glob("draw_*"))]
    kinds = list(dict.fromkeys(kind for _, kind in draws[0]))
    print(f"| C | {' | '.join(kinds)} |")
    print("| --- " * (len(kinds) + 1) + "|")
    for strength in STRENGTHS:
        means = [np.mean([draw[strength, kind] for draw in draws], axis=0) for kind in kinds]
        print(f"| {strength:g} | {' | '.join(f'{error:.3f} ({rank:.2f})' for error, rank in means)} |")
    for kind in kinds[1:]:
        for strength in STRENGTHS:
            own = [draw[strength, kind][0] - draw[strength, "alone"][0] for draw in draws]
            print(f"{kind} less alone at C = {strength:g}: {', '.join(f'{value:+.3f}' for value in own)}")


if __name__ == "__main__":
    main()
