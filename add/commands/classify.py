"""Train small classifiers with and without generated images, and compare them.

Every method is trained with several seeds. A validation split chooses, test sets give the result: they are scored once
all choices are made, and only by the classifiers chosen. Every finished run is kept, its weights and scores; the same
command again continues.
"""
import dataclasses
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import numpy as np

from add.classification.classifier import ClassifierConfig
from add.classification.classifier_methods import (
    ADDED,
    BASELINES,
    FURTHER,
    METHODS,
    ON_FEATURES,
    PUPILS,
    SYNTHETIC,
    Method,
    check_synthetic,
    fit_teacher,
    parse_method,
    taught,
)
from add.classification.classifier_runs import EARLIER, ClassifierRuns, as_one, comparison_settings
from add.classification.comparison_data import domain_severities, read_real, read_synthetic, sample_folders
from add.classification.cross_fitted import LABEL_FOLDS, like_state
from add.classification.heads import OFFERED
from add.classification.label_rules import READABLE_RULES
from add.classification.places_file import PLACES, places_name, truths_of, write_places
from add.classification.score_tables import summarise, table, write_csv
from add.classification.scores import check_packages
from add.commands.shared.classifier_estimate import classifier_lines, features_lines
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
from add.data.files import changed_settings, save_json, save_torch, write_atomically
from add.errors import UserError
from add.interfaces import Note, Row
from add.results.report_page import page_line
from add.runtime.options import Options
from add.runtime.processes import set_threads
from add.runtime.progress import EvaluationBar, say
from add.runtime.typed_command import command_facts
from add.training.checkpoints import load_weights, read_state


@dataclasses.dataclass(frozen=True)
class ClassificationConfig(Checked):
    """Classification."""

    help_groups: ClassVar[HelpGroups] = {
        "real images": ("data_dir", "test_dir", "val_dir", "val_fraction", "group_pattern", "domains", "image_size",
                        "skip_bad", "max_pixels"),
        "generated images": ("translations", "samples_dir", "unlabelled_dir", "label_rule", "synthetic_share"),
        "what is compared": ("methods", "heads", "num_seeds", "seed"),
        "output and speed": ("out_dir", "estimate", "threads")}

    data_dir: str = path_option("", "training images: a folder with one subfolder per domain", "images")
    val_dir: str = path_option("", "validation images, likewise; left out: --val_fraction of the training images",
                                   "val_images", "val_data_dir")
    val_fraction: float = option(0.2, "share of the training images that is used to choose, without --val_dir; series "
                                      "that were made from them are left out", least=0, below=1)
    group_pattern: str = group_option()
    test_dir: str = path_option("", "held-out images, likewise; several as NAME=FOLDER,NAME=FOLDER. With a table "
                                    "severity.csv there and in --data_dir, grading is scored as well",
                                    "test_images", many=True)
    domains: str = domains_option("that of the translations, else sorted by name")
    image_size: int = option(0, "side in pixels at which all images are compared; 0: that of the generated images or "
                                "of the first training image, whichever is smaller", least=0, most=MOST_PIXELS)
    translations: str = path_option("", "translation folders with commas, for the methods full and progressive",
                                        many=True)
    samples_dir: str = path_option("", "samples of each domain's model, one subfolder per domain, for unconditional; "
                                       "those of other generators as NAME=FOLDER,NAME=FOLDER, for methods of these "
                                       "names", many=True)
    unlabelled_dir: str = path_option("", "images of unknown class, for the method taught_unlabelled", "unlabelled")
    methods: str = option(",".join((*BASELINES, *SYNTHETIC)),
                          "methods to compare; full, progressive and unconditional may be followed by one of "
                          f"{', '.join(ADDED)}, progressive by @RULE for other labels than --label_rule; "
                          f"{', '.join(name for name in (*METHODS, *FURTHER) if name not in SYNTHETIC)} need no "
                          f"generated images; features of generated images are learnt from by "
                          f"{', '.join(ON_FEATURES)}; controls are {', '.join(PUPILS)}")
    heads: str = option("class", "what a classifier says: class; or class,severity, where generated images between "
                                 "the domains teach a severity in [0, 1] in place of the class",
                        OFFERED)
    label_rule: str = option("classifier", "soft labels of the progressive images: labels_RULE.csv of "
                                           "`add soft_labels`; depth: labels.csv itself; reviewed: those of "
                                           "`add review score`", READABLE_RULES)
    synthetic_share: str = option("0.5", "share of synthetic images in each batch; of several, such as 0.25,0.5,0.75, "
                                         "each method takes the one with the least loss on the validation images")
    num_seeds: int = option(5, "runs per method; 5 or more give intervals that mean something", least=1, most=1000)
    seed: int = seed_option("of the first run; the others follow")
    skip_bad: bool = skip_bad_option()
    max_pixels: int = max_pixels_option()
    estimate: bool = estimate_option()
    out_dir: str = path_option("results/classification", "folder to write to; finished runs are kept and not made "
                                                         "again", "out")
    threads: int = threads_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parsed_methods()
        _shares(self.synthetic_share)

    def parsed_methods(self) -> list[Method]:
        """Return the methods of --methods."""
        return [parse_method(name, self.sample_folders()) for name in self.methods.split(",")]

    def shares_of(self, method: Method) -> list[float]:
        """Return the shares of synthetic images that a method tries; 0 alone for one without any."""
        return _shares(self.synthetic_share) if method.source else [0.0]

    def sample_folders(self) -> dict[str, str]:
        """Return {method: folder of samples}."""
        return sample_folders(self.samples_dir)


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, ClassificationConfig, ClassifierConfig)


def main(argv: list[str] | None = None) -> None:
    """Train and compare the classifiers that the command line asks for, and print the table."""
    parsed = build_options().parse(argv)
    config = parsed.take(ClassificationConfig)
    if config.estimate:
        say(estimate_classification(config, parsed.take(ClassifierConfig)))
        return
    result = run_classification(config, parsed.take(ClassifierConfig), note=say, silent=False)
    print(f"\n{table(result)}\nwritten: {config.out_dir}/classification.json, .csv and .md, runs/\n"
          f"{page_line(config.out_dir)}")


def estimate_classification(config: ClassificationConfig, classifier_config: ClassifierConfig) -> str:
    """Return the lines that say what a comparison will take, of what its folder lacks; nothing is written.

    Raises:
        UserError: as `run_classification`.
    """
    set_threads(config.threads)
    images = read_real(config)
    check_synthetic(config.parsed_methods(), read_synthetic(config, config.parsed_methods(), images)[0])
    runs = ClassifierRuns(Path(config.out_dir) / "runs", images.train.data, images.validation.data, {},
                          classifier_config, config.heads)
    missing = [method for method, _, _ in _missing(config, runs)]
    count = sum(not method.on_features for method in missing)
    real, lines = images.train.data, []
    if count or not missing:
        lines.append(classifier_lines(real, classifier_config, count, files_each=1))
    if len(missing) > count:
        lines.append(features_lines(real.images, len(real)))
    return "\n".join(lines)


def run_classification(config: ClassificationConfig, classifier_config: ClassifierConfig,
                       note: Note = lambda text: None, silent: bool = True) -> Row:
    """Train what is missing, choose, score the test sets, write the tables; return the result, JSON values.

    OUT/runs/ keeps a file of scores and one of weights per run; OUT/classification.json, .csv and .md hold the result;
    OUT/places.npz the place that every classifier gives to every test image, where the classes have an order.

    Args:
        note: called with a sentence for the user. silent: show no progress.

    Raises:
        UserError: folders that don't fit, or an output folder made with other settings or images.
    """
    check_packages(any(method.on_features for method in config.parsed_methods()))
    set_threads(config.threads)
    if config.data_dir:
        note(f"reading the images of {config.data_dir}")
    images = read_real(config)
    real, validation = images.train, images.validation.data
    methods = config.parsed_methods()
    synthetic, sentences = read_synthetic(config, methods, images)
    check_synthetic(methods, synthetic)
    sentences = [*images.sentences, *sentences]
    for sentence in sentences:
        note(sentence)
    settings = comparison_settings(classifier_config, config.heads, real, images.validation)
    out_dir = Path(config.out_dir)
    _check_settings(out_dir, settings)
    if pupils := [method for method in methods if method.needs_teacher]:
        teacher = _teacher(out_dir / "runs" / f"teacher_seed{config.seed}.pt", real.data, classifier_config,
                           config.seed, silent)
        synthetic |= {method.source: taught(method, teacher, real.data, synthetic, config.seed) for method in pupils}
    runs = ClassifierRuns(out_dir / "runs", real.data, validation, synthetic, classifier_config, config.heads)
    seeds = range(config.seed, config.seed + config.num_seeds)
    chosen = _train(config, runs, methods, seeds, note, silent)
    scores: Row = {test.name: {} for test in images.tests}
    ensembles: Row = {test.name: {} for test in images.tests}
    intervals: Row = {test.name: {} for test in images.tests}
    places: dict[str, np.ndarray] = {}
    known = domain_severities(config, real)
    with closing(EvaluationBar("scoring", len(methods) * len(images.tests), "method", silent)) as bar:
        for test in images.tests:
            for method in methods:
                readings = [runs.read(method, chosen[method.name], seed, test) for seed in seeds]
                scores[test.name][method.name] = [runs.score(reading, test, known, images.ordered)
                                                  for reading in readings]
                together = as_one(readings)
                ensembles[test.name][method.name] = runs.score(together, test, known, images.ordered)
                intervals[test.name][method.name] = runs.group_intervals(together, test, known, images.ordered)
                if images.ordered:
                    for shrunk, own in enumerate(zip(*map(runs.places, readings), strict=True)):
                        places[places_name(test.name, method.name, bool(shrunk))] = np.stack(own).astype(np.float32)
                bar.add(1)
            places |= truths_of(test, known) if images.ordered else {}
    sets = {"train": real.data, "validation": validation, **{test.name: test.data for test in images.tests},
            **synthetic}
    baselines = [method.name for method in methods if not method.images]
    result = command_facts() | {
        "settings": settings | {"synthetic_sha256": runs.digests, "label_rule": config.label_rule,
                                 "first_seed": config.seed},
        "chosen_share": chosen, "num_images": {name: len(data) for name, data in sets.items()},
        "tests": {name: summarise(by_method, baselines, ensembles[name], intervals[name])
                  for name, by_method in scores.items()},
        "notes": sentences}
    write_places(out_dir / PLACES, places)
    save_json(out_dir / "classification.json", result)
    write_csv(out_dir / "classification.csv", result)
    write_atomically(out_dir / "classification.md", lambda file: file.write(table(result).encode()))
    return result


def _teacher(path, real, classifier_config, seed, silent):
    """Return the cross-fitted classifiers that label images for others, trained now if they are not there."""
    if path.exists():
        state = read_state(path)
        teacher = like_state(classifier_config.network, state)
        load_weights(teacher, state, path)
        return teacher
    with closing(EvaluationBar("training the teacher", LABEL_FOLDS * classifier_config.steps, "step", silent)) as bar:
        teacher = fit_teacher(real, classifier_config, seed, bar.add)
    save_torch(path, teacher.state_dict())
    return teacher


def _missing(config, runs):
    """Return the (method, share, seed) of the runs that are not finished."""
    wanted = [(method, share, seed) for method in config.parsed_methods() for share in config.shares_of(method)
              for seed in range(config.seed, config.seed + config.num_seeds)]
    return [run for run in wanted if not runs.is_there(*run)]


def _train(config, runs, methods, seeds, note, silent):
    """Return {method: the share of synthetic images with the least validation loss}, having trained what is missing."""
    chosen = {}
    total = sum(not method.on_features for method, _, _ in _missing(config, runs)) * runs.config.steps
    with closing(EvaluationBar("training classifiers", total, "step", silent)) as bar:
        for method in methods:
            losses = {}
            for share in config.shares_of(method):
                records = [runs.train(method, share, seed, bar.add) for seed in seeds]
                losses[share] = sum(record["validation"]["nll"] for record in records) / len(records)
            chosen[method.name] = min(losses, key=losses.__getitem__)
            note(f"{method.name}: {config.num_seeds} runs trained" + (
                f", synthetic share {chosen[method.name]:g} chosen by validation loss "
                f"{losses[chosen[method.name]]:.4f}" if len(losses) > 1 else ""))
    return chosen


def _check_settings(out_dir, settings):
    """Refuse a folder whose runs were made with other settings or images; else note the settings there."""
    path = out_dir / "settings.json"
    if changed := changed_settings(path, settings, defaults=EARLIER):
        raise UserError(f"{out_dir} holds runs made with other settings or images ({', '.join(changed)}): give the "
                        f"same ones to continue, or another --out_dir")
    save_json(path, settings)


def _shares(text):
    """Return the shares that --synthetic_share lists, floats."""
    try:
        shares = [float(word) for word in text.split(",")]
    except ValueError as error:
        raise UserError(f"--synthetic_share {text!r} is not understood: expected a share such as 0.5, or several with "
                        f"commas") from error
    if not all(0 < share < 1 for share in shares):
        raise UserError(f"--synthetic_share {text!r}: expected shares between 0 and 1; a share of 1 would leave no "
                        f"real images")
    return shares
