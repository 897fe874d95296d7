"""The images of a study of a user's own folder: train/, test/ and test_NAME/, each with a subfolder for each domain."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from add.data import files
from add.data.dataset import ImageSet
from add.data.folders import in_order, list_domains
from add.data.groups import divide_by_group, hold_out, read_groups, refuse_shared
from add.data.severity_table import read_severity
from add.errors import UserError
from add.interfaces import PathLike, Row
from add.study.image_draws import ENDS, Draw, DrawnImages, val_count


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
    orders = {name: rng.permutation(len(paths)) for name, paths in domains.items()}  # the same for all draws
    shares = _shares_of_draws(domains, groups, seed, draw) if groups and draw.of > 1 else None
    if shares and all(len(share[name]) >= needed for share in shares for name in domains):
        own = shares[draw.number]
        drawn, disjoint = {name: [paths[i] for i in orders[name] if paths[i] in own[name]]
                           for name, paths in domains.items()}, True
    else:
        disjoint = draw.of == 1 or not groups and min(map(len, domains.values())) >= needed * draw.of
        if not disjoint:
            again = np.random.default_rng([seed, draw.number])
            orders = {name: again.permutation(len(paths)) for name, paths in domains.items()}
        first = draw.number * needed if disjoint else 0
        drawn = {name: [paths[i] for i in (orders[name] if groups else orders[name][first:first + needed])]
                 for name, paths in domains.items()}
    if groups:
        drawn = _validation_last(drawn, size, needed, groups)
    return {name: paths[:needed] for name, paths in drawn.items()}, disjoint


def _shares_of_draws(domains, groups, seed, draw):
    """Return [{domain: set of paths}] of all draws, groups undivided, or None where they can't be dealt out."""
    own_groups = [[groups[path] for path in paths] for paths in domains.values()]
    distinct = len({group for own in own_groups for group in own})
    try:
        parts = divide_by_group(own_groups, draw.of, np.random.default_rng(seed).permutation(distinct))
    except UserError:  # fewer groups than draws
        return None
    return [{name: {path for path, part in zip(paths, own, strict=True) if part == number}
             for (name, paths), own in zip(domains.items(), parts, strict=True)} for number in range(draw.of)]


def _groups_of(root, domains, pattern):
    """Return {path: group} of all images of a folder, or {} where nothing tells any."""
    paths = [path for names in domains.values() for path in names]
    groups = read_groups(root, paths, pattern)
    return {} if groups is None else dict(zip(paths, groups, strict=True))


def _validation_last(drawn, size, needed, groups):
    """Return {domain: paths}, `size` to train on and then those for validation, of other groups in all domains."""
    paths = [path for own in drawn.values() for path in own]
    labels = np.repeat(np.arange(len(drawn)), [len(own) for own in drawn.values()])
    held_out = {paths[i] for i in hold_out(labels, (needed - size) / needed, np.arange(len(paths)),
                                           [groups[path] for path in paths])}
    parts = {name: ([path for path in own if path not in held_out], [path for path in own if path in held_out])
             for name, own in drawn.items()}
    for name, (train, validation) in parts.items():
        if len(train) < size or len(validation) < needed - size:
            raise UserError(f"with its groups undivided, {name} has {len(train)} images to train on and "
                            f"{len(validation)} for validation: expected {size} and {needed - size}; lower --num_train")
    return {name: train[:size] + validation[:needed - size] for name, (train, validation) in parts.items()}
