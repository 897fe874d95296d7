"""How far do red cells come along their translations? The axis ratio of generated cells, measured, beside their labels.

python benchmarks/cell_shapes.py --study results/study --num_train 50

The study is one of red cells that study_sets.py sorted by their measured axis ratio; severity is 1 less the ratio. Here
the cells of every step are measured as cut_sets.py measures real ones, after enlarging them, and placed between the
means of the training images' measures: 0 the first end, 1 the last. The first table says how well that repeats the
measures of real test cells, the second how far the cells of each step have come; those of step 0 are the real cells
that the translations start from. The third holds labels against places (cut off to 0 and 1): those of the translations,
by every rule whose labels are there and, to compare, one half for all; and the shares of pairs of real training images
whose pixels are mixed, the control. Intervals are Student's over the draws, 95 %.
"""
import argparse
from pathlib import Path

import numpy as np
import torch
from cut_sets import axis_ratio, segment
from PIL import Image
from scipy.stats import spearmanr
from skimage import filters

from add.classification.classifier_methods import mixed_pairs
from add.classification.comparison_data import domain_severities
from add.classification.label_rules import LABEL_RULES
from add.classification.labelled_images import all_images, read_domains
from add.classification.scores import interval, mean_and_half
from add.data.read_back import read_json
from add.data.severity_table import read_severity
from add.metrics.image_features import to_bytes
from add.results.figures import new_figure, save_figure
from add.results.translation_series import label_path, read_series
from add.study.study_plan import translations
from add.study.study_report import read_scores

SIDE = 96  # pixels that images are enlarged to before a threshold cuts a cell out
SMALLEST, LARGEST = 0.05, 0.8  # of the image, that a cell covers
CONVEX = 0.9  # least share of its convex hull that a cell fills; enlarged pixels are less smooth than photographs


def elongation(pixels):
    """Return 1 less the axis ratio of the cell in the middle of an image uint8 [H, W, 3]; NaN where none is there."""
    green = np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC))[..., 1]
    if green.min() == green.max():
        return np.nan
    labelled, regions = segment(green, filters.threshold_otsu)
    region = regions.get(labelled[SIDE // 2, SIDE // 2])
    is_there = region is not None and SMALLEST < region.area / SIDE**2 < LARGEST and region.solidity >= CONVEX
    return 1 - axis_ratio(region) if is_there else np.nan


def elongations(images):
    """Return the elongations float64 [n] of images [n, 3, H, W] in [-1, 1]."""
    return np.array([elongation(pixels) for pixels in to_bytes(images).permute(0, 2, 3, 1).numpy()])


def read_draw(draw, options):
    """Return (repeated, steps, labels) of a draw's folder.

    repeated: (share of test cells that were measured again, correlation with their severity). steps: {direction: [mean
    place of the sources, and of step m = 1..N]}. labels: {what: what `judged` returns of them}.
    """
    folder, size = draw / f"n{options['num_train']}", options["image_size"]
    names = read_scores(folder)["settings"]["domains"]
    tested, train = draw / "test" / "all", read_domains(folder / "train", size, names)
    test = read_domains(tested, size, names)
    first, last = domain_severities(argparse.Namespace(data_dir=folder / "train"), train).means
    again, severity = elongations(test.data.images), read_severity(tested, test.paths)
    found = np.isfinite(again)
    own_severity = read_severity(folder / "train", train.paths)
    steps, places, series = {}, [], []
    for path in translations(folder):
        own = read_series(path)
        places.append((elongations(all_images(own.image_set(size))) - first) / (last - first))
        series.append(own)
        sources = {Path(name).name for name in own.source_images}
        is_source = [k == own.source and Path(path).name in sources
                     for k, path in zip(train.classes.tolist(), train.paths, strict=True)]
        steps[f"{names[own.source]} to {names[own.target]}"] = [
            float((own_severity[is_source].mean() - first) / (last - first)),
            *(float(np.nanmean(places[-1][own.m == m])) for m in range(1, int(own.m.max()) + 1))]
    mixed = mixed_pairs(train.data, seed=0)
    labels = {"pairs of real cells, mixed": judged((elongations(mixed.images) - first) / (last - first),
                                                   mixed.labels[:, 1].numpy())}
    labels["translations, all labelled one half"] = judged(np.concatenate(places), np.full(sum(map(len, series)), 0.5))
    for rule in LABEL_RULES:
        if all(label_path(own.folder, rule).exists() for own in series):
            labels[f"translations, labels by {rule}"] = judged(np.concatenate(places), np.concatenate(
                [read_series(own.folder, rule).labels[:, 1] for own in series]))
    return (found.mean(), np.corrcoef(again[found], severity[found])[0, 1]), steps, labels


def judged(places, labels):
    """Return (share that was measured, rank correlation, root mean square error, mean error) of labels of places.

    The rank correlation of labels that are all alike is 0.
    """
    found = np.isfinite(places)
    error = labels[found] - places[found].clip(0, 1)
    rank = spearmanr(labels[found], places[found]).statistic if np.ptp(labels) else 0.0
    return found.mean(), rank, np.sqrt((error**2).mean()), error.mean()


def plot_steps(path, draws):
    """Write a PNG of the mean places step by step: a thin line for each draw, and their mean with its interval."""
    figure, axes = new_figure(1, 1, (6.4, 4.2))
    axis = axes[0][0]
    for color, direction in enumerate(draws[0][1]):
        means = np.array([draw[1][direction] for draw in draws])  # [draws, 1 + N]
        axis.plot(means.T, color=f"C{color}", linewidth=0.8, alpha=0.4)
        own = [interval(step.tolist()) for step in means.T]
        halves = [0.0 if step.low is None else step.mean - step.low for step in own]
        axis.errorbar(range(len(own)), [step.mean for step in own], halves, fmt="o-", capsize=2, markersize=4,
                      color=f"C{color}", label=direction)
    for end in (0, 1):
        axis.axhline(end, color="0.7", linewidth=1)
    axis.set(xlabel="step of the translation (0: the real cells that it starts from)",
             ylabel="measured place between the ends' means")
    axis.legend(frameon=False, loc="center left", fontsize=9)
    figure.tight_layout()
    save_figure(path, figure)


def shown(values, digits=2, sign=""):
    """Return a mean with half the width of its interval."""
    own = interval([float(value) for value in values])
    return mean_and_half(own.mean, own.low, digits, sign)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="folder of a study of several draws")
    parser.add_argument("--num_train", default="50", help="training images per domain (50)")
    parser.add_argument("--plot", type=Path, help="PNG to draw the steps into")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    options = read_json(args.study / "study_options.json", {str: object}) | {"num_train": args.num_train}
    draws = [read_draw(draw, options) for draw in sorted(args.study.glob("draw_*"))
             if all(path.exists() for path in translations(draw / f"n{args.num_train}"))]
    found, same = zip(*(draw[0] for draw in draws), strict=True)
    print("| test cells measured again | found | correlation |\n| --- | --- | --- |")
    print(f"| {len(draws)} draws | {shown(found)} | {shown(same, 3)} |\n")
    steps = range(len(next(iter(draws[0][1].values()))))
    print(f"| step | {' | '.join(map(str, steps))} |\n{'| --- ' * (len(steps) + 1)}|")
    for direction in draws[0][1]:
        print(f"| {direction} | {' | '.join(shown([draw[1][direction][m] for draw in draws]) for m in steps)} |")
    if args.plot:
        plot_steps(args.plot, draws)
    print("\n| labels | measured | rank correlation | error | bias |\n| --- | --- | --- | --- | --- |")
    for what in draws[0][2]:
        measured, rank, error, bias = zip(*(draw[2][what] for draw in draws), strict=True)
        print(f"| {what} | {np.mean(measured):.2f} | {shown(rank)} | {shown(error, 3)} | {shown(bias, 3, '+')} |")


if __name__ == "__main__":
    main()
