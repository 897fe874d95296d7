"""Give the images of finished translations soft labels by a rule.

They are written to labels_RULE.csv in each translation folder, beside its labels.csv.
"""
import dataclasses
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from add.classification.classifier import ClassifierConfig
from add.classification.classifier_methods import BASELINES
from add.classification.cross_fitted import LABEL_FOLDS, cross_fit
from add.classification.feature_classifier import fit_features
from add.classification.label_rules import (
    LABEL_RULES,
    PLACE_WEIGHT,
    POWER,
    RULES_OF_PLACE,
    TIMESTEP_SHARES,
    anchored_positions,
    likelihood_positions,
    two_sided,
)
from add.classification.labelled_images import all_images, read_domains
from add.classification.scores import check_packages
from add.commands.shared.classifier_estimate import classifier_lines, features_lines
from add.config import (
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
from add.data import ImageSet
from add.data.files import changed_settings, save_json
from add.data.groups import hint_at_groups, read_groups
from add.data.image_file import read_image
from add.data.read_back import read_json
from add.errors import UserError
from add.interfaces import Note
from add.results.labels_by_place import labels_by_place, place_table
from add.results.report_page import page_line
from add.results.translation_series import domain_order, label_path, read_series, write_labels
from add.runtime.cost_lines import evaluation_seconds
from add.runtime.next_steps import command_line, next_steps
from add.runtime.options import Options
from add.runtime.processes import set_threads
from add.runtime.progress import EvaluationBar, minutes, say
from add.training import load_model
from add.training.step_costs import MEASURED_STEPS
from add.transition import soft_labels

# Options that leave the labels of a folder as they are.
NO_MATTER = {"translations", "estimate", "threads", "skip_bad", "max_pixels"}
BATCH = 8  # images of a measured evaluation


@dataclasses.dataclass(frozen=True)
class RelabelConfig(Checked):
    """Soft labels."""

    help_groups: ClassVar[HelpGroups] = {
        "what is labelled": ("translations", "rule"),
        "real images": ("data_dir", "calibration_dir", "source_dir", "domains", "group_pattern"),
        "details": ("gamma", "label_folds", "seed", "skip_bad", "max_pixels", "estimate", "threads")}

    translations: str = path_option("", "translation folders with commas; both directions of a pair are labelled alike",
                                        many=True)
    rule: str = option("classifier", "classifier: log-odds of classifiers of the two domains; features: likewise, of "
                                     "regressions on pretrained features; likelihood: which diffusion model restores "
                                     "the image better; power: 1 - s^gamma, s^gamma of the place s = m/N; depth: m/N, "
                                     "as in labels.csv; blend: 0.7 classifier and 0.3 depth; anchored: by the place, "
                                     "from classifier's label of the source image to that of its full translation",
                       LABEL_RULES)
    data_dir: str = path_option("", "real images, one subfolder per domain: what classifiers are trained on, and "
                                    "every rule that looks at images is calibrated with", "images")
    calibration_dir: str = path_option("", "real images, likewise, that the diffusion models were not trained on; "
                                           "left out: --data_dir. For likelihood, whose scores training images bias",
                                           "calibration_images")
    source_dir: str = path_option("", "source images of the translations, for anchored; left out: where run.json says "
                                      "that they were")
    domains: str = domains_option("that of the translations, else sorted by name")
    group_pattern: str = group_option()
    gamma: float = option(POWER, "exponent of the rule power", above=0, most=1000)
    label_folds: int = option(LABEL_FOLDS, "cross-fitted classifiers of the rules classifier, features, blend and "
                                           "anchored, each calibrated on images that it was not trained on",
                              least=2, most=1000)
    seed: int = seed_option("of classifiers and noise")
    skip_bad: bool = skip_bad_option()
    max_pixels: int = max_pixels_option()
    estimate: bool = estimate_option()
    threads: int = threads_option()


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, RelabelConfig, ClassifierConfig)


def main(argv: list[str] | None = None) -> None:
    """Label the translations that the command line names."""
    parsed = build_options().parse(argv)
    config = parsed.take(RelabelConfig)
    if config.estimate:
        say(estimate_labels(config, parsed.take(ClassifierConfig)))
        return
    paths = relabel(config, parsed.take(ClassifierConfig), note=say, silent=False)
    say(next_steps(command_line("classify", data_dir=config.data_dir or "REAL_IMAGES", test_dir="TEST_IMAGES",
                                translations=config.translations, label_rule=config.rule,
                                methods=",".join((*BASELINES, "full", "progressive")),
                                **{"domains": config.domains} if config.domains else {})))
    for folder in dict.fromkeys(path.resolve().parents[1] for path in paths):
        say(page_line(folder))


def estimate_labels(config: RelabelConfig, classifier_config: ClassifierConfig) -> str:
    """Return the lines that say what labels by a rule will take; nothing is written.

    Raises:
        UserError: as `relabel`.
    """
    set_threads(config.threads)
    found = _read_translations(config)
    if config.rule in RULES_OF_PLACE:
        return f"the rule {config.rule} looks at no image: it takes a moment"
    pairs = sorted({_pair(series) for series in found})
    real, size = _read_real(config, found)
    if config.rule == "features":
        return features_lines(real.data.images, sum(map(len, found)) + len(real.data))
    if config.rule != "likelihood":
        return classifier_lines(real.data, classifier_config, config.label_folds * len(pairs))
    seconds = evaluation_seconds(_models(found[0], _pair(found[0]))[0][0], (3, size, size), torch.device("cpu"), BATCH)
    evaluations = 2 * len(TIMESTEP_SHARES) * (sum(map(len, found)) + len(pairs) * len(real.data))
    return (f"estimate from {MEASURED_STEPS} evaluations of {BATCH} images each; nothing was written\n"
            f"time: {minutes(evaluations * seconds / BATCH / 60)} for {evaluations} network evaluations")


def relabel(config: RelabelConfig, classifier_config: ClassifierConfig | None = None,
            note: Note = lambda text: None, silent: bool = True) -> list[Path]:
    """Write labels_RULE.csv into every translation folder and return their paths.

    Args:
        classifier_config: of the rules classifier and blend; left out: its defaults.
        note: called with a sentence for the user. silent: show no progress.

    Raises:
        UserError: folders or models that are missing or don't fit.
    """
    set_threads(config.threads)
    found = _read_translations(config)
    if config.rule == "depth":
        note("labels.csv holds the rule depth already")
        return [label_path(series.folder, "depth") for series in found]
    if config.rule == "power":
        labels = [_by_place(series, config.gamma) for series in found]
    else:
        ends = [_pair(series) for series in found]
        labels = [None] * len(found)
        for pair in sorted(set(ends)):
            members = [i for i, own in enumerate(ends) if own == pair]
            placed = _by_image([found[i] for i in members], pair, config, classifier_config, note, silent)
            for i, label in zip(members, placed, strict=True):
                labels[i] = label
    paths = [label_path(series.folder, config.rule) for series in found]
    for path, series, label in zip(paths, found, labels, strict=True):
        changed = changed_settings(path.with_suffix(".json"), dataclasses.asdict(config), NO_MATTER)
        if path.exists() and changed:
            note(f"{path} was made with other options ({', '.join(changed)}), and is replaced")
        write_labels(path, series, label)
        save_json(path.with_suffix(".json"), dataclasses.asdict(config))
        note(f"{len(series)} soft labels by the rule {config.rule}: {path}")
        note("\n".join(["", *place_table(labels_by_place(series.folder)), ""]))
    return paths


def _read_translations(config):
    """Return the Series of --translations; refuse chains where the rule knows pairs only."""
    if not config.translations:
        raise UserError("no translations were named: expected --translations FOLDER, or several with commas")
    found = [read_series(folder) for folder in config.translations.split(",")]
    chains = [str(series.folder) for series in found if series.is_chain]
    if chains and config.rule != "depth":
        raise UserError(f"{chains[0]} is a chain through more than two domains, and the rule {config.rule} knows the "
                        f"way between two: expected translations of pairs; keep the labels.csv of the chain")
    return found


def _pair(series):
    return min(series.source, series.target), max(series.source, series.target)


def _read_real(config, found):
    """Return (Domains that a rule that looks is calibrated with, side of the images in pixels)."""
    if not config.data_dir:
        raise UserError(f"the rule {config.rule} is calibrated with real images: expected --data_dir, a folder with "
                        f"one subfolder per domain; or take --rule depth")
    size = read_image(found[0].folder / found[0].images[0]).shape[0]
    root = config.calibration_dir or config.data_dir if config.rule == "likelihood" else config.data_dir
    real = read_domains(root, size, domain_order(config.domains, config.translations, root), config.skip_bad)
    highest = max(high for _, high in map(_pair, found))
    if highest >= len(real.names):
        raise UserError(f"{root} holds {len(real.names)} domains, and the translations reach domain {highest}: "
                        f"expected a folder for each; check --data_dir and --domains")
    return real, size


def _fit_features(images, seed):
    return fit_features(images, "dihedral", seed)


def _by_place(series, gamma):
    labels = soft_labels(series.amount, series.source, series.target, series.labels.shape[1], gamma)
    return labels[series.m - 1].numpy()


def _by_image(found, pair, config, classifier_config, note, silent):
    """Return the labels of each Series, all between the two domains `pair` (low, high), by the rules that look."""
    real, size = _read_real(config, found)
    models = _models(found[0], pair) if config.rule == "likelihood" else None
    note(f"rule {config.rule}: {real.names[pair[0]]} is domain {pair[0]}, {real.names[pair[1]]} is domain {pair[1]}")
    images = torch.cat([all_images(series.image_set(size)) for series in found])
    sources = [_sources(series, config, size) for series in found] if config.rule == "anchored" else []
    count, images = len(images), torch.cat([images, *sources])
    low, high = (real.of(number) for number in pair)
    if models is not None:
        total = 2 * len(TIMESTEP_SHARES) * (len(images) + len(low) + len(high))
        with closing(EvaluationBar("restoring images", total, "evaluation", silent)) as bar:
            positions = likelihood_positions(images, low, high, models, seed=config.seed, count=bar.add)
    else:
        classifier_config = classifier_config or ClassifierConfig()
        groups = _groups(config, real, pair)
        folds = min(config.label_folds, len(low), len(high), *(len(set(own)) for own in groups or ()))
        if groups is None and (hint := hint_at_groups(config.data_dir, real.paths, depth=2)):
            note(hint)
        fit = None
        if config.rule == "features":
            check_packages()
            fit = _fit_features
        with closing(EvaluationBar("training classifiers", folds * classifier_config.steps, "step",
                                   silent or fit is not None)) as bar:
            fitted = cross_fit(low, high, classifier_config, folds, config.seed, bar.add, groups, fit)
        if fitted.left_out:
            note(f"{fitted.left_out} of the classifiers can't tell the images apart that they were not trained on, and "
                 f"are left out: the labels rest on few slides or patients, or the domains hardly differ")
        positions = fitted.positions(images)
        if config.rule == "blend":
            place = torch.cat([torch.from_numpy(series.labels[:, pair[1]]) for series in found])
            positions = (1 - PLACE_WEIGHT) * positions + PLACE_WEIGHT * place
        elif config.rule == "anchored":
            positions = torch.cat([
                anchored_positions(torch.from_numpy(series.labels[:, series.target]), torch.from_numpy(series.groups),
                                   starts, own[torch.from_numpy(series.m == series.amount)])
                for series, own, starts in zip(found, positions[:count].split([len(series) for series in found]),
                                               positions[count:].split(list(map(len, sources))), strict=True)])
    num_domains = found[0].labels.shape[1]
    labels = two_sided(positions, pair[0], pair[1], num_domains)
    ends = torch.tensor([len(series) for series in found]).cumsum(0).tolist()
    return [labels[end - len(series):end] for series, end in zip(found, ends, strict=True)]


def _sources(series, config, size):
    """Return the source images [k, 3, H, W] of a Series, in the order of its groups."""
    folder = config.source_dir or _recorded(series, "source_dir")
    images = ImageSet.from_folder(folder, size)
    places = {name: i for i, name in enumerate(images.names)}
    _, firsts = np.unique(series.groups, return_index=True)
    names = [series.source_images[i] for i in firsts]
    if missing := [name for name in names if name not in places]:
        raise UserError(f"{folder} lacks {len(missing)} of the {len(names)} source images of {series.folder}, such as "
                        f"{missing[0]}: expected the folder that was translated from; give it as --source_dir")
    return all_images(images.subset([places[name] for name in names]))


def _recorded(series, name):
    """Return the entry of a translation's run.json."""
    path = Path(series.folder) / "run.json"
    try:
        return read_json(path)[name]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} does not say the {name} ({error!r}): expected a finished translation of this version; "
                        f"give --{name}, or run its command again") from error


def _groups(config, real, pair):
    """Return the groups of the images of two domains, or None where nothing tells any."""
    found = read_groups(config.data_dir, real.paths, config.group_pattern)
    if found is None:
        return None
    low, high = ([found[i] for i in (real.classes == number).nonzero()[:, 0].tolist()] for number in pair)
    return low, high


def _models(series, pair):
    """Return ((model, diffusion) of the pair's low domain, of its high domain) that a translation was made with."""
    path = Path(series.folder) / "run.json"
    if not path.exists():
        raise UserError(f"{path} is not there, which says which models made the translation: expected a finished "
                        f"translation; run its command again")
    model = {"path": str}
    checkpoints = read_json(path, {"checkpoints": {"source": model, "target": model}}, "run the translation's command "
                                                                                       "again")["checkpoints"]
    paths = [checkpoints["source" if number == series.source else "target"]["path"] for number in pair]
    return tuple(load_model(path)[:2] for path in paths)
