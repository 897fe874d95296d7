"""How well the phantom's severity is measured in its images, on fresh ones from all of [0, 1]: a table.

python benchmarks/severity_meter.py
"""
import argparse
import time

import numpy as np

from add.metrics.severity_meter import SeverityMeter, fresh_phantoms

FIFTHS = 5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--sizes", default="32,64", help="sides of the images in pixels, with commas")
    parser.add_argument("--count", type=int, default=600, help="fresh images per size")
    parser.add_argument("--seeds", type=int, default=3, help="meters per size, each with training images of its own")
    args = parser.parse_args()
    print(f"Root mean square error of measured severity, {args.count} fresh images per row.\n")
    print("| pixels | seed | RMSE | bias | correlation | bias by fifths of severity | fit, s | ms an image |")
    print("| --- " * 8 + "|")
    for size in map(int, args.sizes.split(",")):
        for seed in range(args.seeds):
            start = time.perf_counter()
            meter = SeverityMeter.fit(size, seed=seed)
            fit_seconds = time.perf_counter() - start
            images, severities = fresh_phantoms(size, args.count, np.random.default_rng([args.count, seed]))
            start = time.perf_counter()
            errors = meter(images) - severities
            milliseconds = 1000 * (time.perf_counter() - start) / args.count
            fifth = np.minimum((severities * FIFTHS).astype(int), FIFTHS - 1)
            biases = " ".join(f"{errors[fifth == k].mean():+.3f}" for k in range(FIFTHS))
            correlation = np.corrcoef(errors + severities, severities)[0, 1]
            print(f"| {size} | {seed} | {np.sqrt((errors**2).mean()):.4f} | {errors.mean():+.4f} | {correlation:.4f} | "
                  f"{biases} | {fit_seconds:.1f} | {milliseconds:.1f} |")


if __name__ == "__main__":
    main()
