"""Are generated images between two stages nearer to real ones between them than mixed pixels are? KID of a study.

python benchmarks/between_images.py --study results/study --num_train 50

The real images are a study's test images whose true place lies between --low and --high of the way from one end to the
other, of slides, patients or fields that nothing was trained on. Beside the middle steps of the translations, labelled
from 0.4 to 0.6, stand what a user has without them: the training images of both ends as they are, pairs of them mixed
in the same shares, samples and full translations of both ends. Unlabelled images that a study had, real ones between
its ends, are a guide to how near one can come. KID is the unbiased squared MMD (Gretton et al. 2012, Eq. 3) of
EfficientNet-Lite0's features, so that sets of other sizes compare. The table has means over the draws with half the
width of their 95 % interval (Student's), and the difference to mixed pairs in every draw.
"""
import argparse
from pathlib import Path

import numpy as np
import torch

from add.classification.comparison_data import domain_severities
from add.classification.labelled_images import read_domains, read_translations
from add.classification.scores import interval, mean_and_ends, mean_and_half
from add.data.folders import list_images
from add.data.read_back import read_json
from add.data.read_images import read_folder
from add.data.severity_table import read_severity
from add.data.transforms import to_model_input
from add.metrics.image_features import load_features
from add.metrics.kid import squared_mmd
from add.results.translation_series import read_series
from add.study.study_plan import translations
from add.study.study_report import read_scores

MIDDLE = (0.4, 0.6)  # labels of the steps that are taken
MOST = 150  # images of a set
MIXED = "pairs of training images of both ends, mixed"


def mixed_between(real, count, rng):
    """Return `count` images [count, 3, H, W], each of one of either end, in shares from MIDDLE of the second."""
    classes = real.labels.argmax(dim=1)
    first, second = (real.images[classes == k] for k in (0, real.labels.shape[1] - 1))
    share = torch.from_numpy(rng.uniform(*MIDDLE, size=(count, 1, 1, 1))).float()
    return ((1 - share) * first[rng.integers(len(first), size=count)]
            + share * second[rng.integers(len(second), size=count)])


def sets_of(draw, options, low, high):
    """Return (real images between the ends, {what: images}) of a draw's folder, images [n, 3, H, W] in [-1, 1]."""
    folder, size = draw / f"n{options['num_train']}", options["image_size"]
    names = read_scores(folder)["settings"]["domains"]
    train, tested = read_domains(folder / "train", size, names), draw / "test" / "all"
    test = read_domains(tested, size, names)
    first, last = domain_severities(argparse.Namespace(data_dir=folder / "train"), train).means
    place = (read_severity(tested, test.paths) - first) / (last - first)
    rng = np.random.default_rng(0)
    full, progressive = read_translations(map(read_series, translations(folder)), size, len(names))
    is_middle = (progressive.labels[:, -1] - np.mean(MIDDLE)).abs() < (MIDDLE[1] - MIDDLE[0]) / 2 + 1e-6
    found = {"middle steps of translations": progressive.images[is_middle],
             "full translations of both ends": full.images,
             "training images of both ends": train.data.images,
             MIXED: mixed_between(train.data, MOST, rng)}
    if (folder / "samples").exists():
        found["samples of both ends"] = read_domains(folder / "samples", size, names).data.images
    if options.get("unlabelled_dir"):
        images, *_ = read_folder(list_images(options["unlabelled_dir"]), size)
        found["real ones, of the unlabelled images"] = to_model_input(images)
    between = test.data.images[torch.from_numpy((place > low) & (place < high))]
    return between, {what: images[np.sort(rng.permutation(len(images))[:MOST])] for what, images in found.items()}


def distances(draws, features):
    """Return ({what: [KID in every draw]}, [number of real images between the ends in every draw])."""
    found, counts, known = {}, [], {}
    for between, sets in draws:
        key = between.numpy().tobytes()  # the draws of a folder share their test images
        if key not in known:
            known[key] = features(between)
        counts.append(len(between))
        for what, images in sets.items():
            found.setdefault(what, []).append(squared_mmd(known[key], features(images)).item())
    return found, counts


def table(found):
    """Return Markdown lines: the nearest set first, and each set's difference to mixed pairs."""
    lines = ["| images | KID to real ones between the ends | less that of mixed pairs | by draw |", "| --- " * 4 + "|"]
    for what, values in sorted(found.items(), key=lambda row: np.mean(row[1])):
        apart = [own - other for own, other in zip(values, found[MIXED], strict=True)]
        less, kid = interval(apart), interval(values)
        cells = [mean_and_half(kid.mean, kid.low, 3),
                 mean_and_ends(*less[:3], 3),
                 ", ".join(f"{value:+.3f}" for value in apart)]
        lines.append(f"| {what} | {' | '.join(cells) if what != MIXED else f'{cells[0]} | |'} |")
    return lines


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="folder of a study of several draws")
    parser.add_argument("--num_train", default="50", help="training images per domain (50)")
    parser.add_argument("--low", type=float, default=0.25, help="least place of an image between the ends (0.25)")
    parser.add_argument("--high", type=float, default=0.75, help="largest place (0.75)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    options = read_json(args.study / "study_options.json", {str: object}) | {"num_train": args.num_train}
    draws = [sets_of(draw, options, args.low, args.high) for draw in sorted(args.study.glob("draw_*"))
             if all(path.exists() for path in translations(draw / f"n{args.num_train}"))]
    found, counts = distances(draws, load_features())
    print(f"{len(draws)} draws, {', '.join(map(str, counts))} real images between the ends, at most {MOST} of the "
          f"others\n")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
