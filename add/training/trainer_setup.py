"""Setup of a training run: from options to a Trainer with its data, network, run folder and starting weights."""
import dataclasses
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from add import __version__
from add.diffusion import DiffusionConfig, diffusion_from_config
from add.errors import UserError
from add.interfaces import Note, Processes, Row, Scorer
from add.networks import create_denoiser
from add.networks.precision import check_precision
from add.training.checkpoints import load_weights, read_newest, read_state, read_weights, step_of
from add.training.config_differences import described
from add.training.domain_starts import images_before, saved_start
from add.training.head_start_fit import fit_head_start, with_own_head_start
from add.training.learning_tasks import make_task
from add.training.resume_checks import check_held_out, check_images, check_run, check_weights, say_changes
from add.training.run_config import RunConfig
from add.training.run_folder import RunFolder
from add.training.step_randomness import step_seed
from add.training.time_budget import plan_by_time, with_saved_plan
from add.training.trainer import Trainer
from add.training.training_data import Source, needs_labels, open_source
from add.training.training_images import write_training_images


def prepare(config: RunConfig, model_config: Any, diffusion_config: DiffusionConfig, world: Processes,
            report: Callable[[Row], None] = lambda row: None, note: Note = lambda text: None,
            scorer_against: Callable[[torch.Tensor], Scorer] | None = None) -> Trainer:
    """Return the Trainer of a run, resumed from its newest good checkpoint where there is one.

    Nothing is written before all of it is known to be usable, and nothing at all where config.estimate is set.

    Args:
        config: TrainConfig or another of run_config.py, with data_dir and run_dir filled in.
        model_config: config of any kind of network. num_classes 0: as many as data_dir has.
        report, note: see Loop; called in the main process only.
        scorer_against: makes of real images [N, 3, H, W] in [-1, 1] the Trainer's scorer, in the main process; what
            config.preview_kid needs.

    Raises:
        UserError: unreadable images, another run in the folder, unusable checkpoint.
    """
    note = note if world.is_main else lambda text: None
    given = _with_precision(config, model_config)
    if getattr(model_config, "learn_sigma", diffusion_config.learn_sigma) != diffusion_config.learn_sigma:
        raise UserError(f"learn_sigma is {model_config.learn_sigma} for the network and {diffusion_config.learn_sigma} "
                        f"for the diffusion: expected the same; change one of them")
    diffusion_from_config(diffusion_config)
    check_precision(world.device, given.precision)
    with torch.device("meta"):  # refuses impossible options before the slow part
        create_denoiser(_with_classes(model_config, 1), diffusion_config)
    config = with_saved_plan(given, config.run_dir)
    if data_dir := getattr(config, "data_dir", ""):
        note(f"reading the images of {data_dir}")
    source = open_source(config, model_config, world)
    model_config = _with_classes(model_config, len(source.facts["classes"] or ()))
    task = make_task(model_config, diffusion_config, config)
    run = RunFolder(config.run_dir, task.columns, task.measured)
    run.check()
    check_run(run.path, model_config, diffusion_config, config)
    check_images(run.path, source.name, source.facts)
    if changes := say_changes(run.path, config, world.size):
        note(changes)
    world.agree("training data", f"{source.facts['images']} images, {source.facts['fingerprint']}")
    for sentence in source.sentences:
        note(sentence)
    torch.manual_seed(step_seed(config.seed, 0, 2**33))
    model = create_denoiser(model_config, diffusion_config).to(world.device)
    scorer = None
    if source.references is not None and world.is_main:
        assert scorer_against is not None, "preview_kid needs what scores samples"
        scorer = scorer_against(source.references)
    trainer = Trainer(task, model, source.stream, config, run, world, held_out=source.held_out,
                      examples=source.examples, report=report, note=note, scorer=scorer)
    note(f"network of {sum(p.numel() for p in trainer.parameters):,} parameters")
    if config.compile:
        note("it is compiled in the first step, which takes minutes")
    _start(trainer, source)
    world.agree("steps to start from", trainer.step)
    plan_by_time(trainer, given)
    if world.is_main and not config.estimate:
        kept = saved_start(run.path)
        before = images_before(run.path, kept.get("init_from", config.resume_checkpoint or config.init_from), note)
        if trainer.saved_step is None:
            run.set_aside_pieces(note)
        facts = run_facts(trainer.config, world, source)
        facts["train"] |= kept
        run.open(described(model_config, diffusion_config) | facts)
        write_training_images(run.path, source.files, note, before)
    world.barrier()  # it may take longer than the others wait for a step
    return trainer


def run_facts(config: RunConfig, world: Processes, source: Source) -> Row:
    """Return the entries of config.json beside those of the network: options, processes, data, versions."""
    return {"train": dataclasses.asdict(config), "processes": world.size, "data": source.facts,
            "versions": {"add": __version__, "python": platform.python_version(), "torch": torch.__version__}}


def _with_precision(config, model_config):
    half = getattr(model_config, "use_fp16", False) or getattr(model_config, "classifier_use_fp16", False)
    return dataclasses.replace(config, precision="fp16") if half and config.precision == "fp32" else config


def _with_classes(model_config, count):
    """Return the config with `count` classes where it is to have as many as there are."""
    if needs_labels(model_config) and model_config.num_classes == 0:
        return dataclasses.replace(model_config, num_classes=count)
    return model_config


def _start(trainer, source):
    """Resume from the newest of --resume_checkpoint and the run folder's own checkpoints, else take --init_from."""
    config, run, note = trainer.config, trainer.run_folder, trainer.note
    configs = trainer.task.model_config, trainer.task.diffusion_config
    found, origin = run.newest_good(note), run.path
    if config.resume_checkpoint:
        if found is None or found["step"] < step_of(config.resume_checkpoint):
            found, origin = _read_beside(config.resume_checkpoint), Path(config.resume_checkpoint)
            check_weights(origin, *configs)
            check_held_out(origin.parent, config)
            check_images(origin.parent, source.name, source.facts)
        elif found["step"] > step_of(config.resume_checkpoint):
            note(f"{run.path} has come further than {config.resume_checkpoint}; to start from that one again, give "
                 f"another --run_dir")
    if found is None and source.images is not None:
        fit_head_start(trainer.model, source.images, getattr(config, "augment", "none"))
    if found is not None:
        trainer.restore(found, origin)
        note(f"resuming from {origin} at step {trainer.step}")
    elif run.holds_checkpoints() and not run.is_broken_off():
        raise UserError(f"{run.path} holds checkpoint files, but none that is whole with its stateNNNNNN.pt, and a "
                        f"start at step 0 would overwrite them: name one with --resume_checkpoint to continue from "
                        f"it, or give another --run_dir, and --init_from for its weights alone")
    elif config.init_from:
        path, weights = read_newest(config.init_from)
        check_weights(path, *configs)
        load_weights(trainer.model, with_own_head_start(trainer.model, weights, path), path)
        for ema in trainer.emas.values():
            ema.copy_from(trainer.parameters, updates=0)
        note(f"starting at step 0 from the weights of {path}")


def _read_beside(path):
    """Return the checkpoint that a model file belongs to: a run's, or guided-diffusion's without a state file."""
    path, step = Path(path), step_of(path)
    folder = RunFolder(path.parent)
    if step in folder.steps():
        return folder.read(step)
    found: dict[str, Any] = {"model": read_weights(path), "ema": {}, "step": step}
    for file in sorted(path.parent.glob(f"ema_*_{step:06d}.pt")):
        found["ema"][file.name.split("_")[1]] = read_weights(file)
    optimizer = path.parent / f"opt{step:06d}.pt"
    if optimizer.exists():
        found["opt"] = read_state(optimizer)
    return found
