"""Logs of a training: what reaches each library, and that none of them can end the training."""
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from add.data.files import save_png
from add.runtime import run_logs
from add.runtime.run_logs import LOGS, RunLogs
from add.training import run_config
from tests.commands.commands import run
from tests.tiny import make_images

ROW = {"step": 500, "loss": 0.25, "lr": 1e-4, "note": "text is no number"}
CONFIG = {"lr": 1e-3, "run_dir": "runs/mild"}


@pytest.fixture
def notes():
    return []


def write_samples(folder, step):
    save_png(folder / "samples" / f"samples{step:06d}.png", np.full((8, 8, 3), step % 256, np.uint8))


def test_the_names_of_the_option_are_those_that_there_are():
    assert tuple(LOGS) == run_config.LOGS


def test_tensorboard_gets_numbers_samples_and_options(tmp_path, notes):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logs = RunLogs(["tensorboard"], tmp_path, CONFIG, 0, notes.append)
    write_samples(tmp_path, 500)
    logs.row(ROW)
    logs.row({**ROW, "step": 1000, "loss": 0.125})
    logs.close()
    found = events.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(500, 0.25), (1000, 0.125)]
    assert [event.step for event in found.Images("samples")] == [500]
    assert found.Tags()["scalars"] == ["loss", "lr"] and found.Tags()["tensors"] == ["config/text_summary"]
    assert notes == [f"TensorBoard: {tmp_path / 'tensorboard'}"]


class Recorder:
    """Stands for a library: keeps the calls of any method of it and of what they return."""

    def __init__(self, calls, **values):
        self.calls = calls
        self.__dict__.update(values)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **options: self.calls.append((name, args, options)) or self


def test_wandb_stays_offline_and_the_same_folder_goes_on_with_its_run(tmp_path, notes, monkeypatch):
    calls = []
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setitem(sys.modules, "wandb", Recorder(calls, Image=lambda path: ("picture", path)))
    for _ in range(2):
        logs = RunLogs(["wandb"], tmp_path, CONFIG, 0, notes.append)
        write_samples(tmp_path, 500)
        logs.row(ROW)
        logs.close()
        write_samples(tmp_path, 1000)
        logs.close()  # once more, as a command's end does
        (tmp_path / "samples" / "samples001000.png").unlink()
    begun = [options for name, _, options in calls if name == "init"]
    assert {options["mode"] for options in begun} == {"offline"} and begun[0]["config"] == CONFIG
    assert [name for name, *_ in calls].count("finish") == 2
    assert begun[0]["id"] == begun[1]["id"] and {options["resume"] for options in begun} == {"allow"}
    logged = [(args[0], options["step"]) for name, args, options in calls if name == "log"]
    picture = ("picture", str(tmp_path / "samples" / "samples000500.png"))
    assert logged == [({"loss": 0.25, "lr": 1e-4}, 500), ({"samples": picture}, 500), ({"loss": 0.25, "lr": 1e-4}, 500)]
    monkeypatch.setenv("WANDB_MODE", "online")
    RunLogs(["wandb"], tmp_path, CONFIG, 0, notes.append)
    assert [options["mode"] for name, _, options in calls if name == "init"][-1] == "online"


class Mlflow:
    """Stands for MLflow's client, with the runs that it knows."""

    def __init__(self, calls, runs):
        self.calls, self.runs = calls, runs

    def __call__(self, tracking_uri):
        self.uri = tracking_uri
        return self

    def get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id="7")

    def search_runs(self, experiments, filter_string):
        return [self.found(run_id) for tag, run_id in self.runs if tag in filter_string]

    def found(self, run_id):
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def create_run(self, experiment, tags, run_name):
        self.runs.append((tags["run_folder"], f"run{len(self.runs)}"))
        return self.found(self.runs[-1][1])

    def __getattr__(self, name):
        return lambda *args, **options: self.calls.append((name, args, options))


def test_mlflow_gets_all_of_it_and_goes_on_with_its_run(tmp_path, notes, monkeypatch):
    calls, runs = [], []
    client = Mlflow(calls, runs)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=client))
    for _ in range(2):
        logs = RunLogs(["mlflow"], tmp_path, CONFIG, 0, notes.append)
        logs.row(ROW)
        write_samples(tmp_path, 1000)
        logs.close()
    assert client.uri == f"sqlite:///{tmp_path / 'mlflow.db'}" and len(runs) == 1
    given = {kind: [args[1:] for name, args, _ in calls if name == kind] for kind in ("log_param", "log_metric")}
    assert given["log_param"] == [("lr", 1e-3), ("run_dir", "runs/mild")]
    assert given["log_metric"] == [("loss", 0.25), ("lr", 1e-4)] * 2
    assert [args[1:] for name, args, _ in calls if name == "log_artifact"] == [
        (str(tmp_path / "samples" / "samples001000.png"), "samples")]
    assert [name for name, *_ in calls].count("set_terminated") == 2


def test_what_is_missing_or_fails_is_told_of_and_training_goes_on(tmp_path, notes, monkeypatch):
    class Full:
        name, place = "Full", "here"

        def __init__(self, *args):
            self.rows = 0

        def row(self, step, values):
            raise OSError(28, "No space left on device")

        def close(self):
            raise AssertionError("it was given up")

    class Broken(Full):
        name = "Broken"

        def __init__(self, *args):
            raise RuntimeError("no server\nthere")

    class Missing(Full):
        name = "Missing"

        def __init__(self, *args):
            import a_package_that_nobody_has  # noqa: F401

    monkeypatch.setattr(run_logs, "LOGS", {"full": Full, "broken": Broken, "missing": Missing})
    logs = RunLogs(["full", "broken", "missing"], tmp_path, CONFIG, 0, notes.append)
    logs.row(ROW)
    logs.row(ROW)
    logs.close()
    assert notes == ["Full: here", "Broken: none, it can't begin (no server there)",
                     "Missing: none, it is not installed", "Full ends here: No space left on device"]


def test_a_training_writes_what_it_is_asked_for(tmp_path, capsys):
    pytest.importorskip("tensorboard")
    make_images(tmp_path / "images", 4)
    options = ["--data_dir", tmp_path / "images", "--image_size", 16, "--num_channels", 32,
               "--num_res_blocks", 1, "--channel_mult", "1", "--attention_resolutions", "", "--batch_size", 2,
               "--max_steps", 2, "--log_interval", 1, "--num_preview", 1, "--preview_steps", 2, "--device", "cpu"]
    for log_to, written in (("none", False), ("csv,tensorboard", True)):
        assert run("train", *options, "--log_to", log_to, "--run_dir", tmp_path / log_to) == 0
        assert (tmp_path / log_to / "tensorboard").exists() == written
    capsys.readouterr()
    assert run("train", *options, "--log_to", "tensorbord", "--run_dir", tmp_path / "wrong") == 2
    assert "--log_to is 'tensorbord', expected some of tensorboard, wandb, mlflow" in capsys.readouterr().err
