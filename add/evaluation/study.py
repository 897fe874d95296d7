"""The whole study of a data set: models trained, images made and measured, classifiers compared, a report written.

Everything is done by the project's own commands, each a step that a user can repeat by hand: the report lists them. A
step leaves OUT/nN/done/STEP.json when it ends; the same study again goes on with the first step that has none, and
the steps continue half-done work by themselves.
"""
import dataclasses
from pathlib import Path

from add.config import expect, option
from add.data.files import changed_settings, save_json
from add.data.phantom import parse_bands
from add.errors import UserError
from add.evaluation.classifier import NETWORKS
from add.evaluation.downstream import parse_method
from add.evaluation.label_rules import LABEL_RULES
from add.evaluation.study_data import prepare_data
from add.evaluation.study_steps import Step, run_steps

RULES_OF_PLACE = ("depth", "power")
RIVALS = ("progan", "lofgan", "mixdl", "iddpm")  # methods whose samples get hard labels, as those of `unconditional`


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """Study."""

    dataset: str = option("phantom", "phantom: drawn cells of known severity; tissue: scikit-image's stained section; "
                                     "or a folder with train/ and test/, each with one subfolder per domain")
    bands: str = option("mild:0:0.3,severe:0.7:1", "the phantom's domains, NAME:LOW:HIGH with commas")
    image_size: int = option(32, "side of the images in pixels")
    num_train: str = option("50,100", "training images per domain, several sizes with commas; a fifth more are used "
                                      "for validation")
    num_test: int = option(1000, "test images per domain and test set")
    train_config: str = option("configs/phantom.yaml", "YAML file of the diffusion models' training options")
    train_steps: int = option(0, "training steps, the rate falling over the second half; 0: as the YAML file says")
    amount: int = option(10, "progressive images per source image, N")
    num_sources: int = option(100, "training images of each domain that are translated, at most")
    num_samples: int = option(500, "unconditional samples of each domain's model")
    sample_steps: int = option(30, "network evaluations of a sample")
    label_rules: str = option("depth,power,classifier,likelihood,blend", "rules for soft labels to judge")
    methods: str = option("plain,flips,mixup,cutmix,unconditional,full,progressive,progressive@depth",
                          "methods to compare, as in scripts/classify.py; of other papers progan, lofgan, mixdl, iddpm")
    rival_minutes: float = option(8.0, "minutes that a model of another paper is trained for each domain; lofgan, "
                                       "which learns all domains at once, gets them together")
    rival_augment: str = option("dihedral", "random flips of the images that progan, lofgan and mixdl learn from; the "
                                            "YAML files say it for the diffusion models",
                                ("none", "mirror", "flips", "dihedral"))
    rival_config: str = option("configs/iddpm.yaml", "YAML file of IDDPM's training options")
    rival_sample_steps: int = option(100, "ancestral steps of an IDDPM sample")
    label_rule: str = option("classifier", "soft labels of the method progressive", LABEL_RULES)
    synthetic_share: str = option("0.5", "share of synthetic images in each batch, as in scripts/classify.py")
    num_seeds: int = option(5, "classifiers per method")
    network: str = option("small_resnet", "classifier", NETWORKS)
    classifier_steps: int = option(300, "training steps of a classifier")
    max_images: int = option(300, "images of each set that metrics are computed on")
    backend: str = option("torch", "how networks make images: torch, compile or onnx", ("torch", "compile", "onnx"))
    threads: int = option(1, "CPU threads of each command; 0: its own choice")
    jobs: int = option(1, "commands at a time; those of more than one share the cores, and their output goes to "
                          "OUT/nN/logs")
    seed: int = option(0, "of data, models, samples and the first classifier")
    out_dir: str = option("results/study", "folder for everything; the same study again continues")

    def __post_init__(self):
        parse_bands(self.bands)
        unknown = [rule for rule in self.label_rules.split(",") if rule not in LABEL_RULES]
        if unknown:
            raise UserError(f"label rule {unknown[0]!r} is unknown: expected some of {', '.join(LABEL_RULES)}")
        for method in self.parsed_methods():
            base, _, rule = method.source.partition("@")
            rule = rule or self.label_rule
            if base == "progressive" and rule not in self.label_rules.split(","):
                raise UserError(f"method {method.name} needs soft labels by the rule {rule}: add it to --label_rules")
        try:
            sizes = self.sizes()
        except ValueError as error:
            raise UserError(f"--num_train {self.num_train!r} is not understood: expected numbers, such as 50,100"
                            ) from error
        expect(self.jobs >= 1, "jobs", self.jobs, "1 or more")
        if min(sizes) < 2 or self.num_test < 1:
            raise UserError("a study needs 2 or more training images and 1 or more test images per domain: raise "
                            "--num_train or --num_test")

    def sizes(self):
        """Return the sizes of the training sets, ascending ints."""
        return sorted({int(word) for word in self.num_train.split(",")})

    def parsed_methods(self):
        """Return the `Method`s."""
        return [parse_method(name, RIVALS) for name in self.methods.split(",")]


def run_study(config, scripts_dir, note=lambda text: None):
    """Do what the study lacks, and return its folder as a Path.

    Args:
        config: StudyConfig.
        scripts_dir: folder of the project's scripts.
        note: called with a sentence that the user should read.

    Raises:
        UserError: a step failed, after its own message; or OUT holds another study.
    """
    out_dir = Path(config.out_dir)
    _check_same_study(config, out_dir)
    note(f"images of the study {config.dataset} in {out_dir.resolve()}")
    domains = prepare_data(config.dataset, out_dir, config.sizes(), config.num_test, config.image_size, config.seed,
                           parse_bands(config.bands))
    if len(domains) != 2:
        raise UserError(f"{config.dataset} has the domains {', '.join(domains)}: a study compares two; give a "
                        f"folder, or bands, with two")
    steps = [(out_dir / f"n{size}", step) for size in config.sizes() for step in plan(config, domains, size)]
    run_steps(steps, scripts_dir, config.jobs, note)
    return out_dir


def plan(config, domains, size):
    """Return the `Step`s for one size of the training set, in order; only images that a method asks for are made.

    Args:
        domains: names (source, target), in label order.
    """
    folder = Path(config.out_dir) / f"n{size}"
    sources = {method.source.partition("@")[0] for method in config.parsed_methods()} - {""}
    steps = []
    if sources - set(RIVALS):
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
    before = tuple(step.name for step in steps if step.script != "evaluate")
    steps.append(_classify(config, folder, domains, sources, before))
    return steps


def translations(folder):
    """Return the translation folders of a size, source to target and back."""
    return [folder / "progressive" / "translation_0_1", folder / "progressive" / "translation_1_0"]


def test_sets(out_dir):
    """Return {name: folder} of the study's test sets."""
    return {path.name: path for path in sorted((Path(out_dir) / "test").iterdir()) if path.is_dir()}


def _train(config, folder, domain):
    options = {"config": config.train_config, "data_dir": folder / "train" / domain,
               "run_dir": folder / "models" / domain, "image_size": config.image_size, "seed": config.seed,
               "threads": config.threads}
    if config.train_steps:
        options |= {"lr_anneal_start": config.train_steps // 2, "lr_anneal_steps": config.train_steps}
    return _step(f"train_{domain}", "train", options)


def _sample(config, folder, domain):
    return _step(f"sample_{domain}", "image_sample", needs=(f"train_{domain}",), options={
        "model_path": folder / "models" / domain, "num_samples": config.num_samples,
        "decode_steps": config.sample_steps, "backend": config.backend, "threads": config.threads,
        "seed": config.seed, "out_dir": folder / "samples" / domain})


def _train_rival(config, folder, domains, rival):
    """Return the steps that train a method of another paper: lofgan once, the others for each domain."""
    common = {"image_size": config.image_size, "seed": config.seed, "threads": config.threads}
    chosen = {"method": rival, "augment": config.rival_augment}
    if rival == "lofgan":
        return [_step("train_lofgan", "baseline_train", chosen | {
            "data_dir": folder / "train", "run_dir": folder / rival / "models" / "all",
            "max_minutes": config.rival_minutes * len(domains), **common})]
    script, chosen = ("train", {"config": config.rival_config}) if rival == "iddpm" else ("baseline_train", chosen)
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
    return _step("translate", "frequency_generating_m_samples", {
        "amount": config.amount, "source_model_path": folder / "models" / domains[0],
        "target_model_path": folder / "models" / domains[1], "data_dir": folder / "train" / domains[0],
        "target_data_dir": folder / "train" / domains[1], "num_images": config.num_sources, "backend": config.backend,
        "threads": config.threads, "out_dir": folder / "progressive"},
        needs=tuple(f"train_{domain}" for domain in domains))


def _relabel(config, folder, domains, rule, after):
    options = {"translations": _joined(translations(folder)), "rule": rule, "threads": config.threads}
    if rule not in RULES_OF_PLACE:
        options |= {"data_dir": folder / "train", "calibration_dir": folder / "val", "domains": ",".join(domains),
                    "network": config.network, "steps": config.classifier_steps, "seed": config.seed}
    return _step(f"labels_{rule}", "soft_labels", options, needs=(after,))


def _evaluate(config, folder, name, domain, fake, after, source_domain=None):
    options = {"real_dir": folder.parent / "test" / "ends" / domain, "fake_dir": fake,
               "train_dir": folder / "train" / domain, "held_out_dir": folder.parent / "test" / "ends" / domain,
               "max_images": config.max_images, "threads": config.threads, "out_dir": folder / "metrics" / name}
    if source_domain is not None:
        options["source_dir"] = folder / "train" / source_domain
    return _step(f"evaluate_{name}", "evaluate", options, needs=(after,))


def _classify(config, folder, domains, sources, before):
    tests = ",".join(f"{name}={path}" for name, path in test_sets(config.out_dir).items())
    options = {"data_dir": folder / "train", "val_dir": folder / "val", "test_dir": tests,
               "domains": ",".join(domains), "methods": config.methods, "label_rule": config.label_rule,
               "synthetic_share": config.synthetic_share, "num_seeds": config.num_seeds, "seed": config.seed,
               "network": config.network, "steps": config.classifier_steps, "threads": config.threads,
               "out_dir": folder / "classification"}
    if sources & {"full", "progressive"}:
        options["translations"] = _joined(translations(folder))
    samples = {"unconditional": folder / "samples"} | {rival: folder / rival / "samples" for rival in RIVALS}
    if given := [f"{name}={path}" for name, path in samples.items() if name in sources]:
        options["samples_dir"] = ",".join(given)
    return _step("classify", "classify", options, needs=before)


def _step(name, script, options, needs=()):
    words = tuple(word for flag, value in options.items() for word in (f"--{flag}", str(value)))
    return Step(name, script, words, needs)


def _joined(folders):
    return ",".join(str(folder) for folder in folders)


def _check_same_study(config, out_dir):
    """Refuse a folder of a study with other options but for those that only add to it; else note the options there."""
    path = out_dir / "study_options.json"
    given = dataclasses.asdict(config)
    adding = {"num_train", "methods", "num_seeds", "label_rules", "threads", "jobs", "out_dir"}
    if changed := changed_settings(path, given, adding):
        raise UserError(f"{out_dir} holds a study with other options ({', '.join(changed)}): give the same ones to "
                        f"continue, or another --out_dir")
    save_json(path, given)
