"""Setup of a baseline's training run: from options to an AdversarialTrainer with images, networks and run folder."""
import dataclasses
import platform
from collections.abc import Callable, Iterable
from typing import Any

import torch

from add import __version__
from add.baselines.adversarial import AdversarialTrainer
from add.baselines.baseline_models import make_rival
from add.baselines.class_groups import GroupStream
from add.config import MOST_PIXELS, max_pixels_option, option, path_option, skip_bad_option
from add.data import BatchStream, ImageSet, holds_domains, to_model_input
from add.data.files import fingerprint
from add.errors import UserError
from add.interfaces import Note, Processes, Row
from add.training.checkpoints import read_facts
from add.training.resume_checks import check_images, say_changes
from add.training.run_config import LoopConfig
from add.training.run_folder import RunFolder
from add.training.step_randomness import step_seed
from add.training.time_budget import plan_by_time, with_saved_plan
from add.training.training_data import check_one_domain
from add.training.training_images import HELD_OUT, TRAINED_ON, write_training_images

KEPT = ("kind", "model", "image_size")  # of config.json, what a run can't change


@dataclasses.dataclass(frozen=True)
class BaselineConfig(LoopConfig):
    """Training a baseline."""

    method: str = option("progan", "progan, lofgan (from several images of one class to one) or mixdl",
                         ("progan", "lofgan", "mixdl"))
    image_size: int = option(64, "height and width of an image, in pixels: 32, 64, 128 or 256",
                             least=1, most=MOST_PIXELS)
    data_dir: str = path_option("", "folder of one domain's images; for lofgan of one subfolder per class", "images")
    domain: str = option("", "where data_dir holds one folder per domain: the name of one, or several with commas, or "
                             "all; each gets a generator of its own, in RUN_DIR/NAME. A dot: data_dir is one domain, "
                             "with subfolders of slides or patients")
    augment: str = option("none", "random mirror images, flips, or flips and quarter turns (dihedral)",
                          ("none", "mirror", "flips", "dihedral"))
    skip_bad: bool = skip_bad_option()
    max_pixels: int = max_pixels_option()
    lr: float = option(1e-3, "learning rate of Adam, found best in runs of minutes; the authors of lofgan take 1e-4 "
                             "for 100,000 steps, those of mixdl 2e-3 for 150,000", above=0, most=100)
    ema_rate: str = option("0.999", "EMA rate of the generator, or several with commas")


def prepare_rival(config: BaselineConfig, method_config: Any, world: Processes,
                  report: Callable[[Row], None] = lambda row: None, note: Note = lambda text: None
                  ) -> AdversarialTrainer:
    """Return the AdversarialTrainer of a run, resumed from its newest good checkpoint where there is one.

    Nothing is written before all of it is known to be usable, and nothing at all where config.estimate is set.

    Args:
        config: with data_dir and run_dir filled in. method_config: config of its method.
        report, note: see Loop; called in the main process only.

    Raises:
        UserError: unreadable images, another run in the folder, options that the method can't be built from.
    """
    note = note if world.is_main else lambda text: None
    given, config = config, with_saved_plan(config, config.run_dir)
    torch.manual_seed(step_seed(config.seed, 0, 2**33))
    note(f"reading the images of {config.data_dir}")
    images = _read_images(config)
    rival = make_rival(config.method, method_config, config.image_size, len(images.class_names or ()))
    for network in (rival.generator, rival.discriminator):
        network.to(world.device)
    stream, examples = _open_stream(rival, images, config, world)
    run = RunFolder(config.run_dir, ("discriminator_loss", *rival.columns))
    run.check()
    facts: Row = {
        "kind": config.method, "model": dataclasses.asdict(method_config), "image_size": config.image_size,
        "train": dataclasses.asdict(config), "processes": world.size,
        "data": {"images": len(images), "bad": len(images.bad), "classes": images.class_names,
                 "fingerprint": fingerprint(config.data_dir, images.paths)},
        "versions": {"add": __version__, "python": platform.python_version(), "torch": torch.__version__}}
    _check_run(run, facts)
    check_images(run.path, config.data_dir, facts["data"])
    if changes := say_changes(run.path, config, world.size):
        note(changes)
    world.agree("training images", f"{len(images)} images, {facts['data']['fingerprint']}")
    for sentence in images.sentences():
        note(sentence)
    note(f"{config.method}: {len(images)} training images from {config.data_dir}")
    trainer = AdversarialTrainer(rival, stream, config, run, world, examples, report, note)
    found = run.newest_good(note)
    if found is not None:
        trainer.restore(found, run.path)
        note(f"resuming from {run.path} at step {trainer.step}")
    elif run.holds_checkpoints() and not run.is_broken_off():
        raise UserError(f"{run.path} holds checkpoint files, but none that is whole, and a start at step 0 would "
                        f"overwrite them: give another --run_dir")
    world.agree("steps to start from", trainer.step)
    plan_by_time(trainer, given)
    if world.is_main and not config.estimate:
        if found is None:
            run.set_aside_pieces(note)
        run.open(facts | {"train": dataclasses.asdict(trainer.config)})
        write_training_images(run.path, {TRAINED_ON: images.files, HELD_OUT: []}, note)
    world.barrier()  # it may take longer than the others wait for a step
    return trainer


def references_of(images: ImageSet, group: int, count: int, seed: int, numbers: Iterable[int] | None = None
                  ) -> torch.Tensor:
    """Return float32 [n, group, 3, S, S] in [-1, 1]: for each number, `group` images of one class, classes in turn.

    Args:
        images: with labels. count: n, the numbers 0 to n - 1, unless `numbers` names others.
    """
    assert images.labels is not None, "references are images of one class"
    labels = sorted(set(images.labels.tolist()))
    rows = []
    for number in range(count) if numbers is None else numbers:
        random = torch.Generator().manual_seed(step_seed(seed, number, 2**36))
        members = (images.labels == labels[number % len(labels)]).nonzero()[0]
        order = torch.randperm(len(members), generator=random)[:group].repeat(group)[:group]
        rows.append(to_model_input(images.batch(members[order.numpy()], crop="center")))
    return torch.stack(rows)


def _read_images(config):
    if config.method != "lofgan":
        check_one_domain(config.data_dir, config.domain)
        return ImageSet.from_folder(config.data_dir, config.image_size, skip_bad=config.skip_bad)
    if not holds_domains(config.data_dir):
        raise UserError(f"{config.data_dir} has no subfolders: expected one folder of images per class, which lofgan "
                        f"learns from together; sort the images into folders")
    return ImageSet.from_domains(config.data_dir, config.image_size, skip_bad=config.skip_bad)


def _open_stream(rival, images, config, world):
    """Return (stream, examples for previews or None)."""
    if not rival.needs_classes:
        return BatchStream(images, config.batch_size, config.seed, world.rank, world.size, config.augment), None
    stream = GroupStream(images, config.batch_size, rival.group, config.seed, world.rank, world.size, config.augment)
    return stream, references_of(images, rival.group, config.num_preview, seed=1) if config.num_preview else None


def _check_run(run, facts):
    """Raise UserError where the folder holds a run of another method or network."""
    saved = read_facts(run.path)
    if saved is None:
        return
    old, new = ({**{name: part.get(name) for name in KEPT if name != "model"}, **(part.get("model") or {})}
                for part in (saved, facts))
    changes = [f"  {name}: {old.get(name)!r} there, {new.get(name)!r} given" for name in sorted(old | new)
               if old.get(name) != new.get(name)]
    if changes:
        raise UserError("\n".join([f"run folder {run.path} holds a run with other options:", *changes,
                                   "give the same options to continue it, or another --run_dir"]))
