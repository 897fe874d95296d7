"""Train the diffusion model of one domain on a folder of images. The same command again resumes."""
import sys
from contextlib import closing
from pathlib import Path

from add.runtime import options

EMBEDDED_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "tissue_stroma.yaml"


def build_options():
    from add.diffusion import DiffusionConfig
    from add.networks import ModelConfig
    from add.training import TrainConfig

    return options.Options(__doc__, TrainConfig, ModelConfig, DiffusionConfig,
                           default_config=lambda values: None if values["data_dir"] else EMBEDDED_CONFIG)


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.data import embedded
    from add.diffusion import DiffusionConfig
    from add.networks import ModelConfig
    from add.runtime.display import TrainingDisplay
    from add.runtime.processes import process_group, stop_on_signal
    from add.training import TrainConfig, prepare

    data_dir = parsed.data_dir or str(embedded.train_dir(embedded.DOMAINS[0]))
    run_dir = Path(parsed.run_dir or Path("runs") / (Path(data_dir).resolve().name or "run"))
    config = parsed.take(TrainConfig, data_dir=data_dir, run_dir=str(run_dir))
    with (process_group(config.device, config.threads) as world,
          closing(TrainingDisplay(config.last_step, config.max_minutes, silent=not world.is_main)) as display):
        display.note(f"training on {world.device}, {world.size} process(es)\n"
                     f"config: {parsed.config_path or 'defaults'}\nimages: {data_dir}\n{written_paths(run_dir)}")
        trainer = prepare(config, parsed.take(ModelConfig), parsed.take(DiffusionConfig), world,
                          report=display.report, note=display.note)
        display.begin(trainer.step, run_dir / "tensorboard" if config.tensorboard else None)
        with stop_on_signal() as should_stop:
            trainer.run(should_stop)
        ending = "finished" if trainer.finished else "stopped, and the same command continues,"
        display.note(f"{ending} at step {trainer.step} after {trainer.seconds / 60:.1f} min of training\n"
                     f"{written_paths(run_dir, display.events is not None)}")


def written_paths(run_dir, tensorboard=False):
    """Return the lines that say where everything lies."""
    files = {"run folder": ".", "options": "config.json", "losses": "progress.csv", "samples": "samples",
             "checkpoints": "model*.pt, ema_*.pt", "to resume from": "opt*.pt, state*.pt"}
    if tensorboard:
        files["TensorBoard events"] = "tensorboard"
    return "\n".join(f"{what}: {run_dir.resolve() / file}" for what, file in files.items())


if __name__ == "__main__":
    sys.exit(options.run(main))
