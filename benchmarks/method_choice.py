"""Does the least validation loss choose a good method? Scores of the methods that it chooses in each draw of a study.

python benchmarks/method_choice.py results/study/draw_*

`add grade --classification` takes the method whose classifiers have the least loss on the validation images, of the two
ends alone. Here that choice is made in every draw, among all methods of the comparisons below its folder, and the
chosen method's score on the test images is held against those of flips, of the method in the middle, and of the best
one, which nobody can know. Means over the draws.
"""
import argparse
from pathlib import Path

import numpy as np

from add.classification.score_reads import lower_is_better
from add.data.read_back import read_json

ANY = {str: object}


def read_draw(folder, test, score):
    """Return {method: (mean validation loss, mean score on a test set)} of all comparisons below a folder."""
    found, losses = {}, {}
    for path in sorted(Path(folder).rglob("classification.json")):
        tested = read_json(path, {"tests": {test: ANY}})["tests"][test]
        for run in sorted((path.parent / "runs").glob("*.json")):
            record = read_json(run, {"method": str, "validation": {"nll": float}})
            losses.setdefault(record["method"], []).append(record["validation"]["nll"])
        found |= {method: scores[score]["mean"] for method, scores in tested.items() if method in losses}
    return {method: (float(np.mean(losses[method])), value) for method, value in found.items()}


def choices(methods, score):
    """Return (chosen method, {who chooses: score}) of {method: (loss, score)}."""
    sign = 1 if lower_is_better(score) else -1
    chosen = min(methods, key=lambda method: methods[method][0])
    values = sorted((sign * value for _, value in methods.values()))
    return chosen, {"flips": methods["flips"][1], "the middle method": sign * float(np.median(values)),
                    "least validation loss": methods[chosen][1], "the best": sign * values[0]}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("draws", nargs="+", help="folders of a study's draws")
    parser.add_argument("--test", default="all", help="test set (all)")
    parser.add_argument("--score", default="severity_rmse_shrunk", help="score to compare (severity_rmse_shrunk)")
    args = parser.parse_args(argv)
    found = [choices(read_draw(folder, args.test, args.score), args.score) for folder in args.draws]
    names = list(found[0][1])
    print(f"| draws | {' | '.join(names)} | chosen |")
    print("| --- " * (len(names) + 2) + "|")
    means = [np.mean([values[name] for _, values in found]) for name in names]
    print(f"| {len(found)} | {' | '.join(f'{value:.3f}' for value in means)} | "
          f"{', '.join(method for method, _ in found)} |")


if __name__ == "__main__":
    main()
