"""Where a training is followed beside progress.csv: TensorBoard, Weights & Biases, MLflow.

Nothing leaves the machine by itself: Weights & Biases runs offline unless WANDB_MODE says otherwise (`wandb sync` sends
it later), and MLflow writes to the run folder unless MLFLOW_TRACKING_URI names a server.
"""
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from add.interfaces import Note, PathLike, Row

PICTURES = "samples/*.png"  # of a run folder


class RunLog(Protocol):
    """Something that keeps a training's rows and pictures. Any method may raise whatever its library raises."""

    def row(self, step: int, values: dict[str, float]) -> None:
        """Keep the numbers of a row of progress.csv."""

    def picture(self, step: int, path: Path) -> None:
        """Keep a picture of samples."""

    def close(self) -> None:
        """End it; the same run may begin it again."""


class TensorBoardLog:
    """TensorBoard events in RUN/tensorboard; those of steps that are run again are dropped."""

    name = "TensorBoard"

    def __init__(self, run_dir: Path, config: Row, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.place = run_dir / "tensorboard"
        self.writer = SummaryWriter(self.place, purge_step=step)
        self.writer.add_text("config", "```\n" + json.dumps(config, indent=1, default=str) + "\n```", step)

    def row(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def picture(self, step: int, path: Path) -> None:
        self.writer.add_image("samples", _pixels(path), step, dataformats="HWC")

    def close(self) -> None:
        self.writer.close()


class WandbLog:
    """Weights & Biases, in RUN/wandb; the same run folder goes on with the same run."""

    name = "Weights & Biases"

    def __init__(self, run_dir: Path, config: Row, step: int) -> None:
        import wandb

        self.place = run_dir / "wandb"
        self.images = wandb.Image
        self.run = wandb.init(project=os.environ.get("WANDB_PROJECT", "add"), name=run_dir.name, id=_identity(run_dir),
                              resume="allow", dir=str(run_dir), config=config,
                              mode=os.environ.get("WANDB_MODE", "offline"), settings={"console": "off", "silent": True})

    def row(self, step: int, values: dict[str, float]) -> None:
        self.run.log(values, step=step)

    def picture(self, step: int, path: Path) -> None:
        self.run.log({"samples": self.images(str(path))}, step=step)

    def close(self) -> None:
        self.run.finish()


class MlflowLog:
    """MLflow, in RUN/mlflow.db and RUN/mlflow; the same run folder goes on with the same run."""

    name = "MLflow"

    def __init__(self, run_dir: Path, config: Row, step: int) -> None:
        import mlflow

        own = f"sqlite:///{run_dir.resolve() / 'mlflow.db'}"
        self.place: PathLike = os.environ.get("MLFLOW_TRACKING_URI", own)
        self.client = mlflow.MlflowClient(tracking_uri=str(self.place))
        found = self.client.get_experiment_by_name("add")
        files = (run_dir.resolve() / "mlflow").as_uri() if self.place == own else None
        experiment = found.experiment_id if found else self.client.create_experiment("add", artifact_location=files)
        before = self.client.search_runs([experiment], filter_string=f"tags.run_folder = '{_identity(run_dir)}'")
        if before:
            self.run_id = before[0].info.run_id
            self.client.update_run(self.run_id, status="RUNNING")
        else:
            tags = {"run_folder": _identity(run_dir)}
            self.run_id = self.client.create_run(experiment, tags=tags, run_name=run_dir.name).info.run_id
            for name, value in config.items():
                self.client.log_param(self.run_id, name, value)

    def row(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run_id, name, value, step=step)

    def picture(self, step: int, path: Path) -> None:
        self.client.log_artifact(self.run_id, str(path), "samples")

    def close(self) -> None:
        self.client.set_terminated(self.run_id)


LOGS: dict[str, Any] = {"tensorboard": TensorBoardLog, "wandb": WandbLog, "mlflow": MlflowLog}


class RunLogs:
    """The logs of one training as one; one that fails ends, is told of, and the training goes on.

    Args:
        names: of LOGS; those of packages that are not installed are left out and told of.
        run_dir: the run folder. config: its options, JSON values. step: where it begins.
        note: called with sentences for the user.
    """

    def __init__(self, names: Sequence[str], run_dir: PathLike, config: Row, step: int, note: Note) -> None:
        self.note, self.run_dir = note, Path(run_dir)
        self.logs: list[Any] = []
        self.seen = set(self.run_dir.glob(PICTURES))
        for name in names:
            try:
                self.logs.append(LOGS[name](self.run_dir, config, step))
                note(f"{self.logs[-1].name}: {self.logs[-1].place}")
            except ImportError:
                note(f"{LOGS[name].name}: none, it is not installed")
            except Exception as error:  # whatever its library raises, the training goes on
                note(f"{LOGS[name].name}: none, it can't begin ({_reason(error)})")

    def row(self, row: Row) -> None:
        """Keep a row of progress.csv, and the pictures that came since the last one."""
        step = row["step"]
        values = {name: value for name, value in row.items() if name != "step" and isinstance(value, (int, float))}
        new = sorted(set(self.run_dir.glob(PICTURES)) - self.seen)
        self.seen.update(new)
        self._each(lambda log: log.row(step, values))
        for path in new:
            self._each(lambda log, path=path: log.picture(step, path))

    def close(self) -> None:
        """End all of them, with the pictures that are left; again, it does nothing."""
        for path in sorted(set(self.run_dir.glob(PICTURES)) - self.seen):
            self._each(lambda log, path=path: log.picture(_step_of(path), path))
        self._each(lambda log: log.close())
        self.logs = []

    def _each(self, act):
        for log in list(self.logs):
            try:
                act(log)
            except Exception as error:  # whatever its library raises: it is beside the point
                self.logs.remove(log)
                self.note(f"{log.name} ends here: {_reason(error)}")


def _reason(error):
    return getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or type(error).__name__


def _identity(run_dir):
    """Return a name of a run folder that is the same each time."""
    return hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:16]


def _step_of(path):
    digits = "".join(character for character in path.stem if character.isdigit())
    return int(digits or 0)


def _pixels(path):
    """Return a picture, uint8 [H, W, 3]."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as picture:
        return np.array(picture.convert("RGB"))
