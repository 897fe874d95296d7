"""Sort public images with a measured order into a folder that a study takes: train/, test/, test_all/ and unlabelled/.

python benchmarks/study_sets.py --set red_cells --table data/rbc/table.csv --out_dir data/red_cells
python scripts/compare.py --dataset data/red_cells --domains round,elongated --draws 6 --image_size 36 --num_train 50

Sets, and the columns that their table needs beside `image` (relative to it) and `split` (train or test):
  red_cells  `smear,photograph,type,axis_ratio`: single whole cells cut from Chula-RBC-12 (Naruenatthanaset et al. 2021,
             arXiv:2012.01321; MIT licence), from photographs with both types. axis_ratio is minor by major axis of the
             segmented cell. Ends: round (normal, 0.88 or more) and elongated (ovalocyte, 0.70 or less). Severity is
             1 - axis_ratio; test_all holds test cells of all ratios, from a twentieth as many as the median one holds.
  oval_cells  the same table; ends by the ratio alone, 0.88 or more and 0.78 or less, so that there are enough to match
  pap_cells  `field,class`: cells cut from CRIC Cervix (Rezende et al. 2021, Sci. Data 8, 151; CC BY 4.0) around the
             nucleus. Ends: NILM and LSIL; ASC-US, severity 1 of 0 to 2, stands between them in test_all. HSIL is left
             out: it comes from few fields, which their stain gives away.
  knees      `patient,grade`: radiographs by Kellgren-Lawrence grade (Chen 2018, doi:10.17632/56rmx5bjcr.1; CC BY 4.0).
             Ends: grade 0, and grades 3 and 4; test_all holds every grade.

--matched keeps of every group of training images as many of the one end as of the other, chosen at random. Where most
images of an end come from few groups, a smear tells the end by its colour and light; matched, it tells nothing.

unlabelled/ holds what lies between the ends and is no test image, for `--unlabelled_dir`: nothing tells its stage.

In test_all every image lies in the folder of the nearer end. Tables severity.csv and groups.csv (smear, field, patient)
lie in the first three, groups.csv in all.
"""
import argparse
import collections
import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from add.data.groups import write_groups
from add.data.read_back import read_rows
from add.data.severity_table import write_severity
from add.data.whole_folder import check_new, whole_folder
from add.errors import UserError
from add.interfaces import Row

BINS = 20  # of the axis ratio from 0 to 1


@dataclasses.dataclass(frozen=True)
class StudySet:
    """How a table's rows are sorted.

    columns: {name: type} beside image and split. group: the column of groups. match_by: the column of what is matched,
    a part of a group. ends: names of the two domains in order.
    severity: severity(row), None to leave the image out. end: the number of the domain that a row is an example of, or
    None. middle: the severity half way. even: whether test_all takes as many from every bin of the severity.
    """

    columns: dict[str, type]
    group: str
    ends: tuple[str, str]
    severity: Callable[[Row], float | None]
    end: Callable[[Row], int | None]
    middle: float
    even: bool = False
    match_by: str = ""

    @property
    def matched_in(self) -> str:
        """The column of which every value gives as many images of both ends, where they are matched."""
        return self.match_by or self.group


def _end_of_cell(row):
    if row["type"] == "normal" and row["axis_ratio"] >= 0.88:
        return 0
    return 1 if row["type"] == "ovalocyte" and row["axis_ratio"] <= 0.70 else None


def _end_by_ratio(row):
    return 0 if row["axis_ratio"] >= 0.88 else 1 if row["axis_ratio"] <= 0.78 else None


_CELLS = StudySet({"smear": str, "photograph": str, "type": str, "axis_ratio": float}, "smear", ("round", "elongated"),
                  lambda row: 1 - row["axis_ratio"], _end_of_cell, 0.21, even=True, match_by="photograph")
SETS = {
    "red_cells": _CELLS,
    "oval_cells": dataclasses.replace(_CELLS, end=_end_by_ratio, middle=0.17),
    "pap_cells": StudySet({"field": str, "class": str}, "field", ("NILM", "LSIL"),
                          lambda row: {"NILM": 0.0, "ASC-US": 1.0, "LSIL": 2.0}.get(row["class"]),
                          lambda row: {"NILM": 0, "LSIL": 1}.get(row["class"]), 1.0),
    "knees": StudySet({"patient": str, "grade": float}, "patient", ("grade0", "grade3and4"),
                      lambda row: row["grade"], lambda row: {0.0: 0, 3.0: 1, 4.0: 1}.get(row["grade"]), 1.75),
}


def sort_images(chosen: StudySet, table: Path, out_dir: Path, seed: int = 0, matched: bool = False
                ) -> dict[str, collections.Counter]:
    """Copy the images of a table into the folders of a study and return {part: {domain: images}}.

    Args:
        matched: whether every group gives as many training images of the one end as of the other.

    Raises:
        UserError: a damaged table, or a folder that is there already.
    """
    check_new(out_dir, "out_dir")
    rows = [row for row in read_rows(table, {"image": str, "split": str, **chosen.columns})
            if chosen.severity(row) is not None]
    tested = [row for row in rows if row["split"] == "test"]
    parts = {"train": [row for row in rows if row["split"] == "train" and chosen.end(row) is not None],
             "test": [row for row in tested if chosen.end(row) is not None],
             "test_all": evenly(tested, chosen.severity, seed) if chosen.even else tested}
    if matched:
        parts["train"] = match(parts["train"], chosen, seed)
    between = [row for row in rows if row["split"] == "train" and chosen.end(row) is None]
    with whole_folder(out_dir) as folder:
        (folder / "unlabelled").mkdir()
        for row in between:
            shutil.copyfile(table.parent / row["image"], folder / "unlabelled" / Path(row["image"]).name)
        write_groups(folder / "unlabelled", {Path(row["image"]).name: row[chosen.group] for row in between})
        counts = {"unlabelled": collections.Counter(images=len(between))}
        for part, own in parts.items():
            severities, groups = {}, {}
            for row in own:
                severity = chosen.severity(row)
                number = int(severity > chosen.middle) if part == "test_all" else chosen.end(row)
                name = f"{chosen.ends[number]}/{Path(row['image']).name}"
                (folder / part / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(table.parent / row["image"], folder / part / name)
                severities[name], groups[name] = severity, row[chosen.group]
            write_severity(folder / part, severities)
            write_groups(folder / part, groups)
            counts[part] = collections.Counter(name.split("/")[0] for name in severities)
    return counts


def match(rows: list[Row], chosen: StudySet, seed: int) -> list[Row]:
    """Return the rows of which every group, or part of one, holds as many of both ends, chosen at random."""
    found = collections.defaultdict(lambda: ([], []))
    for place in np.random.default_rng(seed).permutation(len(rows)).tolist():
        found[rows[place][chosen.matched_in]][chosen.end(rows[place])].append(place)
    kept = [own[:min(map(len, ends))] for ends in found.values() for own in ends]
    return [rows[place] for place in sorted(place for own in kept for place in own)]


def evenly(rows: list[Row], severity: Callable[[Row], float], seed: int) -> list[Row]:
    """Return the rows of which every bin of the severity that holds enough has as many; those that hold fewer, all.

    Enough is what the median bin holds.
    """
    bins = collections.defaultdict(list)
    for row in rows:
        bins[min(int(severity(row) * BINS), BINS - 1)].append(row)
    most = int(np.median([len(own) for own in bins.values()]))
    rng = np.random.default_rng(seed)
    return [own[i] for _, own in sorted(bins.items()) for i in sorted(rng.permutation(len(own))[:most].tolist())]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, required=True, help="what the table lists")
    parser.add_argument("--table", type=Path, required=True, help="CSV file; the images lie relative to it")
    parser.add_argument("--out_dir", type=Path, required=True, help="new folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="of the choice among images of one bin or group (0)")
    parser.add_argument("--matched", action="store_true", help="as many training images of both ends from every group")
    args = parser.parse_args(argv)
    try:
        counts = sort_images(SETS[args.set], args.table, args.out_dir, args.seed, args.matched)
    except UserError as error:
        sys.exit(f"error: {error}")
    for part, own in counts.items():
        print(f"{args.out_dir / part}: " + ", ".join(f"{count} {name}" for name, count in own.items()))


if __name__ == "__main__":
    main()
