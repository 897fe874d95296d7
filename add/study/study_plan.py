"""Plan of a study: the commands that train models, make images, measure them and compare classifiers, in order.

Everything is done by the project's own commands, each a step that a user can repeat by hand. For each size of the
training set, N images per domain, they write below OUT/nN.
"""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from add.classification.classifier_methods import SYNTHETIC
from add.classification.label_rules import RULES_OF_PLACE
from add.interfaces import PathLike
from add.study.study_steps import Step

BASE = "base"  # the model of unlabelled images
CONTROLS = {"training": 0, "other": 1}  # real images in the place of generated ones: of the domain, of the other one
RIVALS = ("progan", "lofgan", "mixdl", "iddpm")  # methods whose samples get hard labels, as those of `unconditional`


def plan(config: Any, domains: Sequence[str], size: int) -> list[Step]:
    """Return the `Step`s for one size of the training set, in order; only images that a method asks for are made.

    Args:
        config: the study's options, `add.commands.compare.StudyConfig`.
        domains: names (source, target), in label order.
        size: training images per domain.
    """
    folder = Path(config.out_dir) / f"n{size}"
    sources = {method.images.partition("@")[0] for method in config.parsed_methods()} - {""}
    steps = []
    if sources & set(SYNTHETIC):
        steps += [_train_base(config, folder)] if config.unlabelled_dir else []
        steps += [_train(config, folder, domain) for domain in domains]
    if "unconditional" in sources:
        steps += [_sample(config, folder, domain) for domain in domains]
        steps += [_evaluate(config, folder, f"samples_{domain}", domain, folder / "samples" / domain,
                            f"sample_{domain}") for domain in domains]
    for rival in (rival for rival in RIVALS if rival in sources):
        steps += _train_rival(config, folder, domains, rival)
        steps += [_sample_rival(config, folder, domain, rival) for domain in domains]
        steps += [_evaluate(config, folder, f"{rival}_{domain}", domain, folder / rival / "samples" / domain,
                            f"sample_{rival}_{domain}") for domain in domains]
    if sources & {"full", "progressive"}:
        steps.append(_translate(config, folder, domains))
        for rule in (rule for rule in config.label_rules.split(",") if rule != "depth"):
            steps.append(_relabel(config, folder, domains, rule, after=steps[-1].name))
        steps += [_evaluate(config, folder, f"translation_{a}_{b}", domains[b], translations(folder)[a], "translate",
                            domains[a]) for a, b in ((0, 1), (1, 0))]
    if any(step.script == "evaluate" for step in steps):
        steps += [_evaluate(config, folder, f"{name}_{domain}", domain, folder / "train" / domains[k - other])
                  for name, other in CONTROLS.items() for k, domain in enumerate(domains)]
    before = tuple(step.name for step in steps if step.script != "evaluate")
    steps.append(_classify(config, folder, domains, sources, before))
    return steps


def translations(folder: Path) -> list[Path]:
    """Return the translation folders of a size, source to target and back."""
    return [folder / "progressive" / "translation_0_1", folder / "progressive" / "translation_1_0"]


def test_sets(out_dir: PathLike) -> dict[str, Path]:
    """Return {name: folder} of the study's test sets."""
    return {path.name: path for path in sorted((Path(out_dir) / "test").iterdir()) if path.is_dir()}


def _train(config, folder, domain):
    steps = config.train_steps // 2 if config.unlabelled_dir else config.train_steps
    options = _training(config, folder / "train" / domain, folder / "models" / domain, steps)
    if not config.unlabelled_dir:
        return _step(f"train_{domain}", "train", options)
    options["init_from"] = folder / "models" / BASE
    return _step(f"train_{domain}", "train", options, needs=(f"train_{BASE}",))


def _train_base(config, folder):
    """Return the step that trains the model of unlabelled images; with it both domains' models take half the steps."""
    return _step(f"train_{BASE}", "train", _training(config, config.unlabelled_dir, folder / "models" / BASE,
                                                     config.train_steps))


def _training(config, data_dir, run_dir, steps):
    """Return the options of a training; of no steps, those that its configuration says."""
    options = {"config": config.train_config, "data_dir": data_dir, "run_dir": run_dir,
               "image_size": config.image_size, "seed": config.seed, "threads": config.threads, **_augmented(config)}
    return options | ({"lr_anneal_start": steps // 2, "lr_anneal_steps": steps} if steps else {})


def _sample(config, folder, domain):
    return _step(f"sample_{domain}", "image_sample", needs=(f"train_{domain}",), options={
        "model_path": folder / "models" / domain, "num_samples": config.num_samples,
        "decode_steps": config.sample_steps, "backend": config.backend, "threads": config.threads,
        "seed": config.seed, "out_dir": folder / "samples" / domain})


def _train_rival(config, folder, domains, rival):
    """Return the steps that train a method of another paper: lofgan once, the others for each domain."""
    common = {"image_size": config.image_size, "seed": config.seed, "threads": config.threads}
    chosen = {"method": rival, "augment": config.augment}
    if rival == "lofgan":
        return [_step("train_lofgan", "baseline_train", chosen | {
            "data_dir": folder / "train", "run_dir": folder / rival / "models" / "all",
            "max_minutes": config.rival_minutes * len(domains), **common})]
    iddpm = {"config": config.rival_config, **_augmented(config)}
    script, chosen = ("train", iddpm) if rival == "iddpm" else ("baseline_train", chosen)
    return [_step(f"train_{rival}_{domain}", script, chosen | {
        "data_dir": folder / "train" / domain, "run_dir": folder / rival / "models" / domain,
        "max_minutes": config.rival_minutes, **common}) for domain in domains]


def _sample_rival(config, folder, domain, rival):
    options = {"num_samples": config.num_samples, "threads": config.threads, "seed": config.seed,
               "out_dir": folder / rival / "samples" / domain,
               "model_path": folder / rival / "models" / ("all" if rival == "lofgan" else domain)}
    trained = "train_lofgan" if rival == "lofgan" else f"train_{rival}_{domain}"
    if rival == "iddpm":
        options |= {"timestep_respacing": config.rival_sample_steps, "backend": config.backend}
    if rival == "lofgan":
        options["data_dir"] = folder / "train" / domain
    script = "image_sample" if rival == "iddpm" else "baseline_sample"
    return _step(f"sample_{rival}_{domain}", script, options, needs=(trained,))


def _translate(config, folder, domains):
    return _step("translate", "translate", {
        "amount": config.amount, "path": config.path, "source_model_path": folder / "models" / domains[0],
        "target_model_path": folder / "models" / domains[1], "data_dir": folder / "train" / domains[0],
        "target_data_dir": folder / "train" / domains[1], "num_images": config.num_sources, "backend": config.backend,
        "threads": config.threads, "out_dir": folder / "progressive"},
        needs=tuple(f"train_{domain}" for domain in domains))


def _relabel(config, folder, domains, rule, after):
    options = {"translations": _joined(translations(folder)), "rule": rule, "threads": config.threads}
    if rule not in RULES_OF_PLACE:
        options |= {"data_dir": folder / "train", "calibration_dir": folder / "val", "domains": ",".join(domains),
                    "network": config.network, "steps": config.classifier_steps, "seed": config.seed,
                    **_augmented(config)}
    return _step(f"labels_{rule}", "soft_labels", options, needs=(after,))


def _evaluate(config, folder, name, domain, fake, after="", source_domain=None):
    options = {"real_dir": folder.parent / "test" / "ends" / domain, "fake_dir": fake,
               "train_dir": folder / "train" / domain, "held_out_dir": folder.parent / "test" / "ends" / domain,
               "max_images": config.max_images, "threads": config.threads, "out_dir": folder / "metrics" / name}
    if source_domain is not None:
        options["source_dir"] = folder / "train" / source_domain
    return _step(f"evaluate_{name}", "evaluate", options, needs=(after,) if after else ())


def _classify(config, folder, domains, sources, before):
    tests = ",".join(f"{name}={path}" for name, path in test_sets(config.out_dir).items())
    options = {"data_dir": folder / "train", "val_dir": folder / "val", "test_dir": tests,
               "domains": ",".join(domains), "methods": config.methods, "label_rule": config.label_rule,
               "synthetic_share": config.synthetic_share, "num_seeds": config.num_seeds, "seed": config.seed,
               "network": config.network, "steps": config.classifier_steps, "threads": config.threads,
               "out_dir": folder / "classification", **_augmented(config)}
    if config.heads != "class":  # earlier versions noted the command without it
        options["heads"] = config.heads
    if "unlabelled" in sources:
        options["unlabelled_dir"] = config.unlabelled_dir
    if sources & {"full", "progressive"}:
        options["translations"] = _joined(translations(folder))
    samples = {"unconditional": folder / "samples"} | {rival: folder / rival / "samples" for rival in RIVALS}
    if given := [f"{name}={path}" for name, path in samples.items() if name in sources]:
        options["samples_dir"] = ",".join(given)
    return _step("classify", "classify", options, needs=before)


def _augmented(config):
    """Return the option for another augmentation than the classifiers' own; the YAML files name that of the models."""
    return {} if config.augment == "dihedral" else {"augment": config.augment}


def _step(name, script, options, needs=()):
    words = tuple(word for flag, value in options.items() for word in (f"--{flag}", str(value)))
    return Step(name, script, words, needs)


def _joined(folders):
    return ",".join(str(folder) for folder in folders)
