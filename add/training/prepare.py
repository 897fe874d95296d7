"""From options to a Trainer that is ready to run: images, network, run folder, and what to start from."""
import dataclasses
import platform
from pathlib import Path

import torch

from add.data import BatchStream, ImageSet, holds_domains, to_model_input
from add.data.files import fingerprint
from add.diffusion import diffusion_from_config
from add.errors import UserError
from add.networks import create_model
from add.training import snapshot
from add.training.checkpoints import find_checkpoint, load_weights, read_state, step_of
from add.training.continuation import check_held_out, check_images, check_weights
from add.training.draws import step_seed
from add.training.held_out import MAX_IMAGES
from add.training.loop import Trainer
from add.training.run_folder import RunFolder


def prepare(config, model_config, diffusion_config, world, report=lambda row: None, note=lambda text: None):
    """Return the Trainer of a run, resumed from its newest good checkpoint where there is one.

    Nothing is written before all of it is known to be usable.

    Args:
        config: TrainConfig with data_dir and run_dir filled in.
        world: rank, size, is_main and device of this process.
        report, note: see Trainer; called in the main process only.

    Raises:
        UserError: unreadable images, another run in the folder, unusable checkpoint.
    """
    note = note if world.is_main else lambda text: None
    config = _with_precision(config, model_config)
    if model_config.learn_sigma != diffusion_config.learn_sigma:
        raise UserError(f"learn_sigma is {model_config.learn_sigma} for the network and {diffusion_config.learn_sigma} "
                        f"for the diffusion: expected the same; change one of them")
    diffusion_from_config(diffusion_config)
    with torch.device("meta"):  # refuses impossible options before the slow part
        create_model(**dataclasses.asdict(model_config))
    run = RunFolder(config.run_dir)
    run.check(model_config, diffusion_config, config)
    images = _read_images(config, model_config)
    data = _data_facts(config, images)
    check_images(run.path, config.data_dir, data)
    world.agree("training images", f"{data['images']} images, {data['fingerprint']}")
    train, held_out = images.split(config.val_fraction, config.seed)
    _describe_data(config, images, train, held_out, note)
    torch.manual_seed(step_seed(config.seed, 0, 2**33))
    model = create_model(**dataclasses.asdict(model_config)).to(world.device)
    stream = BatchStream(train, config.batch_size, config.seed, world.rank, world.size, config.augment)
    trainer = Trainer(model, model_config, diffusion_config, stream, config, run, world,
                      held_out=_whole(held_out), report=report, note=note)
    _start(trainer, data)
    world.agree("steps to start from", trainer.step)
    if world.is_main:
        run.open(model_config, diffusion_config, {
            "train": dataclasses.asdict(config), "processes": world.size, "data": data | {"held_out": len(held_out)},
            "versions": {"python": platform.python_version(), "torch": torch.__version__}})
    return trainer


def _with_precision(config, model_config):
    if model_config.use_fp16 and config.precision == "fp32":
        return dataclasses.replace(config, precision="fp16")
    return config


def _read_images(config, model_config):
    """Return the ImageSet of data_dir; for a class-conditional model, its subfolders may be the classes."""
    options = {"crop": config.crop, "skip_bad": config.skip_bad}
    if not model_config.class_cond:
        return ImageSet.from_folder(config.data_dir, model_config.image_size, **options)
    if holds_domains(config.data_dir):
        images = ImageSet.from_domains(config.data_dir, model_config.image_size, **options)
    else:
        images = ImageSet.from_folder(config.data_dir, model_config.image_size, class_cond=True, **options)
    if len(images.class_names) > model_config.num_classes:
        raise UserError(f"{config.data_dir} has {len(images.class_names)} classes, expected at most --num_classes "
                        f"{model_config.num_classes}: raise it")
    return images


def _describe_data(config, images, train, held_out, note):
    if images.bad:
        note(images.say_bad())
    note(f"{len(train)} training images, {len(held_out)} held out, from {config.data_dir}")
    if images.class_names:
        shown = [f"{number} {name}" for number, name in enumerate(images.class_names[:10])]
        more = ", ..." if len(images.class_names) > 10 else ""
        note(f"{len(images.class_names)} classes: {', '.join(shown)}{more}")
    if config.batch_size > len(train):
        note(f"a batch of {config.batch_size} is larger than the set of {len(train)}: images repeat within it")


def _data_facts(config, images):
    return {"images": len(images), "bad": len(images.bad), "classes": images.class_names,
            "fingerprint": fingerprint(config.data_dir, images.paths)}


def _whole(held_out):
    """Return (x_start float32 [N, 3, H, W], labels int64 [N] or None) of the held-out images, or None of none."""
    if len(held_out) == 0:
        return None
    chosen = range(min(len(held_out), MAX_IMAGES))
    labels = None if held_out.labels is None else torch.from_numpy(held_out.labels[:len(chosen)])
    return to_model_input(held_out.batch(chosen, crop="center")), labels


def _start(trainer, data):
    """Resume from the newest of --resume_checkpoint and the run folder's own checkpoints, else take --init_from."""
    config, run, note = trainer.config, trainer.run_folder, trainer.note
    configs = trainer.model_config, trainer.diffusion_config
    found, origin = run.newest_good(note), run.path
    if config.resume_checkpoint:
        if found is None or found["step"] < step_of(config.resume_checkpoint):
            found, origin = _read_beside(config.resume_checkpoint), Path(config.resume_checkpoint)
            check_weights(origin, *configs)
            check_held_out(origin.parent, config)
            check_images(origin.parent, config.data_dir, data)
        elif found["step"] > step_of(config.resume_checkpoint):
            note(f"{run.path} has come further than {config.resume_checkpoint}; to start from that one again, give "
                 f"another --run_dir")
    if found is not None:
        snapshot.restore(trainer, found, origin)
        note(f"resuming from {origin} at step {trainer.step}")
    elif run.holds_checkpoints():
        raise UserError(f"{run.path} holds checkpoint files, but none that is whole with its stateNNNNNN.pt, and a "
                        f"start at step 0 would overwrite them: name one with --resume_checkpoint to continue from "
                        f"it, or give another --run_dir, and --init_from for its weights alone")
    elif config.init_from:
        path = find_checkpoint(config.init_from)
        check_weights(path, *configs)
        load_weights(trainer.model, read_state(path), path)
        for ema in trainer.emas.values():
            ema.copy_from(trainer.parameters, updates=0)
        note(f"starting at step 0 from the weights of {path}")


def _read_beside(path):
    """Return the checkpoint that a model file belongs to: a run's, or guided-diffusion's without a state file."""
    path, step = Path(path), step_of(path)
    folder = RunFolder(path.parent)
    if step in folder.steps():
        return folder.read(step)
    found = {"model": read_state(path), "ema": {}, "step": step}
    for file in sorted(path.parent.glob(f"ema_*_{step:06d}.pt")):
        found["ema"][file.name.split("_")[1]] = read_state(file)
    optimizer = path.parent / f"opt{step:06d}.pt"
    if optimizer.exists():
        found["opt"] = read_state(optimizer)
    return found
