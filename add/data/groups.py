"""Groups of images that belong together, such as the tiles of one slide or patient, and splits that keep them together.

Tiles of one patient look alike: a classifier that has seen some of them knows the others. So a group stands on one side
of every split. An image's group is told by its name, with a regular expression, or by a table `groups.csv`, a row
`image,group` for each, `image` relative to the table's folder.
"""
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from add.data.files import join, relative_name, save_csv
from add.data.manifest import manifest_of, read_manifest
from add.data.read_back import read_rows
from add.data.tar_shards import member_of, open_shard, shards_of
from add.errors import UserError
from add.interfaces import PathLike

TABLE = "groups.csv"
LAST_FOLDER = "([^/]+)/[^/]+$"  # the folder that an image lies in, as a pattern
COMPLETE = "remove the table, complete it, or give --group_pattern"
SHOWN = 5  # names in a message


def read_groups(folder: PathLike, paths: Sequence[PathLike], pattern: str = "") -> list[str] | None:
    """Return the group of each image, or None where nothing tells any.

    Args:
        folder: what the paths lie below; the pattern sees them relative to it, and the table lies in it or beside it.
            Or a manifest, which has a column for them.
        paths: [n].
        pattern: regular expression; its first bracketed part, else the whole match, is the group. Empty: the table's.

    Raises:
        UserError: the pattern is none or does not match some image, or the table lacks some.
    """
    if not pattern and (shards := shards_of(folder)) is not None:
        return _by_shards(shards, paths)
    entries = None if pattern else read_manifest(folder)
    if entries is not None:
        return _by_manifest(folder, entries, paths)
    if pattern:
        return _by_pattern((_relative(path, folder) for path in paths), pattern)
    table = next((path for path in (Path(folder) / TABLE, Path(folder).parent / TABLE) if path.is_file()), None)
    return None if table is None else _by_table(table, paths)


def hint_at_groups(folder: PathLike, paths: Sequence[PathLike], depth: int = 1) -> str:
    """Return a sentence that images lie in subfolders, which may be slides or patients, where nothing names groups.

    Args:
        depth: place of those subfolders in a name below `folder`: 1, or 2 below a subfolder for each domain.
    """
    if shards_of(folder) is not None:  # a tar is no slide
        return ""
    if not len(paths) or not all(_relative(path, folder).count("/") >= depth for path in paths):
        return ""
    subfolder = _relative(paths[0], folder).split("/")[-2]
    return (f"the images lie in subfolders such as {subfolder}: where these are slides or patients, --group_pattern "
            f"'{LAST_FOLDER}' keeps each on one side")


def write_groups(folder: PathLike, groups: Mapping[str, str]) -> None:
    """Write the table of a folder from {image relative to it: group}."""
    save_csv(Path(folder) / TABLE, [("image", "group"), *groups.items()])


def hold_out(labels: ArrayLike, fraction: float, order: ArrayLike, groups: Sequence[Any] | None = None) -> np.ndarray:
    """Return the sorted indices of the images to hold out: about `fraction` of each class, groups undivided.

    Groups are taken in the order in which they first appear, as long as they fit. A class keeps at least one image, and
    gives at least one where it has two and fraction > 0; its smallest group is taken where none fits.

    Args:
        labels: class numbers, ints [n]. order: a permutation of the images, ints [n]. groups: [n], or None.

    Raises:
        UserError: all images of a class belong to one group.
    """
    labels, order = np.asarray(labels), np.asarray(order)
    classes = np.unique(labels).tolist()
    number = {k: int((labels == k).sum()) for k in classes}
    wanted = {k: min(max(round(fraction * count), int(fraction > 0)), count - 1) for k, count in number.items()}
    if groups is None:  # each image is a group, so that as many as wanted fit
        return np.sort(np.concatenate([order[labels[order] == k][:wanted[k]] for k in classes]).astype(np.int64))
    members: dict[Any, list[int]] = {}
    for index in order.tolist():
        members.setdefault(groups[index], []).append(index)
    counts = {group: Counter(labels[own].tolist()) for group, own in members.items()}
    held = dict.fromkeys(classes, 0)
    taken = []

    def take(group):
        taken.append(group)
        for k, count in counts[group].items():
            held[k] += count

    for group in members:
        if all(held[k] + count <= wanted[k] for k, count in counts[group].items()):
            take(group)
    for k in (k for k in classes if wanted[k] and not held[k]):
        fitting = [group for group in members if k in counts[group] and group not in taken
                   and all(held[other] + count < number[other] for other, count in counts[group].items())]
        if not fitting:
            raise UserError(f"no group of images can be held out that leaves some of every class to train on: expected "
                            f"two groups or more in each class; give more slides or patients, or look at what "
                            f"tells the groups (--group_pattern, {TABLE})")
        take(min(fitting, key=lambda group: len(members[group])))
    return np.sort(np.array([index for group in taken for index in members[group]], dtype=np.int64))


def divide_by_group(groups: Sequence[Sequence[Any]], num_parts: int, order: ArrayLike) -> list[np.ndarray]:
    """Return for each set of images the part, int64 [n] in [0, num_parts), of each image; groups are undivided.

    Groups are dealt out one by one, larger ones first, to the part with the fewest images of their sets so far. A group
    that has images in several sets falls into one part.

    Args:
        groups: of the images of each set, [n] each. order: a permutation of all distinct groups' numbers, that decides
            between equals.

    Raises:
        UserError: a part would get no image of some set.
    """
    counts = [Counter(own) for own in groups]
    distinct = list(dict.fromkeys(group for own in groups for group in own))
    shuffled = [distinct[i] for i in np.asarray(order).tolist()]
    filled = np.zeros((num_parts, len(groups)), dtype=np.int64)
    part_of = {}
    for group in sorted(shuffled, key=lambda group: -sum(count[group] for count in counts)):
        own = np.array([count[group] for count in counts])
        part = int((filled * (own > 0)).sum(axis=1).argmin())
        part_of[group] = part
        filled[part] += own
    if (filled == 0).any():
        raise UserError(f"the images of {len(distinct)} groups can't be divided into {num_parts} parts with some of "
                        f"every domain in each: expected {num_parts} or more groups in every domain; lower "
                        f"--label_folds, or look at what tells the groups (--group_pattern, {TABLE})")
    return [np.array([part_of[group] for group in own]) for own in groups]


def refuse_shared(groups: Iterable[str] | None, others: Iterable[str] | None, sets: str) -> None:
    """Raise UserError where two sets of images share a group.

    Args:
        sets: what they are in words, such as "training and test images".
    """
    if shared := sorted(set(groups or ()) & set(others or ())):
        more = f" and {len(shared) - SHOWN} more" if len(shared) > SHOWN else ""
        raise UserError(f"{len(shared)} groups have {sets} ({', '.join(shared[:SHOWN])}{more}): expected each group, "
                        f"such as a patient, on one side only, as a score would else tell how well it is remembered; "
                        f"move its images to one side")


def _by_manifest(folder, entries, paths):
    """Return the groups that a manifest gives, or None where it has no such column."""
    names = [*entries.group_names, ""]  # place -1 is none
    return _all_or_none(folder, paths, [names[number] for number in entries.groups[entries.places(paths)].tolist()])


def _by_shards(shards, paths):
    """Return the groups that tars give their images, or None where they give none."""
    names = {tar: open_shard(tar) for tar in shards.tars}
    if not any(shard.group_names for shard in names.values()):
        return None
    groups = []
    for path in paths:
        tar, name = member_of(path) or ("", "")
        number = names[tar].groups[names[tar].names.find(name)]
        groups.append(names[tar].group_names[number] if number >= 0 else "")
    return _all_or_none("one of the tars", paths, groups)


def _all_or_none(folder, paths, groups):
    """Return the groups of all images, None where none has any."""
    if not any(groups):
        return None
    if lacking := [path for path, group in zip(paths, groups, strict=True) if not group]:
        raise UserError(f"{folder} names no group for {len(lacking)} of its images, such as {lacking[0]}: expected one "
                        f"for each, or for none; correct it, or give --group_pattern")
    return groups


def _relative(path, folder):
    if manifest_of(folder) is not None or str(path).startswith(join(folder, "")):
        return relative_name(folder, path)
    return Path(path).relative_to(folder).as_posix() if Path(path).is_relative_to(folder) else Path(path).name


def _by_pattern(names, pattern):
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--group_pattern {pattern!r} is no regular expression ({error}): expected one such as "
                        f"'^(.+?)_x' or 'patient[0-9]+'") from error
    groups, lacking = [], []
    known: dict[str, str] = {}  # so that a group is one string, however many images it has
    for name in names:
        if match := expression.search(name):
            group = match[1] if expression.groups and match[1] is not None else match[0]
            groups.append(known.setdefault(group, group))
        else:
            lacking.append(name)
    if lacking:
        raise UserError(f"--group_pattern {pattern!r} matches nothing in {len(lacking)} of "
                        f"{len(groups) + len(lacking)} names, the first is {lacking[0]}: expected a group for every "
                        f"image; change the pattern, or the names")
    return groups


def _by_table(table, paths):
    known = {row["image"]: row["group"] for row in read_rows(table, {"image": str, "group": str}, COMPLETE)}
    try:
        groups = [known[Path(path).relative_to(table.parent).as_posix()] for path in paths]
        if not all(groups):
            raise ValueError("an empty group")
        return groups
    except (KeyError, ValueError) as error:
        raise UserError(f"{table} does not serve ({error!r}): expected a row with a group for every image; {COMPLETE}"
                        ) from error
