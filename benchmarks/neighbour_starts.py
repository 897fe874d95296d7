"""What starting a domain from other weights saves: core-seconds to a quality, and what translations gain from it.

python benchmarks/neighbour_starts.py --out_dir results/neighbour_starts
python benchmarks/neighbour_starts.py --out_dir results/neighbour_starts --seeds 0    (another process takes --seeds 1)
python benchmarks/neighbour_starts.py --out_dir results/neighbour_starts --report     (prints the tables alone)
python benchmarks/neighbour_starts.py --out_dir results/neighbour_starts --ways scratch --budgets 250 --full_budget 250
    (the control: what the time of a base brings without one)

Images: cytology phantoms of 32 pixels. 50 labelled training images of the mild band (severity 0 to 0.3) and 50 of the
severe one (0.7 to 1), 500 held-out images of each, 500 held-out ones of the band between them (0.4 to 0.6), and 2000
unlabelled ones of all severities. No two images are the same.

Recipe: that of --config, without its length. The rate rises over a tenth of a budget at most and falls linearly over
its second half. A budget is in core-seconds: processor time of the training steps on one thread.

Ways to train the severe domain, each for all --budgets and --seeds:
  scratch              from random weights
  first                from the mild model, that has had --full_budget
  base                 from a base that has had --full_budget on the 50 + 50 labelled images
  base_unlabelled_B    from a base that has had B core-seconds on the unlabelled images, B of --unlabelled_budgets
Of each model, KID x 1000 (EfficientNet-Lite0 features) of --num_samples samples, from the same noise every time, to the
held-out and to the training images of its domain; then the core-seconds to the KID that `scratch` has at its largest
budget, between two budgets by the logarithm of core-seconds. What a start has cost stands in a column of its own: the
mild model of `first` is wanted anyway, a base is an expense that all its domains share.

Pairs of a mild and a severe model that have had --full_budget each, by the ways scratch, first (its mild model is that
of scratch), base, and base_unlabelled of the largest B: the first --num_sources held-out mild images are translated by
the default sampler at --amount depths by the default rule. Severity is measured by add/metrics/severity_meter.py.
  last images          KID x 1000 to held-out severe images, and mean severity
  middle images        those of all depths whose measured severity lies in 0.4 to 0.6: their number, and KID x 1000 to
                       the held-out images between the bands
  steps forward        share of the steps from an image to the next, the source first, in which measured severity rises

`real` stands beside them: training images in place of generated ones, and as middle images those unlabelled ones whose
measured severity lies in the same range.

Every model lies in OUT_DIR/models and every row is a file of its own in OUT_DIR/rows, written when it is measured, so
that the same command again goes on. At the end it prints Markdown tables of the rows that the options ask for, with
half the range over the seeds. Some samples, and some translations as rows, lie in OUT_DIR/samples.
"""
import argparse
import dataclasses
import functools
import hashlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from budget_training import (
    BATCH,
    BrokeDown,
    OwnTraining,
    cpu_name,
    draw_samples,
    kid_of,
    own_versions,
    read_folder,
    train_for,
)
from neighbour_plan import Model, Pair, Real, wanted, ways_of
from neighbour_tables import FEWEST, kid_text, report
from quality_options import number_of, numbers_of
from quality_recipes import PHANTOM, merged
from rivals_common import say

from add.data import save_json, save_png
from add.data.phantom import DEFAULT_BANDS, make_phantom_set
from add.data.read_back import read_json
from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.metrics import load_features
from add.metrics.image_features import to_bytes
from add.metrics.progression import monotony
from add.metrics.severity_meter import SeverityMeter
from add.networks import ModelConfig
from add.runtime.options import Options
from add.training import TrainConfig, find_checkpoint, load_model
from add.training.loop import keep_freed_memory
from add.training.previews import tile
from add.transition import translate
from add.transition.two_way_samplers import LEAST_STEPS

MIDDLE = (0.4, 0.6)
SETS = {
    "labelled": PHANTOM | {"bands": DEFAULT_BANDS},
    "between": {"bands": {"between": MIDDLE}, "num_train": 1, "num_test": 500, "seed": 1},
    "unlabelled": {"bands": {"unlabelled": (0.0, 1.0)}, "num_train": 2000, "num_test": 0, "seed": 2},
}
# Of the recipe's file, what says how long a training is, and what it shows and keeps.
LEFT_OUT = ("max_steps", "budget", "max_minutes", "lr_anneal_start", "lr_anneal_steps", "save_interval", "log_interval",
            "val_interval", "val_fraction", "num_preview", "preview_steps", "preview_kid", "tensorboard", "device",
            "threads", "seed", "run_dir", "data_dir", "domain", "start_from", "start_share")
DONE = "training.json"
IN_PICTURE, COLUMNS, SERIES = 32, 8, 8


# The recipe and the files


def recipe_of(path):
    """Return {"train", "model", "diffusion"}, the options that a configuration file gives, without LEFT_OUT."""
    parts = {"train": TrainConfig, "model": ModelConfig, "diffusion": DiffusionConfig}
    parsed = Options(None, *parts.values()).parse(["--config", str(path)])
    return {part: {field.name: parsed.values[field.name] for field in dataclasses.fields(config)
                   if field.name in parsed.given and field.name not in LEFT_OUT} for part, config in parts.items()}


def file_name(what, recipe, **settings):
    """Return the name of what is trained or measured, for files: its title, and a digest of all that decides it."""
    facts = {"what": dataclasses.asdict(what), "sets": SETS, "recipe": recipe} | settings
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return f"{what.title}-{digest[:8]}"


def row_name(what, recipe, args):
    """Return the name of a row's file, without its ending."""
    if isinstance(what, Model):
        return file_name(what, recipe, num_samples=args.num_samples, evaluations=args.evaluations)
    if isinstance(what, Pair):
        return file_name(what, recipe, num_sources=args.num_sources, amount=args.amount)
    return file_name(what, recipe)


def row_path(what, recipe, args):
    """Return the file of a row."""
    return args.out_dir / "rows" / f"{row_name(what, recipe, args)}.json"


def measured_rows(recipe, args):
    """Return the rows that the options ask for, as far as they are measured."""
    return [read_json(path) for path in (row_path(what, recipe, args) for what in wanted(args)) if path.exists()]


def measure_missing(recipe, args):
    """Measure what has no row yet, one after the other, and train what that takes."""
    missing = [what for what in wanted(args) if not row_path(what, recipe, args).exists()]
    if not missing:
        return
    with tempfile.TemporaryDirectory() as scratch:
        say("drawing phantoms")
        phantoms = Phantoms(Path(scratch), recipe["model"]["image_size"], load_features())
        for i, what in enumerate(missing):
            say(f"row {i + 1} of {len(missing)}: {what.title}")
            record = dataclasses.asdict(what) | {"kind": type(what).__name__.lower(), "broke_down": "",
                                                 "cpu": cpu_name(), "versions": own_versions()}
            measure = {Model: measure_model, Pair: measure_pair, Real: measure_real}[type(what)]
            record |= measure(what, recipe, phantoms, args)
            save_json(row_path(what, recipe, args), record)
            say(f"  {summary(record)}")


def summary(record):
    """Return a line on a row that was measured."""
    if record["broke_down"]:
        return f"broke down: {record['broke_down']}"
    if record["kind"] == "model":
        return (f"KID x 1000 {record['kid']['held_out'][0]:.1f} after {record['steps']} steps in "
                f"{record['core_seconds']:.1f} core-seconds; sampling took {record['sampling_core_seconds']:.1f}")
    return (f"KID x 1000 {record['kid_last'][0]:.1f} of the last images, {kid_text([record])} of "
            f"{record['num_middle']} middle ones")


class Phantoms:
    """The images, and measures of them.

    folders: {images: folder that a Model of them is trained on}. training, held_out: {band: [n, 3, S, S] in [-1, 1]}.
    """

    def __init__(self, scratch, size, features):
        for name, options in SETS.items():
            make_phantom_set(scratch / name, size=size, **options)
        labelled = scratch / "labelled"
        self.size, self.features = size, features
        self.folders = {band: labelled / "train" / band for band in DEFAULT_BANDS} | {
            "labelled": labelled / "train", "unlabelled": scratch / "unlabelled" / "train" / "unlabelled"}
        self.training = {name: read_folder(self.folders[name], size) for name in (*DEFAULT_BANDS, "unlabelled")}
        self.held_out = {band: read_folder(labelled / "test" / band, size) for band in DEFAULT_BANDS}
        self.held_out["between"] = read_folder(scratch / "between" / "test" / "between", size)
        self._of_real = {}

    def kid(self, x, band, split="held_out"):
        """Return [KID x 1000, spread of a subset] of x [n, 3, S, S] to the real images of a band; None of too few."""
        if len(x) < FEWEST:
            return None
        if (band, split) not in self._of_real:
            self._of_real[band, split] = self.features(getattr(self, split)[band])
        return kid_of(self.features(x), self._of_real[band, split])

    @functools.cached_property
    def _meter(self):
        return SeverityMeter.fit(self.size)

    def severity(self, x):
        """Return measured severities float64 [n] of x [n, 3, S, S] in [-1, 1]."""
        return self._meter(to_bytes(x).permute(0, 2, 3, 1).numpy())


# Training


def trained(model, recipe, folders, out_dir):
    """Return (folder of a trained Model, record of its training), training it and its start where that is missing."""
    folder = out_dir / "models" / file_name(model, recipe)
    if (folder / DONE).exists():
        return folder, read_json(folder / DONE)
    start, before, at_first = "", 0.0, {}
    if model.start is not None:
        start, at_first = trained(model.start, recipe, folders, out_dir)
        before = at_first["core_seconds"] + at_first["start_core_seconds"]
    record = {"steps": 0, "core_seconds": 0.0, "start_core_seconds": before, "parameters": 0, "broke_down": ""}
    if at_first.get("broke_down"):
        record["broke_down"] = f"its start, {model.start.title}: {at_first['broke_down']}"
    else:
        say(f"  training {model.title}")
        options = merged(recipe, {"train": {"domain": ".", "init_from": str(start)}})
        with tempfile.TemporaryDirectory() as scratch:
            training = OwnTraining(options, folders[model.images], Path(scratch) / "run", model.seed, model.budget)
            record["parameters"] = training.parameters
            try:
                record["steps"], record["core_seconds"] = train_for(training, model.budget)
            except BrokeDown as error:
                record["broke_down"] = str(error)
            else:
                training.trainer.save(pictured=False)
                folder.mkdir(parents=True, exist_ok=True)
                for file in (find_checkpoint(training.folder), training.folder / "config.json"):
                    shutil.copy(file, folder)
    save_json(folder / DONE, record)
    return folder, record


def loaded(folder):
    """Return (network, diffusion) of a trained Model's folder."""
    model, diffusion, _ = load_model(folder)
    return model.to(memory_format=torch.channels_last), diffusion


# Measuring


def measure_model(model, recipe, phantoms, args):
    """Return the entries of a Model's row."""
    folder, record = trained(model, recipe, phantoms.folders, args.out_dir)
    if record["broke_down"]:
        return record
    start = time.process_time()
    samples = draw_samples(*loaded(folder), phantoms.size, args.num_samples, args.evaluations)
    seconds = time.process_time() - start
    if not torch.isfinite(samples).all():
        return record | {"broke_down": "the samples are not finite numbers"}
    save_png(args.out_dir / "samples" / f"{row_name(model, recipe, args)}.png",
             tile(samples[:IN_PICTURE], columns=COLUMNS))
    return record | {"num_samples": len(samples), "sampling_core_seconds": seconds, "kid": {
        split: phantoms.kid(samples, model.images, split) for split in ("held_out", "training")}}


def measure_pair(pair, recipe, phantoms, args):
    """Return the entries of a Pair's row."""
    sides = [trained(model, recipe, phantoms.folders, args.out_dir) for model in (pair.source, pair.target)]
    if reasons := [record["broke_down"] for _, record in sides if record["broke_down"]]:
        return {"broke_down": "; ".join(reasons)}
    (source, source_diffusion), (target, target_diffusion) = (loaded(folder) for folder, _ in sides)
    x = phantoms.held_out["mild"][:args.num_sources]
    start = time.process_time()
    made = translate(source, target, x, args.amount, source_diffusion, target_diffusion, batch_size=BATCH,
                     path="depth")
    seconds = time.process_time() - start
    if not torch.isfinite(made.targets).all():
        return {"broke_down": "the translated images are not finite numbers"}
    shown = torch.cat([x[:, None], made.targets.clamp(-1, 1)], dim=1)
    severity = phantoms.severity(shown.flatten(0, 1)).reshape(shown.shape[:2])
    save_png(args.out_dir / "samples" / f"{row_name(pair, recipe, args)}.png",
             tile(shown[:SERIES].flatten(0, 1), columns=shown.shape[1]))
    middle = shown[:, 1:][torch.from_numpy(in_middle(severity[:, 1:]))]
    starts = {model.start.title: record["start_core_seconds"]
              for model, (_, record) in zip((pair.source, pair.target), sides, strict=True)
              if model.start not in (None, pair.source)}  # a start that both share counts once
    return {"num_sources": len(x), "amount": args.amount, "translation_core_seconds": seconds, "evaluations": made.nfe,
            "core_seconds": sum(record["core_seconds"] for _, record in sides) + sum(starts.values()),
            "depth_rules": {rule: sum(plan.rule == rule for plan in made.plans)
                            for rule in sorted({plan.rule for plan in made.plans})},
            "kid_last": phantoms.kid(shown[:, -1], "severe"), "kid_middle": phantoms.kid(middle, "between"),
            "num_middle": len(middle)} | progress_of(severity)


def measure_real(_, recipe, phantoms, args):
    """Return the entries of the row of real images."""
    unlabelled = phantoms.training["unlabelled"]
    middle = unlabelled[torch.from_numpy(in_middle(phantoms.severity(unlabelled)))]
    return {"kid_last": phantoms.kid(phantoms.training["severe"], "severe"),
            "kid_mild": phantoms.kid(phantoms.training["mild"], "mild"),
            "kid_middle": phantoms.kid(middle, "between"), "num_middle": len(middle),
            "severity": {band: float(phantoms.severity(x).mean()) for band, x in phantoms.held_out.items()}}


def in_middle(severity):
    """Return which measured severities lie in the middle, bool of their shape."""
    return (severity >= MIDDLE[0]) & (severity <= MIDDLE[1])


def progress_of(severity):
    """Return what severities [n, N + 1] of series, their sources first, tell of the last images and of the steps."""
    return {"last_severity": float(severity[:, -1].mean()), "source_severity": float(severity[:, 0].mean()),
            "severity_by_depth": severity[:, 1:].mean(axis=0).tolist(),
            "forward": monotony(np.asarray(severity)).forward}


# The command


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out_dir", type=Path, required=True, help="folder of models, rows and pictures")
    parser.add_argument("--report", action="store_true", help="print the tables of what was measured so far, only")
    parser.add_argument("--config", type=Path, default=Path(__file__).resolve().parents[1] / "configs" / "phantom.yaml",
                        help="YAML file of the recipe (configs/phantom.yaml)")
    parser.add_argument("--seeds", type=numbers_of(int, 0), default=[0, 1], help="seeds of training (0,1)")
    parser.add_argument("--budgets", type=numbers_of(float, 1), default=[25.0, 50.0, 100.0],
                        help="core-seconds of the severe domain (25,50,100)")
    parser.add_argument("--full_budget", type=number_of(float, 1), default=100.0,
                        help="core-seconds of the mild model, of the labelled base and of each model of a pair (100)")
    parser.add_argument("--unlabelled_budgets", type=numbers_of(float, 1), default=[100.0, 300.0],
                        help="core-seconds of the bases on unlabelled images (100,300)")
    parser.add_argument("--ways", type=lambda text: text.split(","), default=[],
                        help="ways alone to measure, such as scratch; left out: all")
    parser.add_argument("--num_samples", type=number_of(int, FEWEST), default=500, help="images drawn of a model (500)")
    parser.add_argument("--evaluations", type=number_of(int, LEAST_STEPS), default=20,
                        help="network evaluations of a sample (20)")
    parser.add_argument("--num_sources", type=number_of(int, FEWEST), default=100,
                        help="images translated by a pair (100)")
    parser.add_argument("--amount", type=number_of(int, 1), default=10, help="images made of each source (10)")
    return parser


def main(argv=None):
    args = build_parser().parse_args(argv)
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        recipe = recipe_of(args.config)
        if not args.report:
            measure_missing(recipe, args)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(report(measured_rows(recipe, args), ways_of(args)))


if __name__ == "__main__":
    main()
