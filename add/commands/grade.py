"""Grade images, tables or slides: class, severity with an interval, and unknown images.

With --data_dir a grader is trained first: classifiers of one method as an ensemble, calibrated on validation images,
kept in --grader_dir. --classification takes those that `add classify` trained. A grader that is there is taken as it
is. Writes OUT/grades.csv, and of a slide a map and a GeoJSON file for QuPath. Not for diagnosis.
"""
import dataclasses
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import torch

from add.classification.classifier import ClassifierConfig, build_network, predict_logits
from add.classification.classifier_methods import Method, check_synthetic, parse_method
from add.classification.classifier_runs import EARLIER, RECORD, ClassifierRuns, comparison_settings
from add.classification.comparison_data import (
    RealImages,
    domain_severities,
    read_synthetic,
    read_training,
    sample_folders,
)
from add.classification.feature_classifier import features_of
from add.classification.grader import Grader
from add.classification.grader_file import SETTINGS, load_grader, save_grader
from add.classification.grader_training import train_grader
from add.classification.heads import OFFERED
from add.classification.label_rules import READABLE_RULES
from add.classification.scores import check_packages
from add.commands.shared.classifier_estimate import BATCH, NEW, classifier_lines, features_lines
from add.commands.shared.grading_job import count_images, grade_images, refuse_others
from add.config import (
    MOST_PIXELS,
    Checked,
    HelpGroups,
    domains_option,
    estimate_option,
    group_option,
    max_pixels_option,
    option,
    path_option,
    seed_option,
    skip_bad_option,
    threads_option,
)
from add.data.files import changed_settings, save_json
from add.data.groups import read_groups
from add.data.manifest import mpp_of
from add.data.read_back import read_json
from add.errors import UserError
from add.interfaces import Note, Row
from add.results.report_page import page_line
from add.runtime.next_steps import command_line, next_steps
from add.runtime.options import Options
from add.runtime.processes import set_threads
from add.runtime.progress import EvaluationBar, minutes, say
from add.runtime.typed_command import command_facts
from add.training.step_costs import mean_seconds

DEFAULT_METHOD = "stain_jitter"  # without generated images: what orders stained cells of other slides best
ASKED = "asked.json"  # in a grader's folder: the options and images of its training


@dataclasses.dataclass(frozen=True)
class GradeConfig(Checked):
    """Grading."""

    help_groups: ClassVar[HelpGroups] = {
        "training of a grader": ("data_dir", "val_dir", "val_fraction", "group_pattern", "domains", "image_size",
                                 "translations", "samples_dir", "label_rule", "synthetic_share", "method", "heads",
                                 "num_seeds", "seed", "classification"),
        "images to grade": ("images", "mpp", "source_mpp", "stride", "least_tissue", "skip_bad", "max_pixels"),
        "output and speed": ("grader_dir", "out_dir", "estimate", "threads")}

    data_dir: str = path_option("", "real images to train on: a folder with one subfolder per class, or a table; left "
                                    "out: --grader_dir holds a grader")
    val_dir: str = path_option("", "images to calibrate with, likewise; left out: --val_fraction of --data_dir")
    val_fraction: float = option(0.2, "share of --data_dir that calibrates, groups undivided", least=0, below=1)
    group_pattern: str = group_option()
    domains: str = domains_option("that of the translations, else sorted by name")
    image_size: int = option(0, "side in pixels at which images are graded; 0: that of the generated images or of the "
                                "first training image, whichever is smaller", least=0, most=MOST_PIXELS)
    translations: str = path_option("", "translation folders with commas, to learn from images between the classes",
                                    many=True)
    samples_dir: str = path_option("", "samples of each domain's model, one subfolder per domain", many=True)
    label_rule: str = option("classifier", "soft labels of the translations, as in `add classify`", READABLE_RULES)
    synthetic_share: float = option(0.5, "share of generated images in each batch", above=0, below=1)
    method: str = option("", "how the classifiers are trained, as in `add classify`; left out: progressive with "
                             f"--translations, else {DEFAULT_METHOD}; of --classification the one with the least "
                             f"validation loss")
    heads: str = option("", "what a classifier says: class; or class,severity, where images between the classes teach "
                            "a severity; left out: class,severity with --translations, else class", ("", *OFFERED))
    num_seeds: int = option(5, "classifiers of the ensemble", least=1, most=1000)
    seed: int = seed_option("of the first classifier; the others follow")
    classification: str = path_option("", "folder that `add classify` wrote, of the same images: its classifiers are "
                                          "taken, not trained again")
    images: str = path_option("", "what to grade: a folder, a table, or the file of a slide; with known classes or "
                                  "severities the grades are scored")
    mpp: float = option(0.0, "micrometres per pixel at which a slide is graded; 0: as the training table says",
                        least=0, most=1000)
    source_mpp: float = option(0.0, "micrometres per pixel of the slide, where the file doesn't tell; 0: it does",
                               least=0, most=1000)
    stride: int = option(0, "pixels from a slide's tile to the next; 0: none overlap", least=0, most=MOST_PIXELS)
    least_tissue: float = option(0.5, "share of a tile that is tissue", least=0, most=1)
    skip_bad: bool = skip_bad_option()
    max_pixels: int = max_pixels_option()
    grader_dir: str = path_option("", "folder of the grader; required", "grader")
    out_dir: str = path_option("results/grades", "folder to write grades to", "out")
    estimate: bool = estimate_option()
    threads: int = threads_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method:
            parse_method(self.method, self.sample_folders())

    def sample_folders(self) -> dict[str, str]:
        """Return {method: folder of samples}."""
        return sample_folders(self.samples_dir)

    @property
    def unlabelled_dir(self) -> str:
        """No images of unknown class: a grader does not learn from them."""
        return ""


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, GradeConfig, ClassifierConfig)


def main(argv: list[str] | None = None) -> None:
    """Train the grader that the command line asks for, if need be, and grade."""
    parsed = build_options().parse(argv)
    config = parsed.take(GradeConfig)
    if not config.grader_dir:
        raise UserError("no --grader_dir was given: expected a folder that holds a grader, or will; give one")
    check_packages()
    if config.images:
        refuse_others(config)
    set_threads(config.threads)
    if config.estimate:
        say(estimate_grading(config, parsed.take(ClassifierConfig)))
        return
    grader = find_grader(config, parsed.take(ClassifierConfig), say, silent=False)
    if not config.images:
        say(next_steps(command_line("grade", grader_dir=config.grader_dir, images="new_images",
                                    out_dir=config.out_dir)))
        return
    out_dir = grade_images(grader, config, say, silent=False)
    print(f"written: {out_dir}/grades.csv\n{page_line(out_dir)}")


def estimate_grading(config: GradeConfig, classifier_config: ClassifierConfig) -> str:
    """Return the lines that say what training, where no grader is there, and grading will take; nothing is written.

    Raises:
        UserError: as `find_grader`.
    """
    lines: list[str] = []
    if is_there := not config.data_dir or (Path(config.grader_dir) / SETTINGS).is_file():
        grader = load_grader(config.grader_dir)
        size, mpp, members = grader.image_size, grader.facts.get("mpp"), grader.networks()
    else:
        images, method = read_training(config), _method(config)
        check_synthetic([method], read_synthetic(config, [method], images)[0])
        networks = 0 if method.on_features else config.num_seeds
        if config.classification:
            lines = ["the classifiers are there"]
        elif networks:
            lines = [classifier_lines(images.train.data, classifier_config, networks, files_each=1)]
        else:
            lines = [features_lines(images.train.data.images, len(images.train.data))]
        size, mpp = images.image_size, mpp_of(config.data_dir)
        members = [build_network(classifier_config.network, len(images.train.names)).eval()] * networks
    if not config.images:
        return "\n".join([*lines, "no --images to grade"])
    batch = 2 * torch.rand(BATCH, 3, size, size, generator=torch.Generator().manual_seed(0)) - 1
    seconds = mean_seconds(lambda: grader.grade(batch.add_(NEW), members) if is_there else (
        features_of(batch.add_(NEW)), [predict_logits(member, batch) for member in members]), torch.device("cpu"))
    count = count_images(config, size, mpp)
    return "\n".join([*lines, f"grading an image: {seconds / BATCH:.3g} s, measured on noise",
                      f"time: {minutes(count * seconds / BATCH / 60)} for {count} images or tiles at most; reading "
                      f"comes on top"])


def find_grader(config: GradeConfig, classifier_config: ClassifierConfig, note: Note = lambda text: None,
                silent: bool = True) -> Grader:
    """Return the grader of --grader_dir, trained now where images to train on are given and it is not there.

    Raises:
        UserError: there is none and nothing to train on, or one of other images or options.
    """
    folder = Path(config.grader_dir)
    if not config.data_dir:
        return load_grader(folder)
    images = read_training(config)
    method = _method(config)
    heads = config.heads or (OFFERED[1] if config.translations else OFFERED[0])
    settings = comparison_settings(classifier_config, heads, images.train, images.validation)
    if config.classification:
        _check_classification(Path(config.classification), settings)
    synthetic, sentences = read_synthetic(config, [method], images)
    check_synthetic([method], synthetic)
    runs = ClassifierRuns(Path(config.classification or folder) / "runs", images.train.data, images.validation.data,
                          synthetic, classifier_config, heads)
    asked = settings | {"method": method.name, "share": config.synthetic_share, "synthetic_sha256": runs.digests,
                        "num_seeds": config.num_seeds, "seed": config.seed, "label_rule": config.label_rule}
    if changed := changed_settings(folder / ASKED, asked):
        raise UserError(f"{folder} holds a grader of other images or options ({', '.join(changed)}): give the same "
                        f"ones, or another --grader_dir; without --data_dir it is taken as it is")
    save_json(folder / ASKED, asked)
    if (folder / SETTINGS).is_file():
        return load_grader(folder)
    for sentence in (*images.sentences, *sentences):
        note(sentence)
    share, seeds = config.synthetic_share if method.source else 0.0, range(config.seed, config.seed + config.num_seeds)
    missing = sum(not runs.is_there(method, share, seed) for seed in seeds)
    if not missing:
        note(f"the classifiers are there; calibrating them on {len(images.validation.data)} images")
    elif method.further == "features":
        note("computing features of the images in all orientations, for regressions on them")
    steps = 0 if method.further == "features" else missing * classifier_config.steps
    with closing(EvaluationBar("training classifiers", steps, "step", silent or not steps)) as bar:
        grader = train_grader(images, method, share, runs, seeds, _facts(config, images), bar.add)
    save_grader(folder, grader)
    note(f"the grader is trained: {folder}")
    return grader


def _method(config: GradeConfig) -> Method:
    """Return the method asked for: of a comparison the one whose classifiers have the least validation loss."""
    name = config.method or ("progressive" if config.translations else DEFAULT_METHOD)
    if config.classification and not config.method:
        losses: dict[str, list[float]] = {}
        for path in sorted((Path(config.classification) / "runs").glob("*.json")):
            record = read_json(path, RECORD | {"method": str})
            losses.setdefault(record["method"], []).append(record["validation"]["nll"])
        if not losses:
            raise UserError(f"{config.classification} holds no classifiers: expected runs/ of `add classify`; give "
                            f"such a folder, or leave --classification out")
        name = min(losses, key=lambda method: sum(losses[method]) / len(losses[method]))
    method = parse_method(name, config.sample_folders())
    if method.needs_teacher:
        raise UserError(f"method {name} is a control of `add classify`: expected one that learns from its own images; "
                        f"give another --method")
    return method


def _check_classification(folder: Path, settings: Row) -> None:
    """Refuse a comparison whose classifiers learnt from other images or by other options."""
    if not (folder / "settings.json").is_file():
        raise UserError(f"--classification {folder} was not written by `add classify`: expected settings.json in it; "
                        f"check the path")
    if changed := changed_settings(folder / "settings.json", settings, defaults=EARLIER):
        raise UserError(f"{folder} holds classifiers of other images or options ({', '.join(changed)}): give the ones "
                        f"that `add classify` was given, or leave --classification out")


def _facts(config: GradeConfig, images: RealImages) -> Row:
    """Return what a grader's card says of its training, and what grading needs to know of it."""
    def groups_of(folder, paths):
        found = read_groups(folder, paths, config.group_pattern)
        return None if found is None else len(set(found))

    known = domain_severities(config, images.train)
    return command_facts() | {
        "data_dir": config.data_dir, "generated_from": config.translations or config.samples_dir,
        "train_groups": groups_of(config.data_dir, images.train.paths),
        "validation_groups": groups_of(config.val_dir or config.data_dir, images.validation.paths),
        "severities": None if known is None else {"means": known.means, "bands": [list(band) for band in known.bands]},
        "mpp": mpp_of(config.data_dir)}

