"""Let experts judge images blindly: make the page that they read, and score their answers.

`add review make` mixes generated and real images on one page, OUT/index.html, which asks of each: real or generated,
how far between the two stages, keep or reject. The page says no truth; that is OUT/key.csv, which stays with you.
`add review score` reads the files that readers saved from the page, and writes OUT/review.md, .json and .png, and
labels_reviewed.csv into the translation folders: labels put where the readers see the images, without rejected ones.
"""
import dataclasses
import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from add.classification.classifier_methods import BASELINES
from add.classification.label_rules import LABEL_RULES
from add.classification.leakage import SourceWatch
from add.classification.scores import check_packages
from add.config import (
    Checked,
    HelpGroups,
    domains_option,
    expect,
    max_pixels_option,
    option,
    path_option,
    seed_option,
    skip_bad_option,
)
from add.data import ImageSet
from add.data.files import changed_settings, read_bytes, require_local, save_json, write_atomically
from add.data.folders import in_order, list_domains
from add.data.image_file import lossy_share, read_header
from add.errors import UserError
from add.interfaces import Note, Row
from add.results.translation_series import REVIEWED_RULE, domain_order, label_path, read_series, write_labels
from add.review.reading_answers import read_readers
from add.review.reading_items import GENERATED, REAL, Item, choose_generated, in_random_order, shares
from add.review.reading_key import Key, read_digest, read_key, write_key
from add.review.reading_page import PAGE, page_data, write_page
from add.review.reading_plot import plot_reading
from add.review.reading_report import report
from add.review.reading_scores import score_reading, verdicts
from add.review.reviewed_labels import FEWEST, Curve, calibrated, rejected_images
from add.runtime.next_steps import command_line, next_steps
from add.runtime.options import Options
from add.runtime.progress import say

ACTIONS = ("make", "score")
MOST_ITEMS = 2000  # of a page; beyond it no reader goes
LEAST_SHARE = 0.05  # difference in the share of lossy files that is worth a note
HEAVY = 20 * 2**20  # bytes of a page that many mailboxes refuse


@dataclasses.dataclass(frozen=True)
class ReviewConfig(Checked):
    """Reading by experts."""

    help_groups: ClassVar[HelpGroups] = {
        "both": ("action", "out_dir"),
        "make": ("translations", "data_dir", "domains", "num_generated", "num_real", "repeats", "grades", "seed",
                 "skip_bad", "max_pixels"),
        "score": ("answers", "label_rule")}

    action: str = option("", "make: write the page and the key; score: read answers. The first word, as in add review "
                             "make")
    out_dir: str = path_option("results/review", "folder of the reading: make writes it, score reads its key and "
                                                 "writes the scores beside it", "out")
    translations: str = path_option("", "translation folders with commas, of one pair of stages; with score only where "
                                        "they have moved, in the same order", many=True)
    data_dir: str = path_option("", "real images, one subfolder per stage; better ones that no model was trained on",
                                "images")
    domains: str = domains_option("that of the translations, else sorted by name")
    num_generated: int = option(40, "generated images to show, over all translations and places", least=1,
                                most=MOST_ITEMS)
    num_real: int = option(40, "real images to show, half of each stage", least=2, most=MOST_ITEMS)
    repeats: int = option(10, "of these, how many are shown a second time, to measure how consistent a reader is",
                          least=0, most=MOST_ITEMS)
    grades: int = option(0, "ask for one of so many grades, 2 to 9, in place of a place on a scale; 0: a scale",
                         least=0, most=9)
    seed: int = seed_option("which images are shown, and in which order")
    skip_bad: bool = skip_bad_option()
    max_pixels: int = max_pixels_option()
    answers: str = path_option("", "files that readers saved from the page, with commas, one of each reader", many=True)
    label_rule: str = option("depth", "the labels that are calibrated: labels_RULE.csv; depth: labels.csv itself",
                             LABEL_RULES)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.action not in ACTIONS:
            raise UserError(f"the first word, or --action, is {self.action!r}, expected make or score: write add "
                            f"review make ..., or add review score ...")
        expect(self.grades != 1, "grades", self.grades, "0, or 2 to 9")
        require_local(self.out_dir)


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, ReviewConfig, positionals={"action": "make|score"})


def main(argv: list[str] | None = None) -> None:
    """Make or score the reading that the command line names."""
    config = build_options().parse(argv).take(ReviewConfig)
    if config.action == "make":
        make_reading(config, say)
        say(next_steps(command_line("review", "score", out_dir=config.out_dir, answers="ANSWERS.json")))
        return
    result = score_answers(config, say)
    folders = ",".join(own["folder"] for own in result["translations"] if own["written"])
    if folders:
        say(next_steps(command_line("classify", data_dir="REAL_IMAGES", test_dir="TEST_IMAGES", translations=folders,
                                    label_rule=REVIEWED_RULE, methods=",".join((*BASELINES, "full", "progressive")))))


def make_reading(config: ReviewConfig, note: Note = lambda text: None) -> Key:
    """Write OUT/index.html, key.csv and key.json, and return the key.

    Args:
        note: called with a sentence for the user.

    Raises:
        UserError: folders that are missing or don't fit, or a folder that holds another reading.
    """
    for name in ("translations", "data_dir"):
        expect(bool(getattr(config, name)), name, getattr(config, name), "a folder")
    rng = np.random.default_rng(config.seed)
    series = _read_pair(config.translations.split(","))
    low, high = pair = _pair(series[0])
    size = _common_size(series)
    domains = in_order(list_domains(config.data_dir),
                       domain_order(config.domains, config.translations, config.data_dir), config.data_dir)
    if high >= len(domains):
        raise UserError(f"{config.data_dir} holds {len(domains)} domains, and the translations reach domain {high}: "
                        f"expected a folder for each; check --data_dir and --domains")
    stages = (list(domains)[low], list(domains)[high])
    items: list[tuple[Item, np.ndarray]] = []
    for number, (own, count) in enumerate(zip(series, shares(config.num_generated, len(series)), strict=True)):
        rows = choose_generated(own, count, rng)
        pixels = ImageSet.from_paths([str(own.folder / own.images[row]) for row in rows], size)
        items += [(Item("", "", GENERATED, number, own.images[row], int(own.m[row]), _digest(pixels.files[i])),
                   pixels.batch([i])[0]) for i, row in enumerate(rows)]
    for number, (name, count) in enumerate(zip(stages, shares(config.num_real, 2), strict=True)):
        items += _real_items(domains[name], number, count, size, config.skip_bad, rng)
    expect(config.repeats <= len(items) // 3, "repeats", config.repeats,
           f"{len(items) // 3} or less, a third of the {len(items)} images")
    shown = in_random_order([item for item, _ in items], config.repeats, rng)
    pixels_of = {(item.kind, item.folder, item.image): own for item, own in items}
    data = page_data([item.item for item in shown], [pixels_of[item.kind, item.folder, item.image] for item in shown],
                     stages, config.grades)
    key = Key(data["reading"], stages, pair, config.grades,
              tuple(str(own.folder.resolve()) for own in series), {item.item: item for item in shown})
    before = read_digest(config.out_dir)
    if before not in ("", key.reading):
        raise UserError(f"{config.out_dir} holds another reading, {before}, whose answers need its key: expected the "
                        f"same images and options, or a new folder; give another --out_dir")
    folder = Path(config.out_dir)
    write_key(folder, key, dataclasses.asdict(config))
    num_bytes = write_page(folder / PAGE, data, size)
    kinds = [item.kind for item in shown if not item.repeat_of]
    note(f"{kinds.count(GENERATED)} generated and {kinds.count(REAL)} real images, {config.repeats} of them twice, at "
         f"{size} pixels: {folder / PAGE}, {num_bytes / 2**20:.1f} MB; send this file to the readers")
    lossy = [lossy_share([item.image for item in shown if item.kind == kind]) for kind in (GENERATED, REAL)]
    if abs(lossy[0] - lossy[1]) > LEAST_SHARE:
        note(f"{lossy[1]:.0%} of the real images are JPEG or WebP, and {lossy[0]:.0%} of the generated ones: a reader "
             f"may know them by their compression; take real images that were saved as the training images were")
    real = [item for item in shown if item.kind == REAL]
    watch = SourceWatch([item.image for item in real], [pair[item.folder] for item in real])
    if sources := sum(len(set(own.groups[watch.finds(own)].tolist())) for own in series):
        note(f"{sources} series were made from real images of this reading: a reader sees a source image beside what "
             f"was made of it; take other real images")
    if num_bytes > HEAVY:
        note("this page is too large for many mailboxes: share it by a link or a stick, or lower --num_generated and "
             "--num_real")
    note(f"the truth: {folder / 'key.csv'} and key.json; keep them, and send them to no reader")
    return key


def score_answers(config: ReviewConfig, note: Note = lambda text: None) -> Row:
    """Write the scores of a reading and the reviewed labels, and return the former; see `score_reading`.

    Each of its "translations" also has "written": whether labels_reviewed.csv was, and "rejected": how many images it
    lacks.

    Args:
        note: called with a sentence for the user.

    Raises:
        UserError: files of answers, a key or translations that are missing, damaged or of another reading.
    """
    check_packages()
    expect(bool(config.answers), "answers", config.answers, "files that readers saved from the page")
    key = read_key(config.out_dir)
    files = config.answers.split(",")
    readers = read_readers(files, key)
    key, series = _read_shown(config, key)
    labels = [dict(zip(own.images, own.labels[:, key.pair[1]].tolist(), strict=True)) for own in series]
    result = score_reading(key, readers, labels)
    rejected = [rejected_images(verdicts(key, readers, number)) for number in range(len(series))]
    for own, found, images in zip(series, result["translations"], rejected, strict=True):
        found["rejected"] = len(images)
        found["written"] = found["images"] >= FEWEST and len(images) < len(own)
    folder = Path(config.out_dir)
    text = report(result)
    plot_reading(folder / "review.png", result)
    write_atomically(folder / "review.md", lambda file: file.write(text.encode()))
    save_json(folder / "review.json", result)
    note(f"{text}\nwritten: {folder}/review.md, review.json and review.png")
    settings = {"reading": key.reading, "label_rule": config.label_rule,
                "answers": {reader.name: _digest(path) for reader, path in zip(readers, files, strict=True)}}
    for own, found, images in zip(series, result["translations"], rejected, strict=True):
        _write_reviewed(own, found, images, key, settings, note)
    return result


def _read_shown(config, key):
    """Return (the Key with the folders of the translations, their Series), having checked that they are what was shown.

    Raises:
        UserError: translations that are missing, or others than those that the reading was made of.
    """
    folders = config.translations.split(",") if config.translations else list(key.translations)
    if len(folders) != len(key.translations):
        raise UserError(f"--translations names {len(folders)} folders, and the reading is of {len(key.translations)}: "
                        f"expected as many, in the same order; or leave it out")
    pair = _pair(_read_pair(folders)[0])
    if pair != key.pair:
        raise UserError(f"the translations are between the domains {pair}, and the reading is between {key.pair}: "
                        f"expected the translations that it was made of; correct --translations")
    series = [read_series(folder, config.label_rule) for folder in folders]
    known = [set(own.images) for own in series]
    for item in key.items.values():
        path = Path(folders[item.folder], item.image) if item.kind == GENERATED else None
        if path and (item.image not in known[item.folder] or not path.exists() or _digest(path) != item.sha256):
            raise UserError(f"{path} is missing or not the image that was shown to readers: expected the translation "
                            f"that the reading was made of; give it with --translations, or make another reading")
    return dataclasses.replace(key, translations=tuple(folders)), series


def _write_reviewed(series, found, rejected, key, settings, note):
    """Write labels_reviewed.csv beside the labels of a Series, and what it was made of, or say why not.

    Args:
        found: the scores of the translation. rejected: names of images. settings: what it is made of, JSON values.
    """
    if not found["written"]:
        note(f"{series.folder} gets no reviewed labels: {found['images']} of its images were placed and kept, and "
             f"{FEWEST} or more are needed; ask for more readings")
        return
    kept = series.subset(np.array([image not in rejected for image in series.images]))
    path = label_path(series.folder, REVIEWED_RULE)
    changed = changed_settings(path.with_suffix(".json"), settings, {"rejected", "curve"})
    if path.exists() and changed:
        note(f"{path} was made of other {' and '.join(changed)}, and is replaced")
    write_labels(path, kept, calibrated(kept.labels, key.pair, Curve(*map(np.array, found["curve"]))))
    save_json(path.with_suffix(".json"), settings | {"rejected": sorted(rejected), "curve": found["curve"]})
    note(f"{len(kept)} labels where readers see the images, {len(series) - len(kept)} rejected images left out: {path}")


def _read_pair(folders):
    """Return the Series of translations between the same two domains; raises UserError for others."""
    found = [read_series(folder) for folder in folders]
    for own in found:
        if own.is_chain:
            raise UserError(f"{own.folder} is a chain through more than two domains, and a reading asks for the place "
                            f"between two: expected translations of one pair; review the pairs on their own")
        if _pair(own) != _pair(found[0]):
            raise UserError(f"{own.folder} is between the domains {_pair(own)}, and {found[0].folder} between "
                            f"{_pair(found[0])}: expected translations of one pair; make a reading of each pair")
    return found


def _pair(series):
    return min(series.source, series.target), max(series.source, series.target)


def _common_size(series):
    """Return the side in pixels of the images of all Series; raises UserError where they differ."""
    sizes = [min(read_header(str(own.folder / own.images[0]))) for own in series]
    if len(set(sizes)) > 1:
        raise UserError(f"the translations hold images of {' and '.join(map(str, sorted(set(sizes))))} pixels: "
                        f"expected one size, for a reader would know them by it; make a reading of each")
    return sizes[0]


def _real_items(paths, stage, count, size, skip_bad, rng):
    """Return [(Item, uint8 [size, size, 3])] of `count` images of a stage, drawn at random, or all where it has fewer.

    Real images that are smaller would be enlarged, which a reader sees: they are refused.
    """
    chosen = [paths[i] for i in sorted(rng.choice(len(paths), min(count, len(paths)), replace=False))]
    images = ImageSet.from_paths(chosen, size, skip_bad=skip_bad)
    if images.sizes is not None and images.sizes.min() < size:
        path = images.files[int(images.sizes.min(axis=1).argmin())]
        raise UserError(f"{path} has {images.sizes.min()} pixels along a side, and the generated images {size}: "
                        f"expected real images of that size or larger, for enlarged ones are known by their blur; "
                        f"correct --data_dir")
    return [(Item("", "", REAL, stage, path, 0, _digest(path)), images.batch([i])[0])
            for i, path in enumerate(images.files)]


def _digest(path):
    """Return the SHA-256 of a file."""
    return hashlib.sha256(read_bytes(path)).hexdigest()
