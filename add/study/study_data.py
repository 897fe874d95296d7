"""The images of a study: nested training sets of several sizes, validation sets, and test sets that no model sees.

Written below OUT, each with one subfolder per domain and, where it is known, a table severity.csv:
`nN/train` and `nN/val`, N training images of each domain and N/5 for validation (a larger set begins with the smaller
one; validation images come behind the largest training set); `test/ends`, images of the domains; and `test/all`,
images of the whole way between them, sorted into the two outer domains by which is nearer.

Of several draws of one study each has such a folder. Phantoms are drawn anew. Other images are dealt out, so that no
draw has an image or a group of another, where there are enough; all draws have the same test images.
"""
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from add.data import files, phantom, tissue
from add.data.dataset import ImageSet
from add.data.folders import in_order, list_domains
from add.data.groups import divide_by_group, hold_out, read_groups, refuse_shared, write_groups
from add.data.severity_table import read_severity, write_severity
from add.errors import UserError
from add.interfaces import PathLike, Row

VAL_SHARE = 0.2
ENDS = "ends"  # the test set of images of the domains
DATA_FILE = "data.json"
_PHANTOM_STREAMS = {"pool": 0, "ends": 1, "all": 2}
SEEDS_OF_A_DRAW = 1000  # of which each draw has its own


class Draw(NamedTuple):
    """Which of a study's draws: its number from 0, and how many there are."""

    number: int = 0
    of: int = 1

    def seed(self, seed: int) -> int:
        """Return the seed of what this draw draws, from that of the study."""
        return seed + SEEDS_OF_A_DRAW * self.number


ONLY_DRAW = Draw()


class StudyImages(NamedTuple):
    """What a study's images are: the domains in label order, the test set that tells most, whether severity is known.

    disjoint: whether no draw has training images of another.
    """

    domains: list[str]
    test: str
    graded: bool
    disjoint: bool


class _Images(NamedTuple):
    """{domain: [(file name, function that gives the image, severity or None)]} to train on, {test: the same}.

    groups: {"train" or test: {domain/file name: group}}.
    """

    pool: Row
    tests: Row
    disjoint: bool = True
    groups: Row | None = None


def prepare_data(dataset: str, out_dir: PathLike, sizes: Sequence[int], num_test: int, image_size: int, seed: int = 0,
                 bands: dict[str, tuple[float, float]] | None = None, order: Sequence[str] | None = None,
                 group_pattern: str = "", draw: Draw = ONLY_DRAW) -> StudyImages:
    """Write the images of one draw of a study below `out_dir`, unless they are there; return what they are.

    Args:
        dataset: "phantom"; "tissue", scikit-image's stained section, whose "severity" is the share of brown pixels;
            or a folder with train/ and test/, each with one subfolder per domain, further test sets in test_NAME/, and
            tables severity.csv where severities are known.
        sizes: training images per domain, of each training set.
        num_test: test images per domain and test set; for a folder, at most.
        image_size: pixels.
        seed: of the phantom, and of the choice among more images than needed.
        bands: {domain: (low, high)} of the phantom.
        order: names of a folder's domains in label order; left out: sorted.
        group_pattern: tells the group (slide, patient) of a folder's images, as `add.data.groups.read_groups` takes it;
            none is divided between training, validation and test, and tables groups.csv pass them on.
        draw: which of how many draws.

    Raises:
        UserError: fewer images than the largest size needs, or other images below `out_dir`.
    """
    out_dir = Path(out_dir)
    bands = bands or phantom.DEFAULT_BANDS
    made_of = {"dataset": dataset, "largest": max(sizes), "image_size": image_size, "seed": seed,
               "bands": {name: list(band) for name, band in bands.items()}}
    made_of |= {"order": list(order)} if order else {}
    made_of |= {"group_pattern": group_pattern} if group_pattern else {}
    made_of |= {"draw": draw.number} if draw.of > 1 else {}
    made_of |= {"draws": draw.of} if draw.of > 1 and dataset != "phantom" else {}  # which images it gets follows
    _check_same_data(out_dir / DATA_FILE, made_of)
    if dataset == "phantom":
        images = _phantom(sizes, num_test, image_size, draw.seed(seed), bands)
    elif dataset == "tissue":
        images = _tissue(sizes, num_test, image_size, seed, draw)
    else:
        images = _folder(dataset, sizes, num_test, image_size, seed, order, group_pattern, draw)
    files.save_json(out_dir / DATA_FILE, made_of)
    groups = images.groups or {}
    for size in sizes:
        end = max(sizes)
        parts = {"train": slice(0, size), "val": slice(end, end + val_count(size))}
        for part, chosen in parts.items():
            _write_set(out_dir / f"n{size}" / part, {name: own[chosen] for name, own in images.pool.items()},
                       groups.get("train", {}))
    for test, domains in images.tests.items():
        _write_set(out_dir / "test" / test, domains, groups.get(test, {}))
    most = max(images.tests, key=lambda name: (_is_graded(images.tests[name]), name != ENDS))
    return StudyImages(list(images.pool), most, _is_graded(images.pool) and _is_graded(images.tests[most]),
                       images.disjoint)


def _is_graded(domains):
    """Return whether the severities of all images are known."""
    return all(severity is not None for own in domains.values() for _, _, severity in own)


def val_count(size: int) -> int:
    """Return the number of validation images per domain beside `size` training images."""
    return math.ceil(VAL_SHARE * size)


def _phantom(sizes, num_test, image_size, seed, bands):
    """Return the `_Images` of drawn cells."""
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
    tests = {ENDS: {name: draw("ends", k, num_test, bands[name]) for k, name in enumerate(names)},
             "all": {name: draw("all", k, num_test, half) for k, (name, half) in enumerate(halves.items())}}
    return _Images({name: draw("pool", k, count, bands[name]) for k, name in enumerate(names)}, tests)


def _tissue(sizes, num_test, image_size, seed, draw):
    """Return the `_Images` of the stained section: training images left of a line, test images right of it."""
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
    all_found = {domain: tissue.find_crops(shares, domain, "train", width, rules) for domain in tissue.DOMAINS}
    disjoint = min(map(len, all_found.values())) >= needed * draw.of
    for domain, found in all_found.items():
        if len(found) < needed:
            raise UserError(f"the stained section holds {len(found)} training patches of {domain}: expected {needed} "
                            f"for {max(sizes)} training images and their validation; lower --num_train")
        corners = tissue.spread_out(found, needed * draw.of) if disjoint else found
        pool[domain] = entries([corners[i] for i in _dealt(len(corners), needed, seed, rng, draw, disjoint)])
        ends[domain] = entries(tissue.spread_out(tissue.find_crops(shares, domain, "test", width, rules), num_test))
    middle = np.mean([np.mean([share for *_, share in pool[domain]]) for domain in tissue.DOMAINS])
    border = int(rules.train_width * width)
    every = [(row, column) for row in range(0, shares["brown"].shape[0], rules.stride)
             for column in range(border, width - rules.crop + 1, rules.stride)
             if shares["blank"][row, column] <= rules.stroma_most_blank]
    halves = [[corner for corner in every if (shares["brown"][corner] > middle) == side] for side in (False, True)]
    mixed = {domain: entries(tissue.spread_out(half, num_test))
             for domain, half in zip(tissue.DOMAINS, halves, strict=True)}
    return _Images(pool, {ENDS: ends, "all": mixed}, disjoint)


def _dealt(count, needed, seed, rng, draw, disjoint):
    """Return the `needed` indices of `count` images that a draw gets, in random order."""
    order = rng.permutation(count)  # the same for all draws
    if disjoint:
        return order[draw.number * needed:(draw.number + 1) * needed]
    return np.random.default_rng([seed, draw.number]).permutation(count)[:needed]


def _folder(root, sizes, num_test, image_size, seed, order, group_pattern, draw):
    """Return the `_Images` of a user's own folder."""
    rng = np.random.default_rng(seed)
    sets = {"train": "train", ENDS: "test"} | {name.removeprefix("test_"): name for name in further_tests(root)}
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
    return _Images(entries.pop("train"), entries, disjoint, known)


def further_tests(root: PathLike) -> list[str]:
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
