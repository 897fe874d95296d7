"""Cut the images of public data sets, as their publishers give them, into the tables that study_sets.py sorts.

python benchmarks/cut_sets.py --set red_cells --source Chula-RBC-12-Dataset --out_dir data/rbc
python benchmarks/study_sets.py --set oval_cells --matched --table data/rbc/table.csv --out_dir data/oval_cells

Sets, and what --source is:
  red_cells  Chula-RBC-12 (Naruenatthanaset et al. 2021, arXiv:2012.01321; MIT licence): the folder with Dataset/N.jpg,
             photographs of smears, and Label/N.txt, lines `x y type` of their cells. Cut are single whole cells of the
             types 0 (normal) and 6 (ovalocyte) from photographs that hold both, 72 pixels around the middle. Which
             photographs show one smear is not told; numbers that follow each other with backgrounds alike count as one.
  pap_cells  CRIC Cervix (Rezende et al. 2021, Sci. Data 8, 151; CC BY 4.0): the folder with the fields' images and
             classifications.csv. Cut are 96 pixels around the nuclei of NILM, ASC-US, LSIL and HSIL.
  knees      radiographs (Chen 2018, doi:10.17632/56rmx5bjcr.1; CC BY 4.0): ClsKLData/kneeKL224, folders PART/GRADE with
             images named by patient and side, such as 9001695L.png. 128 pixels; left knees are mirrored, negatives
             turned back.

Into --out_dir go images/ and table.csv: image, split, group (smear, field, patient), and what the set knows of an
image. --test_share of the groups, chosen at random, are for testing, all their images with them.

A red cell's axis_ratio is the minor by the major axis of its segmented area (Otsu's threshold on green, holes filled,
second moments). `--repeat` prints how well it repeats: with Li's threshold, in the blue channel, of the cell turned by
30 degrees, and of one photographed at half the resolution.
"""
import argparse
import collections
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import filters, measure

from add.data.files import save_csv, save_png
from add.data.image_file import read_image
from add.data.read_back import read_rows
from add.data.transforms import center_crop
from add.data.whole_folder import check_new, whole_folder
from add.errors import UserError
from add.interfaces import Row

CELL, NUCLEUS, KNEE = 72, 96, 128  # pixels
LEAST_AREA = 200  # pixels
CONVEX = 0.95  # least share of its convex hull that a cell fills; two that touch fill less
TYPES = {0: "normal", 6: "ovalocyte"}
CLASSES = {"Negative for intraepithelial lesion": "NILM", "ASC-US": "ASC-US", "LSIL": "LSIL", "HSIL": "HSIL"}
SAME_SMEAR = 10  # grey levels that the backgrounds of two photographs in a row differ by at most, in every channel
COLUMNS = {"red_cells": ("smear", "photograph", "type", "axis_ratio", "area_px"), "pap_cells": ("field", "class"),
           "knees": ("patient", "grade")}  # the group first


class Cut(NamedTuple):
    """An image of a set: its name, its pixels uint8 [H, W, 3], and the values of COLUMNS."""

    name: str
    pixels: np.ndarray
    known: Row


def red_cells(source: Path) -> Iterator[Cut]:
    """Yield the single whole cells of two types, from photographs that hold both."""
    smears = smears_of(source / "Dataset")
    for points in sorted((source / "Label").glob("*.txt"), key=by_number):  # some photographs have none
        pixels = read_image(source / "Dataset" / f"{points.stem}.jpg")
        labelled, regions = segment(pixels[..., 1], filters.threshold_otsu)
        found = collections.defaultdict(list)
        for x, y, kind in read_points(points):
            if y < len(labelled) and x < labelled.shape[1]:
                found[labelled[y, x]].append(kind)
        own = [(regions[place], TYPES[kinds[0]]) for place, kinds in sorted(found.items())
               if place and len(kinds) == 1 and kinds[0] in TYPES and is_cell(regions[place], labelled.shape)]
        cuts = [(cell, kind, crop) for cell, kind in own
                if (crop := around(pixels, *cell.centroid[::-1], CELL)) is not None]
        if {kind for _, kind, _ in cuts} == set(TYPES.values()):
            yield from (Cut(f"photograph{points.stem}_{i:03d}", crop, {
                "smear": smears[points.stem], "photograph": points.stem, "type": kind,
                "axis_ratio": f"{axis_ratio(cell):.4f}", "area_px": int(cell.area)})
                for i, (cell, kind, crop) in enumerate(cuts))


def by_number(path: Path) -> int:
    """Return the number that a file is named by."""
    return int(path.stem)


def smears_of(folder: Path) -> dict[str, str]:
    """Return {photograph: name of its smear}: as long as the background hardly changes from number to number, one.

    The background is the 85th percentile of each channel.
    """
    smears: dict[str, str] = {}
    name, before = "", np.full(3, np.inf)
    for path in sorted(folder.glob("*.jpg"), key=by_number):
        background = np.percentile(read_image(path)[::4, ::4].reshape(-1, 3), 85, axis=0)
        name = name if np.abs(background - before).max() <= SAME_SMEAR else f"smear{path.stem}"
        smears[path.stem], before = name, background
    return smears


def read_points(path: Path) -> list[tuple[int, int, int]]:
    """Return the (x, y, type) of a file of labels.

    Raises:
        UserError: a line that is not three whole numbers, none of them below 0.
    """
    points = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        words = line.split()
        if words and (len(words) != 3 or not all(map(str.isdecimal, words))):
            raise UserError(f"{path}, line {number} is {line!r}: expected x, y and type of a cell, whole numbers; get "
                            f"the file again")
        points += [tuple(map(int, words))] if words else []
    return points


def segment(grey: np.ndarray, threshold) -> tuple[np.ndarray, Row]:
    """Return (labels int [H, W], {label: region of scikit-image}) of what is darker than a threshold; 0 is not."""
    labelled = measure.label(ndimage.binary_fill_holes(grey < threshold(grey)))
    return labelled, {region.label: region for region in measure.regionprops(labelled)}


def is_cell(region, shape) -> bool:
    """Return whether a region of an image of this shape is whole, and one cell."""
    top, left, bottom, right = region.bbox
    inside = top > 0 and left > 0 and bottom < shape[0] and right < shape[1]
    return inside and region.area >= LEAST_AREA and region.solidity >= CONVEX


def axis_ratio(region) -> float:
    """Return the minor by the major axis of the ellipse with a region's second moments."""
    return region.axis_minor_length / max(region.axis_major_length, 1e-9)


def around(pixels: np.ndarray, x: float, y: float, side: int) -> np.ndarray | None:
    """Return the square of `side` pixels around a point, or None where it reaches beyond the image."""
    top, left = round(y) - side // 2, round(x) - side // 2
    inside = min(top, left) >= 0 and top + side <= pixels.shape[0] and left + side <= pixels.shape[1]
    return pixels[top:top + side, left:left + side] if inside else None


def pap_cells(source: Path) -> Iterator[Cut]:
    """Yield squares around the nuclei of four classes."""
    fields = collections.defaultdict(list)
    for row in read_rows(source / "classifications.csv", {
            "image_filename": str, "cell_id": str, "bethesda_system": str, "nucleus_x": float, "nucleus_y": float}):
        fields[row["image_filename"]].append(row)
    for name, rows in sorted(fields.items()):
        pixels = read_image(source / name)
        for row in rows:
            crop = around(pixels, row["nucleus_x"], row["nucleus_y"], NUCLEUS)
            if crop is not None and row["bethesda_system"] in CLASSES:
                stem = Path(name).stem
                yield Cut(f"{stem}_{row['cell_id']}", crop, {"field": stem, "class": CLASSES[row["bethesda_system"]]})


def knees(source: Path) -> Iterator[Cut]:
    """Yield all radiographs as right knees, bones bright."""
    for path in sorted(source.glob("*/[0-4]/*.png")):
        patient, side = path.stem[:-1], path.stem[-1]
        pixels = read_image(path)
        pixels = 255 - pixels if is_negative(pixels) else pixels
        pixels = np.ascontiguousarray(pixels[:, ::-1]) if side == "L" else pixels
        yield Cut(f"patient{patient}_{side}", center_crop(pixels, KNEE),
                  {"patient": f"patient{patient}", "grade": path.parent.name})


def is_negative(pixels: np.ndarray) -> bool:
    """Return whether a knee is darker than what stands beside it: the middle half against the outer eighths."""
    grey, width = pixels.mean(axis=2), pixels.shape[1]
    middle = grey[:, width // 4:3 * width // 4].mean()
    return bool(middle < np.concatenate([grey[:, :width // 8], grey[:, -(width // 8):]], axis=1).mean())


SETS = {"red_cells": red_cells, "pap_cells": pap_cells, "knees": knees}


def cut(name: str, source: Path, out_dir: Path, test_share: float, seed: int) -> Row:
    """Cut a set into a new folder, and return {split: number of images}.

    Raises:
        UserError: the folder is there already, or nothing was found to cut.
    """
    check_new(out_dir, "out_dir")
    with whole_folder(out_dir) as folder:
        (folder / "images").mkdir()
        known = []
        for image in SETS[name](source):
            known.append({"image": f"images/{image.name}.png", **image.known})
            save_png(folder / known[-1]["image"], image.pixels)
        if not known:
            raise UserError(f"{source} holds no images of {name}: expected the folder that --help names; look at the "
                            f"path")
        group = COLUMNS[name][0]
        groups = sorted({row[group] for row in known})
        tested = set(np.random.default_rng(seed).permutation(groups)[:round(test_share * len(groups))].tolist())
        rows = [row | {"split": "test" if row[group] in tested else "train"} for row in known]
        columns = ("image", "split", *COLUMNS[name])
        save_csv(folder / "table.csv", [columns, *([row[column] for column in columns] for row in rows)])
    return collections.Counter(row["split"] for row in rows)


def repeatability(folder: Path) -> Iterator[tuple[str, float, float, float, float]]:
    """Yield for each way to measure an axis ratio again: its name, cells found, correlation, bias, and spread (sd)."""
    rows = read_rows(folder / "table.csv", {"image": str, "axis_ratio": float, "area_px": float})
    images = [read_image(folder / row["image"]) for row in rows]
    ratio, area = (np.array([row[column] for row in rows]) for column in ("axis_ratio", "area_px"))
    for name, measured in WAYS.items():
        values = np.full(len(rows), np.nan)
        for i, pixels in enumerate(images):
            labelled, regions = segment(*measured(pixels))
            region = regions.get(labelled[len(labelled) // 2, len(labelled) // 2])
            share = region.area * (CELL / len(labelled)) ** 2 / area[i] if region else 0
            if 2 / 3 < share < 3 / 2:  # else it is another cell, or several
                values[i] = axis_ratio(region)
        found = np.isfinite(values)
        difference = (values - ratio)[found]
        yield (name, found.mean(), np.corrcoef(values[found], ratio[found])[0, 1], difference.mean(),
               difference.std())


def _turned(pixels):
    background = tuple(int(value) for value in np.percentile(pixels.reshape(-1, 3), 90, axis=0))
    image = Image.fromarray(pixels).rotate(30, Image.Resampling.BICUBIC, fillcolor=background)
    return np.asarray(image)[..., 1]


def _halved(pixels):
    return np.asarray(Image.fromarray(pixels).resize((CELL // 2, CELL // 2), Image.Resampling.BOX))[..., 1]


WAYS = {"of the cut square": lambda pixels: (pixels[..., 1], filters.threshold_otsu),
        "Li's threshold": lambda pixels: (pixels[..., 1], filters.threshold_li),
        "blue channel": lambda pixels: (pixels[..., 2], filters.threshold_otsu),
        "turned by 30 degrees": lambda pixels: (_turned(pixels), filters.threshold_otsu),
        "half the resolution": lambda pixels: (_halved(pixels), filters.threshold_otsu)}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, required=True, help="what the source holds")
    parser.add_argument("--source", type=Path, required=True, help="the publisher's folder")
    parser.add_argument("--out_dir", type=Path, required=True, help="new folder to write to")
    parser.add_argument("--test_share", type=float, default=0.3, help="of the groups, for testing (0.3)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of groups (0)")
    parser.add_argument("--repeat", action="store_true", help="measure the cut red cells again, in other ways")
    args = parser.parse_args(argv)
    if args.repeat and args.set != "red_cells":
        parser.error("--repeat measures red cells again: expected --set red_cells with it")
    try:
        counts = cut(args.set, args.source, args.out_dir, args.test_share, args.seed)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{args.out_dir / 'table.csv'}: {counts['train']} images to train on, {counts['test']} to test on")
    if args.repeat:
        print("| axis ratio measured again | found | correlation | bias | spread |\n| --- | --- | --- | --- | --- |")
        for name, found, correlation, bias, spread in repeatability(args.out_dir):
            print(f"| {name} | {found:.1%} | {correlation:.3f} | {bias:+.3f} | {spread:.3f} |")


if __name__ == "__main__":
    main()
