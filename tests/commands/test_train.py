"""scripts/train.py as a user starts it."""
import csv
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tarfile
import time

import pytest
import torch

from add.commands.shared import training_runs
from add.data import ImageSet, read_image, to_model_input
from add.data.folder_lock import locked
from add.networks import ModelConfig
from add.runtime.world import World
from add.training import TrainConfig, load_model
from add.training.checkpoints import trained_order
from add.training.training_data import open_source
from tests.commands.commands import ROOT, load, run
from tests.tiny import make_images

TINY = ["--image_size", 16, "--num_channels", 32, "--num_res_blocks", 1, "--channel_mult", 1, "--attention_resolutions",
        "", "--batch_size", 4, "--log_interval", 1, "--num_preview", 4, "--preview_steps", 2, "--tensorboard", False,
        "--device", "cpu"]


def snapshot(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_run_writes_its_folder_says_where_and_resumes(tmp_path, capsys):
    images, out = make_images(tmp_path / "images", count=5), tmp_path / "run"
    command = ["--data_dir", images, "--run_dir", out, "--max_steps", 2, "--val_fraction", 0.2, *TINY]
    assert run("train", *command) == 0
    assert snapshot(out) == ["config.json", "curves.png", "ema_0.9999_000002.pt", "index.html", "model000002.pt",
                             "opt000002.pt", "progress.csv", "samples", "samples/samples000002.png", "state000002.pt",
                             "training_images.json"]
    text = capsys.readouterr().out
    start, end = text.split("step 1/2")[0], text.split("finished at step 2")[1]
    assert str(out) in start and str(out / "progress.csv") not in start
    for name in ("config.json", "progress.csv", "samples/samples000002.png", "ema_0.9999_000002.pt", "state000002.pt"):
        assert str(out / name) in end
    assert "tensorboard" not in text and "--out_dir results/samples/run" in end.splitlines()[-1]
    assert end.splitlines()[-1].startswith(f"  add image_sample --model_path {out} ")
    assert text.index("reading the images") < text.index("training: 1/2 steps") < text.index("step 1/2  loss")
    assert str(images) in start and "images/s  ETA" in text and re.search(r"  loss \S+ val \d", text)
    assert run("train", *command, "--max_steps", 3) == 0
    assert f"resuming from {out} at step 2" in capsys.readouterr().out
    with open(out / "progress.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3"] and all(float(row["loss"]) > 0 for row in rows)


def test_the_embedded_patches_are_the_default_from_any_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("train", *TINY, "--max_steps", 1, "--compile", False, "--channel_mult", "1", "--num_preview", 0) == 0
    saved = json.loads((tmp_path / "runs" / "stroma" / "config.json").read_text())
    assert saved["diffusion"]["prediction"] == "v" and saved["data"]["images"] > 0  # of configs/tissue_stroma.yaml
    assert "tissue_stroma.yaml" in capsys.readouterr().out


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_is_understood_by_its_command(config, capsys):
    with pytest.raises(SystemExit) as stopped:
        run("compare" if config.name.startswith("study_") else "train", "--config", config, "--dry_run")
    image_size = next(line for line in config.read_text().splitlines() if line.startswith("image_size:"))
    assert stopped.value.code == 0 and image_size in capsys.readouterr().out


@pytest.mark.parametrize("options, message", [
    (["--data_dir", "{tmp}/nowhere"], "does not exist"),
    (["--data_dir", "{tmp}/empty"], "holds no images"),
    (["--data_dir", "{tmp}/bad"], "2 of 3 files cannot be read"),
    (["--run_dir", "{tmp}/bad/text.png/run"], "cannot write"),
    (["--resume_checkpoint", "{tmp}/final.pt"], "expected modelNNNNNN.pt"),
    (["--init_from", "{tmp}/bad/text.png"], "refused"),
    (["--batch_size", "many"], "--batch_size is 'many', expected a whole number"),
    (["--bach_size", "4"], "did you mean --batch_size?"),
    (["--config", "{tmp}/typo.yaml"], "unknown key learning_rte"),
    (["--zero_terminal_snr"], "prediction"),
    (["--device", "cuda"], "sees no GPU"),
    (["--image_size", "-16"], "image_size is -16, expected 1 or more"),
    (["--min_snr_gamma", "nan"], "--min_snr_gamma is 'nan', expected a finite number"),
    (["--threads", "100000000"], "--threads is 100000000, expected 1024 or less"),
])
def test_mistakes_end_with_status_2_and_one_message(tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    make_images(tmp_path / "images", count=3)
    (tmp_path / "empty").mkdir()
    bad = make_images(tmp_path / "bad", count=2)
    (bad / "text.png").write_text("no image")
    (bad / "a0.png").write_bytes((bad / "a0.png").read_bytes()[:60])
    (tmp_path / "typo.yaml").write_text("learning_rte: 1\n")
    before = snapshot(tmp_path)
    given = [option.format(tmp=tmp_path) for option in options]
    assert run("train", *TINY, "--data_dir", tmp_path / "images", "--run_dir", tmp_path / "run", "--max_steps", 1,
               *given) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("error:") == 1 and message in captured.err
    assert "Traceback" not in captured.err and snapshot(tmp_path) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_saves_and_stops(tmp_path, number):
    images, out = make_images(tmp_path / "images"), tmp_path / "run"
    command = [sys.executable, ROOT / "scripts" / "train.py", "--data_dir", images, "--run_dir", out,
               "--max_steps", 0, *TINY]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONPATH": str(ROOT)},
                               preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))  # else as nohup left it
    progress = out / "progress.csv"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (progress.exists() and len(progress.read_text().splitlines()) > 2):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(number)
    text, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number and "stopped, and the same command continues, at step" in text
    errors = errors.removeprefix("add train: loading PyTorch\n")  # on a slow machine
    assert errors == "\nstopping after this step and saving" + (
        "; Ctrl-C again stops at once without saving\n" if number == signal.SIGINT else "\n")
    assert "what to do next" not in text
    assert "nothing is measured or drawn at a stop" in text and not (out / "samples").exists()
    last = progress.read_text().splitlines()[-1].split(",")[0]
    assert (out / f"state{int(last):06d}.pt").exists() and (out / f"ema_0.9999_{int(last):06d}.pt").exists()


def test_another_rate_on_the_way_is_told_of(tmp_path, capsys):
    command = ["train", "--data_dir", make_images(tmp_path / "images"), "--run_dir", tmp_path / "run", *TINY]
    assert run(*command, "--max_steps", 1, "--lr", 0.002) == 0 and run(*command, "--max_steps", 2, "--lr", 0.002) == 0
    assert "goes on with" not in capsys.readouterr().out
    assert run(*command, "--max_steps", 3, "--lr", 0.02) == 0
    assert "the run goes on with other options of learning: lr 0.002 before, 0.02 now\n" in capsys.readouterr().out


def test_a_second_training_in_the_folder_is_refused(tmp_path, capsys):
    images, out = make_images(tmp_path / "images"), tmp_path / "run"
    command = ["--data_dir", images, "--run_dir", out, "--max_steps", 1, *TINY]
    with locked(out):
        being_written = out / f".opt000001.pt.{'0' * 32}.tmp"
        being_written.touch()
        assert run("train", *command) == 2
        assert f"another training is running in {out}" in capsys.readouterr().err and being_written.exists()
        assert run("train", *command, "--estimate") == 0  # it writes nothing
    assert run("train", *command) == 0 and not being_written.exists()


def test_an_estimate_writes_nothing_and_says_time_memory_and_disk(tmp_path, capsys):
    images = make_images(tmp_path / "images")
    before = snapshot(tmp_path)
    assert run("train", "--data_dir", images, "--run_dir", tmp_path / "run", "--max_steps", 1000, "--save_interval",
               300, *TINY, "--estimate") == 0
    text = capsys.readouterr().out
    assert snapshot(tmp_path) == before
    for part in ("parameters: ", "MiB at most", " images/s", " for 1000 steps", "for 4 checkpoints of "):
        assert part in text
    assert "finished" not in text and "what to do next" not in text


def test_a_budget_takes_the_place_of_steps_in_a_file_but_not_on_the_command_line(tmp_path, capsys):
    images, out = make_images(tmp_path / "images"), tmp_path / "run"
    (tmp_path / "config.yaml").write_text("max_steps: 1000000\nlr_anneal_steps: 7\n")
    command = ["--data_dir", images, "--run_dir", out, *TINY, "--num_preview", 0]
    for given, said in ((["--budget", "2s"], "--budget 2s"), (["--minutes", 10], "--minutes 10")):
        assert run("train", *command, *given, "--max_steps", 4, "--lr_anneal_steps", 5) == 2
        refused = capsys.readouterr().err
        assert f"{said} was given with --lr_anneal_steps and --max_steps" in refused and not out.exists()
    assert run("train", *command, "--budget", "2s", "--config", tmp_path / "config.yaml") == 0
    last = json.loads((out / "config.json").read_text())["train"]["max_steps"]
    assert 1 <= last < 1000000 and (out / f"state{last:06d}.pt").exists()
    text = capsys.readouterr().out
    first = next(line for line in text.splitlines() if line.startswith("training: 0/"))
    assert "finished at step" in text and "--budget 2s: a step takes" in text and "ETA" in first


@pytest.mark.parametrize("value, text", [("10", "10"), ("1.5", "1.5"), ("'30m'", "30m")])
def test_minutes_are_a_budget_in_files_too(tmp_path, value, text):
    (tmp_path / "config.yaml").write_text(f"minutes: {value}\nmax_steps: 7\n")
    parsed = load("train").build_options().parse(["--config", str(tmp_path / "config.yaml")])
    assert parsed.budget == text and parsed.take(TrainConfig).max_steps == 7


@pytest.mark.parametrize("value", ["0", "true", "-3", "soon"])
def test_minutes_that_are_none_are_refused(tmp_path, capsys, value):
    (tmp_path / "config.yaml").write_text(f"minutes: {value}\n")
    assert run("train", "--config", tmp_path / "config.yaml", "--run_dir", tmp_path / "run") == 2
    assert "expected " in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_help_as_a_command():
    done = subprocess.run([sys.executable, ROOT / "scripts" / "train.py", "--help"], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0 and "--data_dir" in done.stdout and "--noise_schedule {linear,cosine" in done.stdout


def test_one_command_trains_a_model_for_each_domain(tmp_path, capsys):
    for seed, name in enumerate(("mild", "none", "severe")):
        make_images(tmp_path / "root" / name, count=3 + seed, seed=seed)
    command = ["--data_dir", tmp_path / "root", "--run_dir", tmp_path / "runs", *TINY, "--num_preview", 0]
    assert run("train", *command, "--domain", "all", "--max_steps", 1) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["mild", "none", "severe"]
    saved = [json.loads((tmp_path / "runs" / name / "config.json").read_text()) for name in ("mild", "none", "severe")]
    assert [config["data"]["images"] for config in saved] == [3, 4, 5]
    weights = [torch.load(tmp_path / "runs" / name / "model000001.pt") for name in ("mild", "none")]
    assert any(not torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    capsys.readouterr()
    assert run("train", *command, "--domain", "none", "--max_steps", 4) == 0  # one of them goes on, with its share
    assert "resuming from" in capsys.readouterr().out
    assert [(tmp_path / "runs" / name / "model000002.pt").exists() for name in ("mild", "none")] == [False, True]
    assert run("train", *command, "--domain", "serious") == 2
    assert "has no domain serious: expected some of mild, none, severe, or all" in capsys.readouterr().err


def test_the_order_of_the_stages_is_kept_in_every_run_folder(tmp_path, capsys):
    for seed, name in enumerate(("mild", "normal", "severe")):
        make_images(tmp_path / "images" / name, seed=seed)
    command = ["--data_dir", tmp_path / "images", "--run_dir", tmp_path / "runs", "--max_steps", 1, *TINY,
               "--num_preview", 0]
    assert run("train", *command, "--domain", "all", "--domains", "normal,mild,severe") == 0
    assert {trained_order(tmp_path / "runs" / name) for name in ("mild", "normal", "severe")} == {
        ("normal", "mild", "severe")}
    assert run("train", *command, "--domain", "all", "--domains", "normal,mild,worse") == 2
    assert "no domain worse" in capsys.readouterr().err


def test_classes_are_numbered_in_the_order_of_the_stages_and_stay_so(tmp_path, capsys):
    for seed, name in enumerate(("mild", "normal")):
        make_images(tmp_path / "images" / name, seed=seed)
    command = ["--data_dir", tmp_path / "images", "--run_dir", tmp_path / "run", *TINY, "--num_preview", 0,
               "--class_cond", True]
    assert run("train", *command, "--max_steps", 1, "--domains", "normal,mild") == 0
    assert "2 classes: 0 normal, 1 mild" in capsys.readouterr().out
    assert run("train", *command, "--max_steps", 2) == 2
    assert "numbers its classes normal, mild, and now they are mild, normal" in capsys.readouterr().err


def test_the_tiles_of_a_patient_are_held_out_together(tmp_path):
    make_images(tmp_path / "images", count=8)
    for i in range(8):
        (tmp_path / "images" / f"a{i}.png").rename(tmp_path / "images" / f"p{i % 4}_{i}.png")
    parsed = load("train").build_options().parse(list(map(str, [
        "--data_dir", tmp_path / "images", "--run_dir", tmp_path / "run", *TINY, "--val_fraction", 0.3,
        "--group_pattern", "^p[0-9]"])))
    source = open_source(parsed.take(TrainConfig), parsed.take(ModelConfig), World())
    pixels = [{image.numpy().tobytes() for image in x} for x in (source.held_out[0], source.examples[0])]
    first = {i for i in range(8) if to_model_input(
        read_image(tmp_path / "images" / f"p{i % 4}_{i}.png")[None])[0].numpy().tobytes() in pixels[0]}
    assert len(first) == 2 and len({i % 4 for i in first}) == 1


def test_classes_are_counted_and_some_hidden(tmp_path):
    """A class-conditional model of two folders has their two classes, and one label that means none."""
    for seed, name in enumerate(("mild", "severe")):
        make_images(tmp_path / "root" / name, seed=seed)
    assert run("train", "--data_dir", tmp_path / "root", "--run_dir", tmp_path / "run", *TINY, "--class_cond",
               "--class_dropout", 0.2, "--max_steps", 2) == 0
    network, _, loaded = load_model(tmp_path / "run")
    assert loaded.classes == ("mild", "severe") and loaded.model.num_classes == 2
    assert network.label_emb.num_embeddings == 3


def test_a_domain_is_all_images_of_its_slides(tmp_path, capsys):
    """As --class_cond reads the same folder; --domain . says that a folder of slides is one domain."""
    for seed, name in enumerate(("mild/slide1", "mild/slide2", "severe/slide1")):
        make_images(tmp_path / "data" / name, count=2, seed=seed)
    command = [*TINY, "--num_preview", 0, "--max_steps", 1]
    everything = ["--data_dir", tmp_path / "data", "--run_dir", tmp_path / "runs", "--domain", "all"]
    assert run("train", *command, *everything) == 0
    told = capsys.readouterr().out
    assert "4 training images" in told and "2 training images" in told
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["mild", "severe"]
    mild = ["--data_dir", tmp_path / "data" / "mild", "--run_dir", tmp_path / "one"]
    assert run("train", *command, *mild) == 2
    assert run("train", *command, *mild, "--domain", ".") == 0
    assert "4 training images" in capsys.readouterr().out and (tmp_path / "one" / "config.json").exists()


def test_all_domains_are_looked_at_before_the_first_is_trained(tmp_path, capsys):
    for seed, name in enumerate(("mild", "severe")):
        make_images(tmp_path / "images" / name, seed=seed)
    (tmp_path / "images" / "severe" / "broken.png").write_bytes(b"none")
    command = ["--data_dir", tmp_path / "images", "--run_dir", tmp_path / "runs", "--max_steps", 1, *TINY]
    assert run("train", *command, "--domain", "all") == 2
    assert "broken.png" in capsys.readouterr().err and not (tmp_path / "runs").exists()


def test_patients_in_subfolders_are_hinted_at_where_images_are_held_out(tmp_path, capsys):
    for seed, name in enumerate(("p1", "p2")):
        make_images(tmp_path / "images" / name, seed=seed)
    command = ["--data_dir", tmp_path / "images", "--domain", ".", "--max_steps", 1, *TINY, "--num_preview", 0]
    assert run("train", *command, "--run_dir", tmp_path / "a", "--val_fraction", 0.5) == 0
    assert "--group_pattern '([^/]+)/[^/]+$' keeps each on one side" in capsys.readouterr().out
    assert run("train", *command, "--run_dir", tmp_path / "b", "--val_fraction", 0.5, "--group_pattern", "^p.") == 0
    assert "keeps each on one side" not in capsys.readouterr().out


def test_a_network_too_large_for_a_cpu_is_told_of(tmp_path, capsys, monkeypatch):
    images = make_images(tmp_path / "images", count=2)
    command = ["train", "--data_dir", images, "--run_dir", tmp_path / "run", *TINY, "--estimate"]
    assert run(*command) == 0 and "take days" not in capsys.readouterr().out
    monkeypatch.setattr(training_runs, "MANY_PARAMETERS", 1000)
    assert run(*command) == 0
    assert "parameters take days on a CPU" in capsys.readouterr().out


def test_tars_train_as_the_folder_that_they_hold_and_go_on_bit_for_bit(tmp_path, monkeypatch):
    """One run on images in a folder, one on the same in a tar, read ahead, that is stopped in between."""
    images = make_images(tmp_path / "folder" / "a.tar", count=6)
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "a.tar", "w") as file:
        for path in sorted(images.iterdir(), reverse=True):
            file.add(path, path.name)
    options = ["--domain", ".", "--val_fraction", 0.3, "--num_preview", 0, *TINY]
    assert run("train", "--data_dir", tmp_path / "folder", "--run_dir", tmp_path / "a", "--max_steps", 3, *options) == 0
    monkeypatch.setattr(ImageSet, "reads_files", True)  # else those that fit in memory are not read ahead
    options += ["--workers", 2]
    for steps in (2, 3):
        assert run("train", "--data_dir", f"{tmp_path}/shards/*.tar", "--run_dir", tmp_path / "b", "--max_steps", steps,
                   *options) == 0
    one, other = (torch.load(tmp_path / name / "model000003.pt", weights_only=True) for name in "ab")
    assert all(value.equal(other[name]) for name, value in one.items())
    listed = json.loads((tmp_path / "b" / "training_images.json").read_text())
    assert {use: len(own) for use, own in listed.items()} == {"trained_on": 4, "held_out": 2}
    assert not multiprocessing.active_children()
