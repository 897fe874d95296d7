"""Which depth rule: how evenly the progressive images of each rule progress, by a judge that the rule does not know.

python benchmarks/depth_rules.py    (prints Markdown tables; ten minutes on one core)
python benchmarks/depth_rules.py --source_model runs/mild --target_model runs/severe --severity phantom/severity.csv

Images are translated in both directions. Without models, held-out tissue patches that are not among the embedded
sources, with the embedded models; the judge is the mean of three classifiers trained with mixup. With --severity, test
images of the phantom; the judge is their severity, from share and darkness of the nuclei by a quadratic regression on
the training images, scaled so that the mean source image of a direction is 0 and the mean target image 1.

For each direction the judge is averaged over the images: at m of N it should be m / N. Columns: rule and amount N; how
many images could follow the rule; network evaluations per image, and the pilot's among them; mean distance from the
straight line, largest step and largest fall between neighbours, the source included (direction 0 -> 1 / 1 -> 0); last,
the mean distance of single images from the line.
"""
import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))
from judge import held_out, probability, train_classifier

from add.data import ImageSet, embedded, to_model_input
from add.data.phantom import measure_nuclei
from add.training import load_model
from add.transition import RULES, SAMPLERS, translate


@dataclass(frozen=True)
class Pair:
    """Two domains: models as from `load_model`, images x [n, 3, H, W] of each, and a judge, progress(x, source) -> [n].
    """

    models: list
    images: list
    progress: object


def spread(x, count):
    """Return `count` of the images x [n, 3, H, W], evenly spaced."""
    return x[np.linspace(0, len(x) - 1, count).round().astype(int)]


def tissue_pair(count):
    """Return the `Pair` of the embedded default."""
    classifiers = [train_classifier(seed, mixup=True)[0] for seed in range(3)]

    def progress(x, source):
        gland = torch.stack([probability(model, x) for model in classifiers]).mean(dim=0)
        return 1 - gland if source == 1 else gland

    return Pair([load_model(embedded.model_dir(domain)) for domain in embedded.DOMAINS],
                [spread(held_out(domain), count) for domain in embedded.DOMAINS], progress)


def phantom_pair(model_paths, folders, table, count):
    """Return the `Pair` of two phantom domains, whose images lie in `folders`.

    Args:
        table: severity.csv, beside the folders `train` and `test` of the set.
        folders: of the source images; None: the domains' test images, lowest severity first.
    """
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    severity = {name: np.mean([float(row["severity"]) for row in rows if row["domain"] == name])
                for name in {row["domain"] for row in rows}}
    names = sorted(severity, key=severity.get)[::len(severity) - 1]
    train = [row for row in rows if row["split"] == "train"]
    terms = np.stack([_terms(np.asarray(Image.open(Path(table).parent / row["image"]))) for row in train])
    weights = np.linalg.lstsq(terms, np.array([float(row["severity"]) for row in train]), rcond=None)[0]

    def measure(x):
        return torch.tensor([_terms(image) @ weights for image in to_uint8(x)])

    ends = [severity[name] for name in names]

    def progress(x, source):
        return (measure(x) - ends[source]) / (ends[1 - source] - ends[source])

    folders = folders or [Path(table).parent / "test" / name for name in names]
    images, models = [], [load_model(path) for path in model_paths]
    for folder, (_, _, config) in zip(folders, models, strict=True):
        found = ImageSet.from_folder(str(folder), config.model.image_size)
        images.append(to_model_input(found.batch(np.linspace(0, len(found) - 1, count).round().astype(int).tolist())))
    return Pair(models, images, progress)


def _terms(image):
    share, darkness = measure_nuclei(image)
    return np.array([1, share, darkness, share * darkness, share**2, darkness**2])


def to_uint8(x):
    """Return x [n, 3, H, W] in [-1, 1] as uint8 [n, H, W, 3]."""
    return ((x + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def evenness(p):
    """Return (distance from the line, largest step, largest fall, distance of single images) of p [n, N + 1]."""
    mean, line = p.mean(dim=0), torch.arange(p.shape[1]) / (p.shape[1] - 1)
    steps = mean.diff()
    return ((mean - line)[1:].abs().mean().item(), steps.max().item(), max(0.0, -steps.min().item()),
            (p - line)[:, 1:].abs().mean().item())


def compare(pair, rules, amounts, sampler):
    """Print a table row for each rule and amount."""
    print("| rule | N | followed | NFE | pilot | distance from line | largest step | step back | single images |\n"
          "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for amount in amounts:
        for rule in rules:
            results, judged = [], []
            for source in (0, 1):
                (model, diffusion, _), (target, target_diffusion, _) = pair.models[source], pair.models[1 - source]
                x = pair.images[source]
                result = translate(model, target, x, amount, diffusion, target_diffusion, sampler, rule)
                shown = torch.cat([x[:, None], result.targets], dim=1).clamp(-1, 1)
                p = pair.progress(shown.flatten(0, 1), source).reshape(shown.shape[:2])
                judged.append(evenness(p.double()))
                results.append(result)
            plans = [plan for result in results for plan in result.plans]
            reasons = "; ".join(sorted({plan.reason for plan in plans if plan.reason}))
            numbers = " | ".join("{:.3f} / {:.3f}".format(*column) for column in zip(*judged, strict=True))
            print(f"| {rule} | {amount} | {sum(plan.rule == rule for plan in plans)}/{len(plans)} | "
                  f"{np.mean([result.nfe for result in results]):.0f} | "
                  f"{np.mean([result.pilot_nfe for result in results]):.0f} | {numbers} |"
                  + (f" <!-- {reasons} -->" if reasons else ""), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source_model", help="run folder or checkpoint of domain 0 (phantom: the milder one)")
    parser.add_argument("--target_model", help="run folder or checkpoint of domain 1")
    parser.add_argument("--severity", help="severity.csv of a phantom set; needed with models")
    parser.add_argument("--source_images", help="folder of domain 0's source images; left out: the set's test images")
    parser.add_argument("--target_images", help="folder of domain 1's source images, those of the opposite direction")
    parser.add_argument("--images", type=int, default=6, help="source images in each direction")
    parser.add_argument("--amounts", default="10,20", help="numbers of progressive images per source image")
    parser.add_argument("--rules", default=",".join(RULES), help="depth rules")
    parser.add_argument("--sampler", default="unipc", choices=SAMPLERS, help="how images are carried")
    args = parser.parse_args()
    models, folders = (args.source_model, args.target_model), (args.source_images, args.target_images)
    if any(models) and not (all(models) and args.severity):
        parser.error("expected --source_model, --target_model and --severity, or none of them")
    if any(folders) and not (all(folders) and any(models)):
        parser.error("expected --source_images and --target_images, with models, or neither")
    pair = (phantom_pair(models, folders if any(folders) else None, args.severity, args.images) if any(models)
            else tissue_pair(args.images))
    for model, *_ in pair.models:
        model.to(memory_format=torch.channels_last)
    compare(pair, args.rules.split(","), [int(amount) for amount in args.amounts.split(",")], args.sampler)


if __name__ == "__main__":
    main()
