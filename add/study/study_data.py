"""The images of a study: nested training sets of several sizes, validation sets, and test sets that no model sees.

Written below OUT, each with one subfolder per domain and, where it is known, a table severity.csv:
`nN/train` and `nN/val`, N training images of each domain and N/5 for validation (a larger set begins with the smaller
one; validation images come behind the largest training set); `test/ends`, images of the domains; and `test/all`,
images of the whole way between them, sorted into the two outer domains by which is nearer.

Of several draws of one study each has such a folder. Phantoms are drawn anew. Other images are dealt out, so that no
draw has an image or a group of another, where there are enough; all draws have the same test images.
"""
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from add.data import files, phantom, tissue
from add.data.dataset import ImageSet
from add.data.folders import list_images
from add.data.groups import read_groups, refuse_shared, write_groups
from add.data.severity_table import write_severity
from add.errors import UserError
from add.interfaces import PathLike
from add.study.folder_images import folder_images
from add.study.image_draws import ENDS, ONLY_DRAW, Draw, DrawnImages, dealt, val_count

DATA_FILE = "data.json"
_PHANTOM_STREAMS = {"pool": 0, "ends": 1, "all": 2}


class StudyImages(NamedTuple):
    """What a study's images are: the domains in label order, the test set that tells most, whether severity is known.

    disjoint: whether no draw has training images of another, nor parts of them.
    """

    domains: list[str]
    test: str
    graded: bool
    disjoint: bool


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
        images = folder_images(dataset, sizes, num_test, image_size, seed, order, group_pattern, draw)
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


def refuse_tested(unlabelled_dir: PathLike, tests: Iterable[PathLike], image_size: int, group_pattern: str) -> None:
    """Raise UserError where images of unknown stage are test images of a study, or share a group with one.

    Args:
        tests: folders of test images, of all draws. image_size: of the study, at which pixels are compared.
    """
    paths = list_images(unlabelled_dir)
    groups = read_groups(unlabelled_dir, paths, group_pattern)
    images = ImageSet.from_paths(paths, image_size)
    digests = set(map(images.sha256, range(len(images))))
    for folder in tests:
        tested = list_images(folder)
        refuse_shared(groups, read_groups(folder, tested, ""), "unlabelled and test images")
        own = ImageSet.from_paths(tested, image_size)
        if same := [path for i, path in enumerate(tested) if own.sha256(i) in digests]:
            raise UserError(f"{len(same)} of {len(tested)} test images stand among those of unknown stage, such as "
                            f"{same[0]}: expected none, as a score would tell how well they are remembered; take them "
                            f"out of {unlabelled_dir}")


def _is_graded(domains):
    """Return whether the severities of all images are known."""
    return all(severity is not None for own in domains.values() for _, _, severity in own)


def _phantom(sizes, num_test, image_size, seed, bands):
    """Return the `DrawnImages` of drawn cells."""
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
    return DrawnImages({name: draw("pool", k, count, bands[name]) for k, name in enumerate(names)}, tests)


def _tissue(sizes, num_test, image_size, seed, draw):
    """Return the `DrawnImages` of the stained section: training images left of a line, test images right of it."""
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
    disjoint = apart = min(map(len, all_found.values())) >= needed * draw.of
    for domain, found in all_found.items():
        if len(found) < needed:
            raise UserError(f"the stained section holds {len(found)} training patches of {domain}: expected {needed} "
                            f"for {max(sizes)} training images and their validation; lower --num_train")
        corners = tissue.spread_out(found, needed * draw.of) if disjoint else found
        apart = apart and tissue.crops_apart(corners, rules.crop)
        pool[domain] = entries([corners[i] for i in dealt(len(corners), needed, seed, rng, draw, disjoint)])
        ends[domain] = entries(tissue.spread_out(tissue.find_crops(shares, domain, "test", width, rules), num_test))
    middle = np.mean([np.mean([share for *_, share in pool[domain]]) for domain in tissue.DOMAINS])
    border = int(rules.train_width * width)
    every = [(row, column) for row in range(0, shares["brown"].shape[0], rules.stride)
             for column in range(border, width - rules.crop + 1, rules.stride)
             if shares["blank"][row, column] <= rules.stroma_most_blank]
    halves = [[corner for corner in every if (shares["brown"][corner] > middle) == side] for side in (False, True)]
    mixed = {domain: entries(tissue.spread_out(half, num_test))
             for domain, half in zip(tissue.DOMAINS, halves, strict=True)}
    return DrawnImages(pool, {ENDS: ends, "all": mixed}, apart)


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
