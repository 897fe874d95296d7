"""Which path: how images progress along depths, blends and mosaics, by what is seen in them. Prints Markdown tables.

python benchmarks/paths.py --mild runs/mild --severe runs/severe --severity data/phantom/severity.csv
python benchmarks/paths.py    (the embedded tissue)
python benchmarks/paths.py --labels --mild ...    (label rules on the phantom, along depths and blends)
python benchmarks/paths.py --accuracy    (distance to many steps of the same solver)
python benchmarks/paths.py --picture docs/paths.png --ways depth:progress,blend:even,mosaic:even --images 2

Both directions. On the phantom severity is measured in every image (add/metrics/severity_meter.py); progress is 0 at
the source image's own and 1 at the mean of the target's test images. On the tissue it is the mean probability of three
classifiers trained with mixup on held-out patches. At m of N progress should be m / N. Columns, direction 0 -> 1 / 1
-> 0:
  NFE              network evaluations for each source image
  mean off line    mean distance of the mean curve from the straight line
  single off line  that of single images
  forward          share of steps in which progress rises, the source image first
  label RMSE       (phantom) of m / N against severity, 0 being the mean of the source's test images
  label Spearman   (phantom) of the same, over all images
  KID between      (phantom) KID x 1000, EfficientNet-Lite0, of the images whose severity lies in 0.3 to 0.7 to freshly
                   drawn ones of that band; in brackets how many they are
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from depth_rules import Pair, spread, tissue_pair, to_uint8
from solvers import psnr

from add.classification.classifier import ClassifierConfig
from add.classification.cross_fitted import cross_fit
from add.classification.label_rules import PLACE_WEIGHT
from add.data import ImageSet, save_png, to_model_input
from add.data.read_back import read_rows
from add.metrics import kid, load_features
from add.metrics.severity_meter import SeverityMeter, fresh_phantoms
from add.results.overview import draw_overview
from add.training import load_model
from add.transition import make_sampler, translate

WAYS = ("depth:progress", "depth:uniform", "blend:even", "blend:progress", "mosaic:even")
BETWEEN = (0.3, 0.7)
DRAWN = 500  # fresh images of the band between
FEWEST = 20  # images that a KID is worth anything of
EXACT = {"depth": (150, 100), "blend": (150, 60), "mosaic": (150, 60)}


class Phantom:
    """Two phantom domains: their models, test images, and severity measured in images."""

    def __init__(self, mild, severe, table, count):
        rows = read_rows(table)
        names = sorted({row["domain"] for row in rows}, key=lambda name: np.mean(
            [float(row["severity"]) for row in rows if row["domain"] == name]))
        self.names = names[0], names[-1]
        models = [load_model(path) for path in (mild, severe)]
        size = models[0][2].model.image_size
        self.meter = SeverityMeter.fit(size)
        tests = [ImageSet.from_folder(str(Path(table).parent / "test" / name), size) for name in (names[0], names[-1])]
        self.means = [float(self.meter(images.batch(range(len(images)))).mean()) for images in tests]
        shown = [to_model_input(images.batch(np.linspace(0, len(images) - 1, count).round().astype(int).tolist()))
                 for images in tests]
        self.pair = Pair(models, shown, None)
        fresh, severities = fresh_phantoms(size, 4 * DRAWN, np.random.default_rng(11))
        between = fresh[(severities > BETWEEN[0]) & (severities < BETWEEN[1])][:DRAWN]
        self.features = load_features()
        self.real = self.features(to_model_input(torch.from_numpy(between)))

    def severities(self, shown):
        """Return the measured severity [n, k] of images [n, k, 3, H, W] in [-1, 1]."""
        return self.meter(to_uint8(shown.flatten(0, 1))).reshape(shown.shape[:2])


def progress_of(severities, target_mean):
    """Return progress [n, k] of severities [n, k], the first of which is the source image's own."""
    return (severities - severities[:, :1]) / (target_mean - severities[:, :1])


def run(way, pair, source, amount):
    """Return the Translation of one direction on a way such as blend:even."""
    path, rule = way.split(":")
    (model, diffusion, _), (target, target_diffusion, _) = pair.models[source], pair.models[1 - source]
    rules = {"rule": rule} if path == "depth" else {"weight_rule": rule}
    return translate(model, target, pair.images[source], amount, diffusion, target_diffusion, path=path, **rules)


def with_source(pair, source, result):
    """Return images [n, 1 + N, 3, H, W] in [-1, 1], the source first."""
    return torch.cat([pair.images[source][:, None], result.targets], dim=1).clamp(-1, 1)


def shape_of(progress):
    """Return (mean curve off the line, single images off the line, share of steps forward) of progress [n, N + 1]."""
    line = np.linspace(0, 1, progress.shape[1])
    return (float(np.abs(progress.mean(axis=0) - line)[1:].mean()), float(np.abs(progress - line)[:, 1:].mean()),
            float((np.diff(progress, axis=1) > 0).mean()))


def both(*numbers, digits=3):
    """Return the numbers of the two directions as a cell."""
    return " / ".join(f"{number:.{digits}f}" for number in numbers)


def phantom_table(phantom, ways, amount):
    """Print a row for each way on the phantom."""
    print("| path | NFE | mean off line | single off line | forward | label RMSE | label Spearman | KID between |")
    print("| --- " * 8 + "|")
    for way in ways:
        found, nfe, between = [], 0.0, []
        for source in (0, 1):
            result = run(way, phantom.pair, source, amount)
            shown = with_source(phantom.pair, source, result)
            severities = phantom.severities(shown)
            start, end = phantom.means[source], phantom.means[1 - source]
            truth = (severities[:, 1:] - start) / (end - start)
            label = np.broadcast_to(np.arange(1, amount + 1) / amount, truth.shape)
            found.append((*shape_of(progress_of(severities, end)), float(np.sqrt(((label - truth)**2).mean())),
                          rank_correlation(label, truth)))
            nfe += result.nfe / 2
            inside = (severities[:, 1:] > BETWEEN[0]) & (severities[:, 1:] < BETWEEN[1])
            between.append(result.targets[torch.from_numpy(inside)].clamp(-1, 1))
        distances = [f"{1000 * kid(phantom.features(part), phantom.real).mean:.0f} ({len(part)})"
                     if len(part) >= FEWEST else f"({len(part)})" for part in between]
        cells = [both(*column) for column in zip(*found, strict=True)]
        print(f"| {way.replace(':', ', ')} | {nfe:.0f} | {' | '.join(cells)} | {' / '.join(distances)} |", flush=True)


def labels_table(phantom, ways, amount, train):
    """Print how far the labels of each rule lie from measured severity, both directions together.

    Args:
        train: folder of the set's training images, which the classifiers learn from.
    """
    size = phantom.pair.models[0][2].model.image_size
    real = [to_model_input(images.batch(range(len(images)))) for images in (
        ImageSet.from_folder(str(train / name), size) for name in phantom.names)]
    print("| path | rule | RMSE | Spearman |\n" + "| --- " * 4 + "|")
    for way in ways:
        results = [run(way, phantom.pair, source, amount) for source in (0, 1)]
        shown = torch.cat([with_source(phantom.pair, source, result) for source, result in enumerate(results)])
        truth = (phantom.severities(shown) - phantom.means[0]) / (phantom.means[1] - phantom.means[0])
        seen = cross_fit(*real, ClassifierConfig()).positions(shown.flatten(0, 1)).reshape(shown.shape[:2])
        half, place = len(shown) // 2, torch.arange(amount + 1) / amount
        places = torch.stack([place] * half + [1 - place] * half).double()
        start, end = (seen[:, [k]].expand(-1, amount) for k in (0, -1))
        labels = {"depth": places[:, 1:], "classifier": seen[:, 1:],
                  "blend": (1 - PLACE_WEIGHT) * seen[:, 1:] + PLACE_WEIGHT * places[:, 1:],
                  "anchored": start + place[1:] * (end - start)}
        for rule, label in labels.items():
            label = label.clamp(0, 1).numpy()
            print(f"| {way.replace(':', ', ')} | {rule} | {np.sqrt(((label - truth[:, 1:])**2).mean()):.3f} | "
                  f"{rank_correlation(label, truth[:, 1:]):.3f} |", flush=True)


def rank_correlation(label, truth):
    """Return Spearman's rank correlation of two arrays."""
    from scipy.stats import spearmanr

    return float(spearmanr(label.ravel(), truth.ravel()).statistic)


def tissue_table(pair, ways, amount):
    """Print a row for each way on the tissue."""
    print("| path | NFE | mean off line | single off line | forward |")
    print("| --- " * 5 + "|")
    for way in ways:
        found, nfe = [], 0.0
        for source in (0, 1):
            result = run(way, pair, source, amount)
            shown = with_source(pair, source, result)
            found.append(shape_of(pair.progress(shown.flatten(0, 1), source).reshape(shown.shape[:2]).double().numpy()))
            nfe += result.nfe / 2
        cells = [both(*column) for column in zip(*found, strict=True)]
        print(f"| {way.replace(':', ', ')} | {nfe:.0f} | {' | '.join(cells)} |", flush=True)


def accuracy_table(pairs, paths, amount):
    """Print how far the images of each path lie from those of many steps, each weight decoded by itself."""
    from add.transition import weighted_decode

    shared = weighted_decode.SHARED
    print("| pair | path | NFE | PSNR median | 5th percentile | lowest |\n" + "| --- " * 6 + "|")
    for name, pair in pairs.items():
        for path in paths:
            values, nfe = [], 0.0
            for source in (0, 1):
                (model, diffusion, _), (target, target_diffusion, _) = pair.models[source], pair.models[1 - source]
                common = (model, target, pair.images[source], amount, diffusion, target_diffusion)
                weighted_decode.SHARED = ()
                exact = translate(*common, make_sampler("unipc", *EXACT[path]), "uniform", path=path).targets
                weighted_decode.SHARED = shared
                result = translate(*common, "unipc", "uniform", path=path)
                values.append(psnr(result.targets.double(), exact.double()).flatten())
                nfe += result.nfe / 2
            values = torch.cat(values).numpy()
            print(f"| {name} | {path} | {nfe:.0f} | {np.median(values):.1f} | {np.percentile(values, 5):.1f} | "
                  f"{values.min():.1f} |", flush=True)


def draw(pair, ways, amount, path):
    """Write a picture of the source images of direction 0 -> 1 along each way, image by image."""
    results = [run(way, pair, 0, amount) for way in ways]
    sources = to_uint8(pair.images[0])
    rows = [(image, way, result) for image in range(len(sources)) for way, result in zip(ways, results, strict=True)]
    targets = np.stack([to_uint8(result.targets[image].clamp(-1, 1)) for image, _, result in rows])
    captions = [[f"depth {depth}" for depth in result.depths[image].tolist()] if result.weights is None else
                [f"weight {weight:.2f}" for weight in result.weights[image, :, 1].tolist()]
                for image, _, result in rows]
    headings = [f"label {m / amount:.2f}" for m in range(1, amount + 1)]
    save_png(path, draw_overview(sources[[image for image, _, _ in rows]], targets, captions, headings,
                                 [way.replace(":", ", ") for _, way, _ in rows], "stroma to gland"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mild", help="run folder of the phantom's milder domain; left out: the embedded tissue")
    parser.add_argument("--severe", help="run folder of its more severe domain")
    parser.add_argument("--severity", help="severity.csv of the phantom set, beside its folder test/")
    parser.add_argument("--images", type=int, default=20, help="source images in each direction")
    parser.add_argument("--amount", type=int, default=10, help="images of each source image")
    parser.add_argument("--ways", default=",".join(WAYS), help="paths and their rules, such as blend:even")
    parser.add_argument("--accuracy", action="store_true", help="the distance to many steps, in place of progress")
    parser.add_argument("--labels", action="store_true", help="the label rules on the phantom, in place of progress")
    parser.add_argument("--picture", type=Path, help="write this picture of the tissue's ways, and nothing else")
    args = parser.parse_args()
    given = (args.mild, args.severe, args.severity)
    if any(given) and not all(given):
        parser.error("expected --mild, --severe and --severity, or none of them")
    phantom = Phantom(*given, args.images) if all(given) else None
    pair = phantom.pair if phantom else tissue_pair(args.images)
    pair = Pair(pair.models, [spread(x, args.images) for x in pair.images], pair.progress)
    for model, *_ in pair.models:
        model.to(memory_format=torch.channels_last)
    if args.picture:
        draw(pair, args.ways.split(","), args.amount, args.picture)
    elif args.accuracy:
        paths = dict.fromkeys(way.split(":")[0] for way in args.ways.split(",") if not way.startswith("mosaic"))
        accuracy_table({"phantom" if phantom else "tissue": pair}, paths, args.amount)
    elif args.labels:
        if phantom is None:
            parser.error("--labels needs --mild, --severe and --severity")
        labels_table(phantom, args.ways.split(","), args.amount, Path(args.severity).parent / "train")
    elif phantom:
        phantom_table(phantom, args.ways.split(","), args.amount)
    else:
        tissue_table(pair, args.ways.split(","), args.amount)


if __name__ == "__main__":
    main()
