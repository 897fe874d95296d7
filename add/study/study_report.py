"""Report of a finished study, in its folder: study.md, study.csv, study.json and plots."""
import dataclasses
import datetime
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

from add.classification.label_quality import label_quality, mean_by_place, severity_measure
from add.data.files import save_csv, save_json, write_atomically
from add.data.folders import list_images
from add.data.read_back import read_json
from add.data.severity_table import read_severity
from add.interfaces import PathLike, Row
from add.results.translation_series import read_series
from add.study.study_plan import translations
from add.study.study_plots import plot_labels, plot_scores
from add.study.study_steps import read_done
from add.study.study_tables import markdown

NUMBER = (None, float)
SCORE = {"mean": float, "low": NUMBER, "high": NUMBER, "values": [float], "difference?": (None, [NUMBER]),
         "ensemble?": NUMBER}
CLASSIFICATION = {"settings": {"domains": [str], "first_seed": int}, "tests": {str: {str: {str: SCORE}}}}
EVALUATION = {"metrics": {str: {"fake?": NUMBER, "real?": NUMBER, "fake_at_count?": NUMBER}}}
RUN_AGAIN = "remove it and the done file of its step, and the same study makes it again"


def write_report(config: Any, out_dir: PathLike) -> list[Path]:
    """Write the report of a finished study and return the paths of its files.

    Args:
        config: the study's options, `add.commands.compare.StudyConfig`. out_dir: its folder.
    """
    out_dir = Path(out_dir)
    result = collect(config, out_dir)
    paths = {name: out_dir / name for name in ("study.md", "study.csv", "study.json", "scores.png", "labels.png")}
    save_json(paths["study.json"], result)
    _write_csv(paths["study.csv"], result)
    write_atomically(paths["study.md"], lambda file: file.write(markdown(result).encode()))
    plot_scores(paths["scores.png"], result)
    if any(size["labels"] for size in result["sizes"].values()):
        plot_labels(paths["labels.png"], result)
    else:
        del paths["labels.png"]
    return list(paths.values())


def collect(config: Any, out_dir: Path) -> Row:
    """Return all numbers of a finished study as a dict of JSON values.

    "options"; "machine"; "date"; "sizes": {N: {"classification", "metrics", "labels", "steps"}}, each as the commands
    wrote it; "labels" holds, for data whose images can be measured, {"rules": {rule: LabelQuality}, "by_m",
    "domain_means", "calibration"}.
    """
    sizes = {}
    for size in config.sizes():
        folder = out_dir / f"n{size}"
        sizes[str(size)] = {"classification": read_scores(folder), "metrics": read_metrics(folder),
                            "labels": _labels(config, folder), "steps": read_done(folder)}
    return {"options": dataclasses.asdict(config), "date": datetime.date.today().isoformat(),
            "machine": {"cores": os.cpu_count(), "system": platform.platform(terse=True), "python":
                        platform.python_version(), "torch": torch.__version__}, "sizes": sizes}


def _labels(config, folder):
    """Return how the label rules stand against measured severity, or None where there is nothing to measure."""
    measure = severity_measure(config.dataset, config.image_size) if (folder / "progressive").exists() else None
    if measure is None:
        return None
    domains = read_scores(folder)["settings"]["domains"]
    means = [_mean_severity(folder / "train", name) for name in domains]
    found: Row = {"domain_means": means, "by_m": {}, "rules": {}, "calibration": {}}
    both = [read_series(path) for path in translations(folder)]
    severities = []
    for series in both:
        images = series.image_set(config.image_size)
        severities.append(measure(images.batch(range(len(images)))))
        found["by_m"][f"{series.source} to {series.target}"] = mean_by_place(severities[-1], series.m)
    severity = np.concatenate(severities)
    for rule in config.label_rules.split(","):
        labels = np.concatenate([read_series(series.folder, rule).labels[:, 1] for series in both])
        found["rules"][rule] = label_quality(labels, severity, *means)._asdict()
        found["calibration"][rule] = _calibration(labels, (severity - means[0]) / (means[1] - means[0]))
    return found


def read_scores(folder: Path) -> Row:
    """Return what the classifiers of a size scored, as `add classify` wrote it."""
    return read_json(folder / "classification" / "classification.json", CLASSIFICATION, RUN_AGAIN)


def read_metrics(folder: Path) -> Row:
    """Return {set of images: what `add evaluate` measured} of a size."""
    return {path.parent.name: read_json(path, EVALUATION, RUN_AGAIN)
            for path in sorted(folder.glob("metrics/*/evaluation.json"))}


def _mean_severity(folder, domain):
    severities = read_severity(folder, list_images(folder / domain))
    assert severities is not None, "images that can be measured are written with a table of severities"
    return float(severities.mean())


def _calibration(labels, positions, bins=10):
    """Return [[mean label, mean measured position], ...] of the bins of equal width that hold images."""
    numbers = np.minimum((labels * bins).astype(int), bins - 1)
    return [[float(labels[numbers == k].mean()), float(positions[numbers == k].mean())] for k in np.unique(numbers)]


def _write_csv(path, result):
    rows: list[list[Any]] = [["num_train", "test", "method", "seed", "score", "value"]]
    for size, found in result["sizes"].items():
        first_seed = found["classification"]["settings"]["first_seed"]
        for test, summary in found["classification"]["tests"].items():
            for method, scores in summary.items():
                for score, own in scores.items():
                    rows += [[size, test, method, first_seed + i, score, f"{value:.6f}"]
                             for i, value in enumerate(own["values"])]
    save_csv(path, rows)
