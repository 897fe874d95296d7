"""The images of a study of a user's own folder: train/, test/ and test_NAME/, each with a subfolder for each domain."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from add.data import files
from add.data.dataset import ImageSet
from add.data.folders import in_order, list_domains
from add.data.groups import TABLE, read_groups, refuse_shared
from add.data.severity_table import read_severity
from add.errors import UserError
from add.interfaces import PathLike, Row
from add.study.draw_groups import deal_images
from add.study.image_draws import ENDS, Draw, DrawnImages, dealt, val_count


def folder_images(root: PathLike, sizes: Sequence[int], num_test: int, image_size: int, seed: int,
                  order: Sequence[str] | None, group_pattern: str, draw: Draw) -> DrawnImages:
    """Return the `DrawnImages` of a user's own folder."""
    rng = np.random.default_rng(seed)
    sets = {"train": "train", ENDS: "test"} | {name.removeprefix("test_"): name for name in _further_tests(root)}
    found = {name: list_domains(files.join(root, part)) for name, part in sets.items()}
    for name, domains in found.items():
        if set(domains) != set(found["train"]):
            raise UserError(f"{root} has other domains in train/ ({', '.join(found['train'])}) than in {sets[name]}/ "
                            f"({', '.join(domains)}): expected the same subfolders in both")
    found = {name: in_order(domains, order, root) for name, domains in found.items()}
    groups = {name: _groups_of(files.join(root, sets[name]), domains, group_pattern)
              for name, domains in found.items()}
    for name in set(sets) - {"train"}:
        refuse_shared(groups["train"].values(), groups[name].values(), "training and test images")
    size, needed = max(sizes), max(sizes) + val_count(max(sizes))
    for name, paths in found["train"].items():
        if len(paths) < needed:
            raise UserError(f"{root}/train/{name} holds {len(paths)} images: expected {needed}, {size} to train on and "
                            f"{needed - size} for validation; lower --num_train")
    drawn, disjoint = _drawn(found["train"], size, needed, groups["train"], seed, rng, draw)
    chosen = {"train": drawn} | {name: {domain: [paths[i] for i in rng.permutation(len(paths))[:num_test]]
                                        for domain, paths in domains.items()}
                                 for name, domains in found.items() if name != "train"}
    entries, known = {}, {}
    for name, domains in chosen.items():
        entries[name], known[name] = _entries(files.join(root, sets[name]), domains, image_size, groups[name])
    return DrawnImages(entries.pop("train"), entries, disjoint, known)


def _further_tests(root: PathLike) -> list[str]:
    """Return the names of the folders test_NAME of a folder of images, sorted."""
    return sorted(path.name for path in Path(root).glob("test_*") if path.is_dir())


def _entries(folder, domains, image_size, groups):
    """Return ({domain: [(file name, function that gives the image, severity or None)]}, {domain/file name: group})."""
    entries: Row = {}
    known: dict[str, str] = {}
    for name, paths in domains.items():
        images = ImageSet.from_paths(paths, image_size)
        severities = read_severity(folder, paths)
        files_of = [f"{i:05d}_{Path(path).stem}.png" for i, path in enumerate(paths)]
        known |= {f"{name}/{file}": groups[path] for file, path in zip(files_of, paths, strict=True) if groups}
        entries[name] = [(file, lambda images=images, i=i: images.batch([i])[0],
                          None if severities is None else float(severities[i])) for i, file in enumerate(files_of)]
    return entries, known


def _drawn(domains, size, needed, groups, seed, rng, draw):
    """Return ({domain: paths to train on, then those for validation}, whether no draw has images of another)."""
    if groups:
        if shares := deal_images(domains, groups, size, needed - size, draw.of, rng):
            return shares[draw.number], True
        again = np.random.default_rng([seed, draw.number])
        if alone := deal_images(domains, groups, size, needed - size, 1, again):
            return alone[0], False
        raise UserError(f"the {len(set(groups.values()))} groups of the images can't be divided into {size} images of "
                        f"each domain to train on and {needed - size} of other groups for validation; lower "
                        f"--num_train, or look at what tells the groups (--group_pattern, {TABLE})")
    disjoint = min(map(len, domains.values())) >= needed * draw.of
    return {name: [paths[i] for i in dealt(len(paths), needed, seed, rng, draw, disjoint)]
            for name, paths in domains.items()}, disjoint


def _groups_of(root, domains, pattern):
    """Return {path: group} of all images of a folder, or {} where nothing tells any."""
    paths = [path for names in domains.values() for path in names]
    groups = read_groups(root, paths, pattern)
    return {} if groups is None else dict(zip(paths, groups, strict=True))
