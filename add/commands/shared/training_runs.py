"""Training runs of all training commands, from options to finished run folders."""
import dataclasses
import logging
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from glob import has_magic
from pathlib import Path
from typing import Any, TypeVar

from add.commands.shared.after_training import commands_after
from add.commands.shared.neighbour_starts import say_turn, without_missing_start
from add.commands.shared.sample_quality import kid_against
from add.commands.shared.training_estimate import describe_sum, measure_costs
from add.config import split_names
from add.data import list_domains
from add.data.files import join
from add.data.folder_lock import locked
from add.data.folders import pack_images
from add.data.image_file import read_header
from add.data.read_images import read_each
from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.results.report_page import page_line
from add.runtime.child_process import SIGNALLED
from add.runtime.next_steps import next_steps
from add.runtime.options import Parsed
from add.runtime.processes import process_group, stop_on_signal
from add.runtime.progress import TrainingDisplay
from add.runtime.run_logs import RunLogs
from add.runtime.typed_command import command_facts
from add.training import Trainer, find_checkpoint, prepare
from add.training.loop import Loop
from add.training.run_config import BaseTrainConfig, LoopConfig, RunConfig
from add.training.time_budget import budget_words

RIVALS_OF_BUDGET = {"max_steps", "lr_anneal_steps", "lr_anneal_start", "iterations", "anneal_lr"}

MANY_PARAMETERS = 20_000_000  # of a network that a CPU does not train in a day
ONE_DOMAIN = "."  # as --domain: the folder is one domain, its subfolders are slides or patients
AnyLoop = TypeVar("AnyLoop", bound=Loop)


def train(parsed: Parsed, runs: Sequence[RunConfig], model_config: Any) -> list[Trainer]:
    """Train one network for each config in `runs`, one after the other, and return the Trainers of those begun.

    Args:
        parsed: options, from which the diffusion is taken.
        runs: with data_dir and run_dir filled in.
        model_config: config of any kind of network.
    """
    def prepared(config, world, **said):
        return prepare(config, model_config, parsed.take(DiffusionConfig), world, **said,
                       scorer_against=kid_against(world.device) if getattr(config, "preview_kid", 0) else None)

    return run_all(runs, prepared, parsed)


def run_all(runs: Sequence[LoopConfig], prepared: Callable[..., AnyLoop], parsed: Parsed) -> list[AnyLoop]:
    """Run one Loop for each config in `runs`, one after the other, and return the Loops of those begun.

    With --estimate, what each would take is said, and all of them together; nothing is written, and none is begun.

    Args:
        runs: with run_dir filled in.
        prepared: prepared(config, world, report=..., note=...) -> Loop.
        parsed: the command's options.

    Raises:
        UserError: --budget beside options that say otherwise how long to train; or another training in a run folder.
        SystemExit: a signal stopped the training, which saved what it had: its status says so to a shell.
    """
    if parsed.budget and (others := sorted(parsed.typed & RIVALS_OF_BUDGET)):
        raise UserError(f"{budget_words(parsed.budget)} was given with --{' and --'.join(others)}: expected one of "
                        f"them, for a time plans the steps and the fall of the learning rate; leave out the other")
    trainers: list[AnyLoop] = []
    costs = []
    stop_signal = 0
    with process_group(runs[0].device, runs[0].threads, runs[0].timeout) as world:
        _check_all_images(runs, world)
        for config in map(without_missing_start, runs):
            with (closing(TrainingDisplay(max_minutes=config.max_minutes, silent=not world.is_main)) as display,
                  _alone_in(config, world, display.note)):
                if turn := say_turn(config, runs):
                    display.note(turn)
                display.note(f"training on {world.place}\n"
                             f"config: {parsed.config_path or 'defaults'}\n"
                             f"run folder: {Path(config.run_dir).resolve()}")
                trainer = prepared(config, world, report=display.report, note=display.note)
                if world.device.type == "cpu" and _parameters(trainer) > MANY_PARAMETERS:
                    display.note(f"{_parameters(trainer):,} parameters take days on a CPU, as --estimate tells; for a "
                                 f"smaller network give --config small_data.yaml (64 pixels) or phantom.yaml (32)")
                if config.estimate:
                    costs.append(measure_costs(trainer))
                    display.note(costs[-1].text)
                    continue
                trainers.append(trainer)
                stop_signal = _run(trainer, world, display)
            if stop_signal:
                break
        if len(costs) > 1 and world.is_main:
            print(describe_sum(costs), flush=True)
        if trainers and world.is_main and not stop_signal:
            print(next_steps(*commands_after(runs[:len(trainers)])), flush=True)
    if stop_signal:
        raise SystemExit(SIGNALLED + stop_signal)
    return trainers


def _check_all_images(runs, world):
    """Refuse unreadable images of any of several runs before the first of them begins."""
    if world.is_main:
        for config in runs if len(runs) > 1 else ():
            if not isinstance(config, BaseTrainConfig) or config.base_data_dir:  # else it has the domains' images
                read_each(pack_images(config.data_dir), read_header, lambda size: None, config.skip_bad)
    world.barrier()


def _parameters(trainer):
    return sum(parameter.numel() for parameter in trainer.parameters) if isinstance(trainer, Trainer) else 0


def _alone_in(config, world, note):
    """Return the context that keeps other trainings out of the run folder."""
    return locked(config.run_dir, note) if world.is_main and not config.estimate else nullcontext()


def _run(trainer, world, display):
    """Run a Loop and say how it ended; return the number of the signal that stopped it, or 0."""
    config, run_dir = trainer.config, trainer.run_folder.path
    if world.is_main and (typed := command_facts()):
        trainer.run_folder.note(typed)
    display.total = config.last_step  # a plan by time may correct it later
    display.begin(trainer.step, _logs(trainer, world, display.note), trainer.seconds_ahead())
    with stop_on_signal(silent=not world.is_main) as should_stop:
        trainer.run(should_stop, lambda: display.stepped(trainer.config.last_step))
        signals = world.gather(should_stop.number)
    display.close()
    page = f"\n{page_line(run_dir)}" if world.is_main else ""
    ending = "finished" if trainer.finished else "stopped, and the same command continues,"
    display.note(f"{ending} at step {trainer.step} after {trainer.seconds / 60:.1f} min of training\n"
                 f"{written_paths(run_dir)}{page}")
    return max(signals)


def _logs(trainer, world, note):
    """Return what the rows of a run go to beside progress.csv, on the main process."""
    config = trainer.config
    if not world.is_main or not config.logs:
        return None
    return RunLogs(config.logs, trainer.run_folder.path, dataclasses.asdict(config), trainer.step, note)


def folder_runs(config: Any, run_dir: str = "") -> list[Any]:
    """Return the configs of the runs that a command begins: one for --data_dir, or one for each --domain in it.

    A domain is all images below its folder, those of its slides or patients included.

    Args:
        config: a LoopConfig with data_dir and domain, such as TrainConfig.
        run_dir: used where the config names none; left out: runs/NAME_OF_DATA_DIR.

    Raises:
        UserError: no data_dir, or no domain of that name.
    """
    if not config.data_dir:
        raise UserError("no --data_dir was given: expected a folder of images")
    run_dir = config.run_dir or run_dir or str(Path("runs") / (_plain_name(config.data_dir) or "run"))
    config = dataclasses.replace(config, run_dir=run_dir)
    if config.domain in ("", ONE_DOMAIN):
        return [config]
    known = list(list_domains(config.data_dir))
    order = getattr(config, "domains", "")  # a baseline has none
    ordered = split_names(order) if order else known
    names = ordered if config.domain == "all" else [name.strip() for name in config.domain.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"{config.data_dir} has no domain {', '.join(unknown)}: expected some of {', '.join(known)}, "
                        f"or all; change --domain, or --domains")
    if left_out := [name for name in known if name not in names]:
        logging.getLogger(__name__).warning(f"{config.data_dir} holds {', '.join(left_out)} as well, not trained on")
    return [dataclasses.replace(config, data_dir=join(config.data_dir, name), run_dir=str(Path(run_dir) / name))
            for name in names]


def _plain_name(data_dir):
    """Return the last part of a folder's path; of a manifest or a tar without its ending, of DIR/*.tar that of DIR."""
    path = Path(data_dir).resolve()
    name = path.parent.name if has_magic(path.name) else path.name
    return name.removesuffix(".csv").removesuffix(".tar")


def counting_classes(parsed: Parsed, config_class: type) -> Any:
    """Return the network config of the options; without --num_classes it has as many classes as there are folders."""
    labelled = parsed.values.get("class_cond", True)  # a classifier always is
    return parsed.take(config_class, **{"num_classes": 0} if labelled and "num_classes" not in parsed.given else {})


def written_paths(run_dir: Path) -> str:
    """Return the lines that say where the files of a run lie, of those that are there."""
    def newest(pattern):
        return max(run_dir.glob(pattern), key=lambda path: (len(path.name), path.name), default=run_dir / pattern)

    files = {"run folder": run_dir, "weights to use": find_checkpoint(run_dir), "options": run_dir / "config.json",
             "losses": run_dir / "progress.csv", "curves": run_dir / "curves.png",
             "newest samples": newest("samples/*.png"), "to resume from": newest("state*.pt"),
             "TensorBoard events": run_dir / "tensorboard"}
    return "\n".join(f"{what}: {path.resolve()}" for what, path in files.items() if path.exists())
