"""Judge a run of the embedded default: are last images called target, does it progress evenly, do colours stay?

python benchmarks/judge_default.py results/demo    (prints Markdown tables)
"""
import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import torch
from skimage.color import rgb2lab

sys.path.insert(0, str(Path(__file__).resolve().parent))
from judge import probability, read, train_classifier

from add.data import embedded, read_image, to_model_input
from add.data.tissue import stain_masks


def read_translation(folder):
    """Return uint8 images [n, N, H, W, 3] of a translation folder, in the order of labels.csv."""
    with open(folder / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    amount = max(int(row["m"]) for row in rows)
    images = np.stack([read_image(folder / row["image"]) for row in rows])
    return images.reshape(-1, amount, *images.shape[1:])


def lab_table(images):
    """Return (mean [3], standard deviation over pixels [3], means per image [n, 3]) in Lab of uint8 [n, H, W, 3]."""
    lab = rgb2lab(images)
    return lab.mean(axis=(0, 1, 2)), lab.std(axis=(0, 1, 2)), lab.mean(axis=(1, 2))


def describe(values):
    return ", ".join(f"{value:.1f}" for value in values)


def judge_direction(folder, target, classifiers):
    """Print what the classifiers and the colours say of one direction; `target` is the target domain's number."""
    images = read_translation(folder)
    amount = images.shape[1]
    flat = to_model_input(images.reshape(-1, *images.shape[2:]))
    print(f"\n### {folder.name}: {len(images)} source images, {amount} steps\n")
    print("| judge | " + " | ".join(f"m={m}" for m in range(1, amount + 1)) + " | last called target |")
    print("| --- |" + " --- |" * (amount + 1))
    for name, models in classifiers.items():
        p = torch.stack([probability(model, flat) for model in models]).mean(dim=0).reshape(-1, amount)
        p = p if target == 1 else 1 - p
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in p.mean(dim=0)) +
              f" | {(p[:, -1] > 0.5).float().mean():.0%} |")
    brown = np.array([[stain_masks(image)["brown"].mean() for image in row] for row in images])
    print("| share of brown pixels | " + " | ".join(f"{value:.2f}" for value in brown.mean(axis=0)) + " | |")
    real = np.stack([((x.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
                     for x in read(embedded.train_dir(embedded.DOMAINS[target]))[0]])
    (mean, std, means), (real_mean, real_std, real_means) = lab_table(images[:, -1]), lab_table(real)
    within = (np.abs(means - real_mean) <= 2 * real_means.std(axis=0)).all(axis=1).mean()
    print("\n| Lab (L, a, b) | mean | standard deviation |\n| --- | --- | --- |")
    print(f"| last images | {describe(mean)} | {describe(std)} |")
    print(f"| real {embedded.DOMAINS[target]} | {describe(real_mean)} | {describe(real_std)} |")
    print(f"\nImages whose mean colour lies within 2 standard deviations of real images' in L, a and b: {within:.0%} "
          f"(the standard deviations are {describe(real_means.std(axis=0))})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="output folder of frequency_generating_m_samples.py")
    parser.add_argument("--seeds", type=int, default=3, help="classifiers to average over")
    args = parser.parse_args()
    classifiers = {}
    for name, mixup in (("classifier", False), ("classifier, mixup", True)):
        trained = [train_classifier(seed, mixup) for seed in range(args.seeds)]
        classifiers[name] = [model for model, _ in trained]
        print(f"{name}: accuracy {np.mean([accuracy for _, accuracy in trained]):.3f} on the 900 training patches")
    for folder, target in (("translation_0_1", 1), ("translation_1_0", 0)):
        if (args.results / folder).exists():
            judge_direction(args.results / folder, target, classifiers)


if __name__ == "__main__":
    main()
