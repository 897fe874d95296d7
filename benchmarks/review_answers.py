"""How many answers put labels right? A simulated reader, by number of answers, noise, and how far the labels are off.

Two directions of N = 10 steps, half of the answers each, places spread evenly as `add review make` spreads them. The
true place of step m is s^gamma of s = m/N on the way from the source; the reader says it with normal noise, cut off at
the ends. The error is the mean distance of the labels of all steps from the true places.

python benchmarks/review_answers.py
"""
import argparse

import numpy as np

from add.review.reviewed_labels import fit_curve

AMOUNT = 10


def mean_error(gamma, noise, answers, rng):
    """Return (mean error of m/N, that of the reviewed labels) of one simulated reader."""
    steps = np.arange(1, AMOUNT + 1) / AMOUNT
    errors = []
    for back in (False, True):
        labels, places = (1 - way if back else way for way in (steps, steps**gamma))
        shown = np.linspace(1, AMOUNT, answers // 2).round().astype(int) - 1
        said = (places[shown] + noise * rng.standard_normal(len(shown))).clip(0, 1)
        curve = fit_curve(labels[shown], said)
        errors.append((np.abs(labels - places).mean(), np.abs(curve(labels) - places).mean()))
    return np.mean(errors, axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=300, help="simulated readers per figure")
    args = parser.parse_args()
    counts = (20, 40, 80)
    print(f"| true place | reader's noise | m/N | {' | '.join(f'{count} answers' for count in counts)} |")
    print("| --- " * (3 + len(counts)) + "|")
    for gamma in (2.0, 1.5, 1.0):
        for noise in (0.05, 0.1, 0.2):
            rng = np.random.default_rng(0)
            found = [np.mean([mean_error(gamma, noise, count, rng) for _ in range(args.readers)], axis=0)
                     for count in counts]
            print(f"| s^{gamma:g} | {noise:g} | {found[0][0]:.3f} | {' | '.join(f'{own[1]:.3f}' for own in found)} |")


if __name__ == "__main__":
    main()
