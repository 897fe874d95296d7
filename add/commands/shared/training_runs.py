"""Training runs of all training commands, from options to finished run folders."""
import dataclasses
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from add.data import list_domains
from add.data.files import join
from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.runtime.options import Parsed
from add.runtime.processes import process_group, stop_on_signal
from add.runtime.progress import TrainingDisplay
from add.training import Trainer, prepare
from add.training.loop import Loop
from add.training.run_config import LoopConfig, RunConfig

AnyLoop = TypeVar("AnyLoop", bound=Loop)


def train(parsed: Parsed, runs: Sequence[RunConfig], model_config: Any) -> list[Trainer]:
    """Train one network for each config in `runs`, one after the other, and return the Trainers of those begun.

    Args:
        parsed: options, from which the diffusion is taken.
        runs: with data_dir and run_dir filled in.
        model_config: config of any kind of network.
    """
    def prepared(config, world, **said):
        return prepare(config, model_config, parsed.take(DiffusionConfig), world, **said)

    return run_all(runs, prepared, parsed.config_path)


def run_all(runs: Sequence[LoopConfig], prepared: Callable[..., AnyLoop], config_path: str | Path | None
            ) -> list[AnyLoop]:
    """Run one Loop for each config in `runs`, one after the other, and return the Loops of those begun.

    Args:
        runs: with run_dir filled in.
        prepared: prepared(config, world, report=..., note=...) -> Loop.
        config_path: of the YAML file that was used, or None.
    """
    trainers: list[AnyLoop] = []
    with process_group(runs[0].device, runs[0].threads) as world, stop_on_signal() as should_stop:
        for config in runs:
            with closing(TrainingDisplay(config.last_step, config.max_minutes, silent=not world.is_main)) as display:
                run_dir = Path(config.run_dir)
                display.note(f"training on {world.place}\n"
                             f"config: {config_path or 'defaults'}\n{written_paths(run_dir)}")
                trainer = prepared(config, world, report=display.report, note=display.note)
                trainers.append(trainer)
                display.begin(trainer.step, run_dir / "tensorboard" if config.tensorboard else None)
                trainer.run(should_stop)
                ending = "finished" if trainer.finished else "stopped, and the same command continues,"
                display.note(f"{ending} at step {trainer.step} after {trainer.seconds / 60:.1f} min of training\n"
                             f"{written_paths(run_dir, display.events is not None)}")
            if world.any(should_stop()):
                break
    return trainers


def folder_runs(config: Any, run_dir: str = "") -> list[Any]:
    """Return the configs of the runs that a command begins: one for --data_dir, or one for each --domain in it.

    Args:
        config: a LoopConfig with data_dir and domain, such as TrainConfig.
        run_dir: used where the config names none; left out: runs/NAME_OF_DATA_DIR.

    Raises:
        UserError: no data_dir, or no domain of that name.
    """
    if not config.data_dir:
        raise UserError("no --data_dir was given: expected a folder of images")
    run_dir = config.run_dir or run_dir or str(Path("runs") / (Path(config.data_dir).resolve().name or "run"))
    config = dataclasses.replace(config, run_dir=run_dir)
    if not config.domain:
        return [config]
    known = list(list_domains(config.data_dir))
    names = known if config.domain == "all" else [name.strip() for name in config.domain.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"{config.data_dir} has no domain {', '.join(unknown)}: expected some of {', '.join(known)}, "
                        f"or all; change --domain")
    return [dataclasses.replace(config, data_dir=join(config.data_dir, name), run_dir=str(Path(run_dir) / name))
            for name in names]


def counting_classes(parsed: Parsed, config_class: type) -> Any:
    """Return the network config of the options; without --num_classes it has as many classes as there are folders."""
    labelled = parsed.values.get("class_cond", True)  # a classifier always is
    return parsed.take(config_class, **{"num_classes": 0} if labelled and "num_classes" not in parsed.given else {})


def written_paths(run_dir: Path, tensorboard: bool = False) -> str:
    """Return the lines that say where the files of a run lie."""
    files = {"run folder": ".", "options": "config.json", "losses": "progress.csv", "samples": "samples",
             "checkpoints": "model*.pt, ema_*.pt", "to resume from": "opt*.pt, state*.pt"}
    if tensorboard:
        files["TensorBoard events"] = "tensorboard"
    return "\n".join(f"{what}: {run_dir.resolve() / file}" for what, file in files.items())
