"""The images of a study: nested training sets of several sizes, validation sets, and test sets that no model sees.

Written below OUT, each with one subfolder per domain and, where it is known, a table severity.csv:
`nN/train` and `nN/val`, N training images of each domain and N/5 for validation (a larger set begins with the smaller
one; validation images come behind the largest training set); `test/ends`, images of the domains; and `test/all`,
images of the whole way between them, sorted into the two outer domains by which is nearer.
"""
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from add.data import files, phantom, tissue
from add.data.dataset import ImageSet
from add.data.folders import in_order, list_domains
from add.data.groups import hold_out, read_groups, refuse_shared, write_groups
from add.data.severity_table import write_severity
from add.errors import UserError
from add.interfaces import PathLike

VAL_SHARE = 0.2
DATA_FILE = "data.json"
_PHANTOM_STREAMS = {"pool": 0, "ends": 1, "all": 2}


def prepare_data(dataset: str, out_dir: PathLike, sizes: Sequence[int], num_test: int, image_size: int, seed: int = 0,
                 bands: dict[str, tuple[float, float]] | None = None, order: Sequence[str] | None = None,
                 group_pattern: str = "") -> list[str]:
    """Write a study's images below `out_dir`, unless they are there; return the domains' names in label order.

    Args:
        dataset: "phantom"; "tissue", scikit-image's stained section, whose "severity" is the share of brown pixels;
            or a folder with train/ and test/, each with one subfolder per domain.
        sizes: training images per domain, of each training set.
        num_test: test images per domain and test set; for a folder, at most.
        image_size: pixels.
        seed: of the phantom, and of the choice among more images than needed.
        bands: {domain: (low, high)} of the phantom.
        order: names of a folder's domains in label order; left out: sorted.
        group_pattern: tells the group (slide, patient) of a folder's images, as `add.data.groups.read_groups` takes it;
            none is divided between training, validation and test, and tables groups.csv pass them on.

    Raises:
        UserError: fewer images than the largest size needs, or other images below `out_dir`.
    """
    out_dir = Path(out_dir)
    bands = bands or phantom.DEFAULT_BANDS
    made_of = {"dataset": dataset, "largest": max(sizes), "image_size": image_size, "seed": seed,
               "bands": {name: list(band) for name, band in bands.items()}}
    made_of |= {"order": list(order)} if order else {}
    made_of |= {"group_pattern": group_pattern} if group_pattern else {}
    _check_same_data(out_dir / DATA_FILE, made_of)
    groups: dict[str, dict[str, str]] = {"train": {}, "test": {}}
    if dataset == "phantom":
        names, pool, tests = _phantom(sizes, num_test, image_size, seed, bands)
    elif dataset == "tissue":
        names, pool, tests = _tissue(sizes, num_test, image_size, seed)
    else:
        names, pool, tests, groups = _folder(dataset, sizes, num_test, image_size, seed, order, group_pattern)
    files.save_json(out_dir / DATA_FILE, made_of)
    for size in sizes:
        end = max(sizes)
        parts = {"train": slice(0, size), "val": slice(end, end + val_count(size))}
        for part, chosen in parts.items():
            _write_set(out_dir / f"n{size}" / part, {name: images[chosen] for name, images in pool.items()},
                       groups["train"])
    for test, domains in tests.items():
        _write_set(out_dir / "test" / test, domains, groups["test"])
    return list(names)


def val_count(size: int) -> int:
    """Return the number of validation images per domain beside `size` training images."""
    return math.ceil(VAL_SHARE * size)


def _phantom(sizes, num_test, image_size, seed, bands):
    """Return (names, {domain: [(file name, image, severity)]}, {test: the same})."""
    def draw(stream, domain_number, count, band):
        rng = np.random.default_rng([seed, _PHANTOM_STREAMS[stream], domain_number])
        image_rngs = rng.spawn(count)
        severities = phantom.domain_severities(band, count, rng)
        return [(f"phantom_{i:05d}.png", lambda s=s, r=r: phantom.render(float(s), image_size, np.random.default_rng(
                    r.bit_generator.seed_seq)), s) for i, (s, r) in enumerate(zip(severities, image_rngs, strict=True))]

    names = list(bands)
    count = max(sizes) + val_count(max(sizes))
    middle = sum(np.mean(bands[name]) for name in (names[0], names[-1])) / 2
    halves = {names[0]: (bands[names[0]][0], middle), names[-1]: (middle, bands[names[-1]][1])}
    tests = {"ends": {name: draw("ends", k, num_test, bands[name]) for k, name in enumerate(names)},
             "all": {name: draw("all", k, num_test, half) for k, (name, half) in enumerate(halves.items())}}
    return names, {name: draw("pool", k, count, bands[name]) for k, name in enumerate(names)}, tests


def _tissue(sizes, num_test, image_size, seed):
    """Return the same of the stained section: training images left of a line, test images right of it."""
    micrograph = tissue.load_micrograph()
    rules = tissue.PatchRules(image_size=image_size)
    shares = tissue.stain_shares(micrograph, rules.crop)
    width = micrograph.shape[1]
    rng = np.random.default_rng(seed)

    def entries(corners):
        return [(tissue.patch_name(corner), lambda corner=corner: tissue.cut_patch(micrograph, corner, rules),
                 shares["brown"][corner]) for corner in corners]

    needed = max(sizes) + val_count(max(sizes))
    pool, ends = {}, {}
    for domain in tissue.DOMAINS:
        found = tissue.find_crops(shares, domain, "train", width, rules)
        if len(found) < needed:
            raise UserError(f"the stained section holds {len(found)} training patches of {domain}: expected {needed} "
                            f"for {max(sizes)} training images and their validation; lower --num_train")
        corners = tissue.spread_out(found, needed)
        pool[domain] = entries([corners[i] for i in rng.permutation(needed)])
        ends[domain] = entries(tissue.spread_out(tissue.find_crops(shares, domain, "test", width, rules), num_test))
    middle = np.mean([np.mean([share for *_, share in pool[domain]]) for domain in tissue.DOMAINS])
    border = int(rules.train_width * width)
    every = [(row, column) for row in range(0, shares["brown"].shape[0], rules.stride)
             for column in range(border, width - rules.crop + 1, rules.stride)
             if shares["blank"][row, column] <= rules.stroma_most_blank]
    halves = [[corner for corner in every if (shares["brown"][corner] > middle) == side] for side in (False, True)]
    mixed = {domain: entries(tissue.spread_out(half, num_test))
             for domain, half in zip(tissue.DOMAINS, halves, strict=True)}
    return tissue.DOMAINS, pool, {"ends": ends, "all": mixed}


def _folder(root, sizes, num_test, image_size, seed, order, group_pattern):
    """Return the same of a user's own folder of train/ and test/, whose severity is unknown, and the images' groups.

    The latter {part: {domain/file name as written: group}}.
    """
    rng = np.random.default_rng(seed)
    known: dict[str, dict[str, str]] = {"train": {}, "test": {}}

    def entries(name, paths, part):
        images = ImageSet.from_paths(paths, image_size)
        files_of = [f"{i:05d}_{Path(path).stem}.png" for i, path in enumerate(paths)]
        known[part] |= {f"{name}/{file}": groups[part][path]
                        for file, path in zip(files_of, paths, strict=True) if groups[part]}
        return [(file, lambda i=i: images.batch([i])[0], None) for i, file in enumerate(files_of)]

    found = {part: list_domains(files.join(root, part)) for part in ("train", "test")}
    if set(found["train"]) != set(found["test"]):
        raise UserError(f"{root} has other domains in train/ ({', '.join(found['train'])}) than in test/ "
                        f"({', '.join(found['test'])}): expected the same subfolders in both")
    found = {part: in_order(domains, order, root) for part, domains in found.items()}
    groups = {part: _groups_of(files.join(root, part), domains, group_pattern) for part, domains in found.items()}
    refuse_shared(groups["train"].values(), groups["test"].values(), "training and test images")
    size, needed = max(sizes), max(sizes) + val_count(max(sizes))
    for name, paths in found["train"].items():
        if len(paths) < needed:
            raise UserError(f"{root}/train/{name} holds {len(paths)} images: expected {needed}, {size} to train on and "
                            f"{needed - size} for validation; lower --num_train")
    drawn = {name: [paths[i] for i in rng.permutation(len(paths))] for name, paths in found["train"].items()}
    if groups["train"]:
        drawn = _validation_last(drawn, size, needed, groups["train"])
    pool = {name: entries(name, paths[:needed], "train") for name, paths in drawn.items()}
    ends = {name: entries(name, [paths[i] for i in rng.permutation(len(paths))[:num_test]], "test")
            for name, paths in found["test"].items()}
    return list(pool), pool, {"ends": ends}, known


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


def _check_same_data(path, given):
    """Refuse a folder whose images were made of something else; their names would be the same."""
    if changed := files.changed_settings(path, given):
        raise UserError(f"{path.parent} holds images of another study ({', '.join(changed)}): give the same options to "
                        f"continue, or another --out_dir")


def _write_set(folder, domains, groups):
    """Write {domain: [(file name, function that gives the image, severity or None)]}, last the tables, if any."""
    wanted = {domain: {name for name, *_ in images} for domain, images in domains.items()}
    for domain, images in domains.items():
        present = {path.name for path in (folder / domain).glob("*.png")}
        if present - wanted[domain]:
            raise UserError(f"{folder / domain} holds images of another study, such as "
                            f"{min(present - wanted[domain])}: give another --out_dir")
        for name, image, _ in images:
            if name not in present:
                files.save_png(folder / domain / name, image())
    severities = {f"{domain}/{name}": severity for domain, images in domains.items()
                  for name, _, severity in images if severity is not None}
    if severities:
        write_severity(folder, severities)
    if grouped := {f"{domain}/{name}": groups[f"{domain}/{name}"] for domain, images in domains.items()
                   for name, *_ in images if groups}:
        write_groups(folder, grouped)
