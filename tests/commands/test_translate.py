"""translate: files and their contents, continuing, any number of processes, and what bad input gets."""
import csv
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from add.data import read_image, to_uint8
from add.data.folder_lock import TRANSLATION, locked
from add.training import load_model
from add.training.training_images import HELD_OUT, TRAINED_ON, read_training_images, write_training_images
from add.transition import soft_labels, translate
from tests.commands.commands import ROOT, run, with_changes
from tests.tiny import make_images, make_run

SCRIPT = "frequency_generating_m_samples"
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """Return the options of a tiny translation: two runs, two image folders, eight steps."""
    root = tmp_path_factory.mktemp("setup")
    return ["--source_model_path", make_run(root / "model_a", seed=1),
            "--target_model_path", make_run(root / "model_b", seed=2),
            "--data_dir", make_images(root / "a", count=3, seed=1),
            "--target_data_dir", make_images(root / "b", count=2, seed=2),
            "--timestep_respacing", "8", "--amount", "4", "--depth_schedule", "uniform"]


@pytest.fixture(scope="module")
def finished(setup, tmp_path_factory):
    """Return the output folder of the run of `setup`, with arrays; only for reading."""
    out = tmp_path_factory.mktemp("finished")
    assert run(SCRIPT, *setup, "--out_dir", out, "--save_npy") == 0
    return out


def without(setup, name):
    """Return the options less one and its value."""
    place = setup.index(name)
    return setup[:place] + setup[place + 2:]


def value(setup, name):
    return setup[setup.index(name) + 1]


def rows_of(folder):
    with open(folder / "labels.csv", newline="") as file:
        return list(csv.DictReader(file))


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def assert_same_images(folder, expected):
    """Hold two output folders against each other: the same files, pixels equal to rounding in other batches."""
    assert files_of(folder).keys() == files_of(expected).keys()
    for name in files_of(expected):
        if "/images/" in name:
            pixels = [np.asarray(Image.open(root / name)).astype(int) for root in (folder, expected)]
            assert np.abs(pixels[0] - pixels[1]).max() <= 1, name


def test_labels_csv_has_a_row_per_image_in_order(finished):
    rows = rows_of(finished / "translation_0_1")
    assert list(rows[0]) == ["image", "source_image", "source", "target", "m", "depth", "p_0", "p_1"]
    assert [(row["image"], row["source_image"], row["m"]) for row in rows] == [
        (f"images/a{i}_m{m:02d}.png", f"a{i}.png", str(m)) for i in range(3) for m in range(1, 5)]
    assert [row["depth"] for row in rows[:4]] == ["285", "571", "856", "1000"]  # 2, 4, 6, 8 of 8 steps, in timesteps
    assert [(row["p_0"], row["p_1"]) for row in rows[:4]] == [
        ("0.750000", "0.250000"), ("0.500000", "0.500000"), ("0.250000", "0.750000"), ("0.000000", "1.000000")]
    assert all((finished / "translation_0_1" / row["image"]).exists() for row in rows)


def test_the_opposite_direction_swaps_roles(finished):
    rows = rows_of(finished / "translation_1_0")
    assert len(rows) == 2 * 4
    assert {(row["source"], row["target"]) for row in rows} == {("1", "0")}
    assert (rows[3]["p_0"], rows[3]["p_1"]) == ("1.000000", "0.000000")


def test_images_are_what_translate_gives(setup, finished):
    """The pixels of one image, recomputed through the Python interface."""
    source, diffusion, _ = load_model(value(setup, "--source_model_path"), timestep_respacing="8")
    target, _, _ = load_model(value(setup, "--target_model_path"))
    pixels = np.stack([read_image(value(setup, "--data_dir") / f"a{i}.png") for i in range(3)])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    translated = translate(source, target, x, 4, diffusion, sampler="ddim", path="depth")
    expected = to_uint8(translated.targets[1]).numpy().astype(int)
    written = np.stack([read_image(finished / "translation_0_1" / "images" / f"a1_m{m:02d}.png") for m in range(1, 5)])
    assert np.abs(expected - written).max() <= 1
    assert len({image.tobytes() for image in written}) == 4


def test_the_page_shows_both_directions_and_their_source_images(setup, finished):
    page = (finished / "index.html").read_text(encoding="utf-8")
    assert '"url":"translation_0_1"' in page and '"url":"translation_1_0"' in page
    assert (read_image(finished / "translation_0_1" / "sources" / "a1.png")
            == read_image(value(setup, "--data_dir") / "a1.png")).all()
    command = json.loads((finished / "translation_0_1" / "run.json").read_text())["command"]
    assert command.startswith("add translate --") and command.endswith(f"--out_dir {finished} --save_npy")
    with pytest.raises(SystemExit) as stop:  # the command is one that can be typed
        run("translate", *shlex.split(command)[2:], "--dry_run")
    assert not stop.value.code


def test_the_page_and_a_lost_source_image_are_written_again(setup, finished, tmp_path):
    """Also in a folder of an earlier version, which kept no source images."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "translation_0_1" / "sources")
    (tmp_path / "index.html").unlink()
    assert run(SCRIPT, *setup, "--out_dir", tmp_path, "--save_npy") == 0
    assert files_of(tmp_path).keys() == files_of(finished).keys()
    assert '"sources":[]' in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_run_json_describes_the_run(setup, finished):
    run_json = json.loads((finished / "translation_0_1" / "run.json").read_text())
    assert {"options", "versions", "checkpoints", "sampler", "depth_rule", "num_images", "nfe_per_image", "seconds",
            "peak_memory_mb"} <= run_json.keys()
    assert run_json["num_images"] == 12
    assert run_json["nfe_per_image"] == 8 + 2 + 4 + 6 + 8
    assert run_json["options"]["amount"] == 4 and run_json["depth_rule"] == "uniform"
    assert len(run_json["checkpoints"]["source"]["sha256"]) == 64
    assert run_json["checkpoints"]["source"]["sha256"] != run_json["checkpoints"]["target"]["sha256"]


def test_overview_shows_every_source_and_target(finished):
    overview = np.asarray(Image.open(finished / "translation_0_1" / "overview.png"))
    source = read_image(finished / "translation_0_1" / "images" / "a2_m04.png")
    factor = 6  # 16 pixels enlarged to 96
    enlarged = source.repeat(factor, axis=0).repeat(factor, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(overview[..., 0], enlarged.shape[:2])
    matches = (windows[:, :, 0, 0] == enlarged[0, 0, 0]) & (windows[:, :, -1, -1] == enlarged[-1, -1, 0])
    assert any((windows[row, column] == enlarged[..., 0]).all() for row, column in zip(*np.where(matches), strict=True))


def test_arrays_of_the_published_code(finished):
    folder = finished / "translation_0_1"
    target = np.load(folder / "target.npy")
    assert target.shape == (3, 4, 3, 16, 16) and target.dtype == np.uint8
    assert (target[2, 1] == read_image(folder / "images" / "a2_m02.png").transpose(2, 0, 1)).all()
    assert np.load(folder / "latent.npy").shape == target.shape
    assert np.load(folder / "source.npy").shape == (3, 3, 16, 16)
    assert np.load(folder / "diffway.npy").tolist() == [[285, 571, 856, 1000]] * 3


def test_the_same_command_again_does_nothing_twice(setup, tmp_path, capsys):
    options = [*setup, "--out_dir", tmp_path, "--direction", "forward"]
    assert run(SCRIPT, *options) == 0
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "translation_0_1" / "images").iterdir()}
    assert run(SCRIPT, *options) == 0
    assert "3 of 3 source images were finished before" in capsys.readouterr().out
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "translation_0_1" / "images").iterdir()}


def test_a_killed_run_is_completed(setup, finished, tmp_path):
    """Without the record of its last source image, a run makes that image again and ends as the unbroken one did."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "translation_0_1"
    for path in [folder / "records" / "a2.json", folder / "images" / "a2_m03.png", folder / "labels.csv",
                 folder / "run.json", folder / "overview.png"]:
        path.unlink()
    assert run(SCRIPT, *setup, "--out_dir", tmp_path, "--save_npy") == 0
    assert_same_images(tmp_path, finished)
    assert (folder / "labels.csv").read_text() == (finished / "translation_0_1" / "labels.csv").read_text()


def test_a_missing_image_is_made_again(setup, finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (tmp_path / "translation_1_0" / "images" / "a1_m02.png").unlink()
    assert run(SCRIPT, *setup, "--out_dir", tmp_path, "--save_npy") == 0
    assert_same_images(tmp_path, finished)


def test_a_source_image_that_changed_is_translated_again(setup, tmp_path, capsys):
    images = make_images(tmp_path / "images", count=2, seed=5)
    command = [*setup, "--data_dir", images, "--direction", "forward", "--out_dir", tmp_path / "out"]
    assert run(SCRIPT, *command) == 0
    before = files_of(tmp_path / "out" / "translation_0_1" / "images")
    make_images(tmp_path / "images", count=1, seed=6)
    assert run(SCRIPT, *command) == 0
    assert "1 of 2 source images were finished before" in capsys.readouterr().out
    after = files_of(tmp_path / "out" / "translation_0_1" / "images")
    assert {name[:2] for name in before if before[name] != after[name]} == {"a0"}


def test_names_that_collide_are_told_apart(setup, tmp_path):
    images = make_images(tmp_path / "images", count=1)
    content = Image.open(images / "a0.png")
    content.save(images / "a0.bmp")
    content.save(images / "a0_png.png")
    content.save(images / "settings.png")
    assert run(SCRIPT, *setup, "--data_dir", images, "--direction", "forward", "--out_dir", tmp_path / "out") == 0
    rows = rows_of(tmp_path / "out" / "translation_0_1")
    assert len({row["image"] for row in rows}) == len(rows) == 4 * 4
    assert {row["source_image"] for row in rows} == {"a0.bmp", "a0.png", "a0_png.png", "settings.png"}


def test_a_refused_direction_writes_nothing_and_the_corrected_command_works(setup, bad_inputs, tmp_path):
    command = [*setup, "--out_dir", tmp_path / "out"]
    for case in ("empty folder", "schedules"):
        options = [str(option).replace("--data_dir", "--target_data_dir") for option in bad_inputs[case][0]]
        assert run(SCRIPT, *command, *options) == 2
        assert not (tmp_path / "out").exists()
    assert run(SCRIPT, *command, "--direction", "forward") == 0


def test_sigkill_in_the_middle_leaves_whole_files_and_the_next_run_completes(setup, finished, tmp_path):
    command = [*setup, "--out_dir", tmp_path, "--direction", "forward", "--batch_size", 1, "--save_npy"]
    process = subprocess.Popen([sys.executable, ROOT / "scripts" / f"{SCRIPT}.py", *map(str, command)],
                               env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    records = tmp_path / "translation_0_1" / "records"
    while process.poll() is None and not (records / "a0.json").exists():
        time.sleep(0.005)
    process.kill()
    process.wait()
    for path in tmp_path.rglob("*.png"):
        assert read_image(path).shape == (16, 16, 3)
    for folder in ("images", "records", "."):
        cut_short = tmp_path / "translation_0_1" / folder / f".a1.{'0' * 32}.tmp"
        cut_short.touch()
        os.utime(cut_short, (0, 0))
    assert run(SCRIPT, *command) == 0
    assert not list(tmp_path.rglob("*.tmp"))
    shutil.copytree(finished / "translation_1_0", tmp_path / "translation_1_0")
    assert_same_images(tmp_path, finished)
    assert len(rows_of(tmp_path / "translation_0_1")) == 12


def launch(launcher, count):
    """Return the command line that starts `count` processes of a Python script."""
    if launcher == "torchrun":
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    return [MPIEXEC, "-n", str(count), sys.executable]


@pytest.mark.parametrize("launcher, count, sampler", [
    pytest.param("mpiexec", 2, "unipc", marks=pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec on the path")),
    ("torchrun", 3, "ddim")])
def test_any_number_of_processes_writes_the_same_files(launcher, count, sampler, setup, tmp_path):
    """Three and two images in batches of eight: each process has others, and other numbers of them."""
    few = [] if sampler == "ddim" else ["--timestep_respacing", "", "--encode_steps", 6, "--decode_steps", 8]
    command = [*with_changes(setup, few), "--sampler", sampler]
    assert run(SCRIPT, *command, "--out_dir", tmp_path / "one") == 0
    done = subprocess.run([*launch(launcher, count), ROOT / "scripts" / f"{SCRIPT}.py", *map(str, command),
                           "--out_dir", tmp_path / "more"], env=ENVIRONMENT, check=True, timeout=180,
                          stdout=subprocess.PIPE, text=True)
    said = f"{count} processes share 3 source images; the progress is of the {-(-3 // count)} that the first one does"
    assert said in done.stdout
    assert files_of(tmp_path / "one") == files_of(tmp_path / "more")
    for direction in ("translation_0_1", "translation_1_0"):
        assert rows_of(tmp_path / "one" / direction) == rows_of(tmp_path / "more" / direction)


@pytest.mark.parametrize("started", [False, True])
def test_folders_in_each_others_place_are_refused(started, tmp_path, capsys):
    """Also where the second model started from the first and so has learned from its images."""
    runs, folders = ({name: make(tmp_path / kind / name, seed=seed) for seed, name in enumerate(("mild", "severe"))}
                     for kind, make in (("runs", make_run), ("images", make_images)))
    before = None
    for name, images in folders.items():
        paths = sorted(images.iterdir())
        write_training_images(runs[name], {TRAINED_ON: paths[:2], HELD_OUT: paths[2:]}, before=before)
        before = read_training_images(runs[name]) if started else None
    command = [SCRIPT, "--source_model_path", runs["mild"], "--target_model_path", runs["severe"], "--amount", 1,
               "--timestep_respacing", 4, "--depth_schedule", "uniform", "--out_dir", tmp_path / "out"]
    assert run(*command, "--data_dir", folders["severe"], "--target_data_dir", folders["mild"]) == 2
    told = capsys.readouterr().err
    assert f"3 of 3 images of {folders['severe']}, which are to be translated from mild, are those of" in told
    assert "(severe) and not of" in told and "exchange the two folders" in told and not (tmp_path / "out").exists()
    assert run(*command, "--data_dir", folders["mild"], "--target_data_dir", folders["severe"]) == 0


def test_a_process_that_dies_leaves_the_others_images_and_the_next_run_completes(setup, tmp_path):
    """Of two processes the second is killed at its first image; the first ends soon, with its images whole."""
    images = make_images(tmp_path / "images", count=8, seed=3)
    command = [*setup, "--data_dir", images, "--direction", "forward", "--batch_size", 1]
    assert run(SCRIPT, *command, "--out_dir", tmp_path / "one") == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [subprocess.Popen(
        [sys.executable, ROOT / "scripts" / f"{SCRIPT}.py", *map(str, command), "--out_dir", tmp_path / "two"],
        env=ENVIRONMENT | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                           "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for rank in range(2)]
    folder = tmp_path / "two" / "translation_0_1"
    while ranks[1].poll() is None and not (folder / "records" / "a1.json").exists():
        time.sleep(0.005)
    ranks[1].kill()
    _, message = ranks[0].communicate(timeout=120)
    last = message.decode().splitlines()[-1]
    assert ranks[0].returncode == 75 and message.count(b"error") == 1 and b"Traceback" not in message
    assert last.startswith("error: process 1 of 2 (counted from 0") and "died" in last and "the same command" in last
    done = {path.stem for path in (folder / "records").glob("a*.json")}
    assert "a0" in done and done < {f"a{i}" for i in range(8)}
    expected = files_of(tmp_path / "one" / "translation_0_1" / "images")
    found = files_of(folder / "images")
    assert all(found[name] == expected[name] for name in expected if name.split("_")[0] in done)
    assert run(SCRIPT, *command, "--out_dir", tmp_path / "two") == 0
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")


def test_onnx_gives_the_same_images(setup, finished, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert run(SCRIPT, *setup, "--out_dir", tmp_path / "out", "--backend", "onnx") == 0
    assert_same_images(tmp_path / "out", finished)
    assert len(list((tmp_path / "cache" / "add" / "onnx").glob("*.onnx"))) == 2
    assert run(SCRIPT, *setup, "--out_dir", finished, "--backend", "onnx", "--save_npy") == 0  # it may continue


def test_bf16_runs_on_a_cpu_and_stays_close(setup, tmp_path):
    """Written for GPUs; here for its equality: the pictures differ by a few grey levels of rounding."""
    images = []
    for precision in ("fp32", "bf16"):
        out = tmp_path / precision
        assert run(SCRIPT, *setup, "--out_dir", out, "--precision", precision, "--direction", "forward") == 0
        images.append(np.stack([read_image(path) for path in sorted((out / "translation_0_1" / "images").iterdir())]))
    assert 0 < np.abs(images[0].astype(int) - images[1]).mean() < 6


def test_a_respacing_without_a_sampler_means_ddim(setup, finished, tmp_path, capsys):
    used = json.loads((finished / "translation_0_1" / "run.json").read_text())
    assert used["sampler"] == used["options"]["sampler"] == "ddim"
    assert run(SCRIPT, *setup, "--sampler", "unipc", "--out_dir", tmp_path / "out") == 2
    assert "only --sampler ddim walks" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_default_sampler_takes_the_evaluations_it_says(setup, tmp_path):
    command = [*without(setup, "--timestep_respacing"), "--out_dir", tmp_path, "--direction", "forward",
               "--encode_steps", 4, "--decode_steps", 5]
    assert run(SCRIPT, *command) == 0
    used = json.loads((tmp_path / "translation_0_1" / "run.json").read_text())
    assert used["sampler"] == "unipc" and used["nfe_per_image"] == 4 + 1 + 3 + 3 + 4 + 5
    assert [row["depth"] for row in rows_of(tmp_path / "translation_0_1")[:4]] == ["250", "500", "750", "1000"]


def test_other_options_in_a_used_folder_are_refused(setup, finished, capsys):
    changed = [*setup, "--amount", 5, "--out_dir", finished]
    assert run(SCRIPT, *changed) == 2
    assert "amount: 4 there, 5 given" in capsys.readouterr().err


def test_a_model_that_was_trained_further_is_told_by_its_digest_alone(setup, finished, tmp_path, capsys):
    further = with_changes(setup, ["--source_model_path", make_run(tmp_path / "model_a", seed=3)])
    assert run(SCRIPT, *further, "--out_dir", finished) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 3 and re.fullmatch(r"  source_model\.sha256: \w{12}\.\.\. there, \w{12}\.\.\. given", told[1])
    assert told[2].endswith("another --out_dir; a model that was trained further is another one")


def test_measured_depths_differ_per_image_and_are_written(setup, tmp_path):
    assert run(SCRIPT, *setup, "--out_dir", tmp_path, "--depth_schedule", "reference", "--direction", "forward") == 0
    records = [json.loads((tmp_path / "translation_0_1" / "records" / f"a{i}.json").read_text()) for i in range(3)]
    rows = rows_of(tmp_path / "translation_0_1")
    assert [int(row["depth"]) for row in rows] == [depth for record in records for depth in record["depths"]]


def test_fallback_of_a_rule_is_said(setup, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("add.transition.translation.measure_feature", lambda x, kind: torch.ones(len(x)).double())
    assert run(SCRIPT, *setup, "--out_dir", tmp_path, "--depth_schedule", "even", "--direction", "forward") == 0
    assert "depth rule 'even' could not be followed for 3 of 3 source images" in capsys.readouterr().out
    assert json.loads((tmp_path / "translation_0_1" / "run.json").read_text())["depth_rule"] == "uniform"


def test_more_domains_than_two(setup, tmp_path):
    assert run(SCRIPT, *setup, "--out_dir", tmp_path, "--source", 2, "--target", 0, "--num_domains", 3,
               "--direction", "forward") == 0
    row = rows_of(tmp_path / "translation_2_0")[0]
    assert [row[f"p_{k}"] for k in range(3)] == ["0.250000", "0.000000", "0.750000"]
    assert soft_labels(4, 2, 0, 3)[0].tolist() == [0.25, 0, 0.75]


def test_num_images_takes_images_that_the_seed_decides(setup, tmp_path):
    taken = []
    for seed in range(4):
        assert run(SCRIPT, *setup, "--out_dir", tmp_path / f"{seed}", "--num_images", 1, "--seed", seed,
                   "--direction", "forward", "--amount", 1) == 0
        taken += {row["source_image"] for row in rows_of(tmp_path / f"{seed}" / "translation_0_1")}
    assert len(taken) == 4 and len(set(taken)) > 1


def test_num_images_are_taken_from_every_group(setup, tmp_path):
    """Of five tiles, four of one slide; two images are one of each."""
    make_images(tmp_path / "images", count=5)
    for i in range(5):
        (tmp_path / "images" / f"a{i}.png").rename(tmp_path / "images" / f"{'s2' if i == 3 else 's1'}_{i}.png")
    assert run(SCRIPT, *setup, "--out_dir", tmp_path / "out", "--num_images", 2, "--group_pattern", "^s[0-9]",
               "--direction", "forward", "--amount", 1, "--data_dir", tmp_path / "images") == 0
    names = {row["source_image"] for row in rows_of(tmp_path / "out" / "translation_0_1")}
    assert {name[:2] for name in names} == {"s1", "s2"}


def test_skip_bad_leaves_out_and_counts(setup, tmp_path, capsys):
    images = make_images(tmp_path / "images", count=2)
    (images / "note.png").write_text("not an image")
    options = [*setup, "--data_dir", images, "--out_dir", tmp_path / "out", "--direction", "forward"]
    assert run(SCRIPT, *options) == 2
    assert "note.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run(SCRIPT, *options, "--skip_bad") == 0
    assert "1 unreadable images left out" in capsys.readouterr().out
    assert len(rows_of(tmp_path / "out" / "translation_0_1")) == 2 * 4


def test_subfolders_and_enlarged_images_are_told_of(setup, tmp_path, capsys):
    images = make_images(tmp_path / "images", count=1, size=8)
    make_images(images / "slide1", count=1, seed=1)
    options = [*setup, "--data_dir", images, "--out_dir", tmp_path / "out", "--direction", "forward"]
    assert run(SCRIPT, *options) == 0
    told = capsys.readouterr().out
    assert told.count("2 images, 1 of them in its subfolders slide1") == 1
    assert told.count("1 of 2 images are smaller than 16 pixels and were enlarged, up to 2 times: a0.png is 8 x 8") == 1
    assert len(rows_of(tmp_path / "out" / "translation_0_1")) == 2 * 4


class RunsCode:
    """What a pickle can smuggle in."""

    def __reduce__(self):
        import os
        return os.mkdir, ("code_ran",)


def write_bad_inputs(root):
    """Return {case: (options, words that the message must hold)}."""
    truncated = make_images(root / "truncated", count=2)
    content = (truncated / "a1.png").read_bytes()
    (truncated / "a1.png").write_bytes(content[:len(content) // 2])
    (root / "empty").mkdir()
    (root / "file").write_text("a file")
    other = make_run(root / "other")
    torch.save({"weight": torch.zeros(1)}, other / "ema_0.9999_000010.pt")
    cut = make_run(root / "cut")
    weights = (cut / "ema_0.9999_000010.pt").read_bytes()
    (cut / "ema_0.9999_000010.pt").write_bytes(weights[:len(weights) // 2])
    pickled = make_run(root / "pickled")
    torch.save({"weight": RunsCode()}, pickled / "ema_0.9999_000010.pt")
    large = make_run(root / "large", image_size=32)
    unconfigured = make_run(root / "unconfigured")
    (unconfigured / "config.json").unlink()
    conditional = make_run(root / "conditional", class_cond=True, num_classes=2)
    cosine = make_run(root / "cosine", diffusion={"noise_schedule": "cosine"})
    return {
        "missing folder": (["--data_dir", root / "missing"], "does not exist"),
        "empty folder": (["--data_dir", root / "empty"], "no images"),
        "truncated image": (["--data_dir", truncated], "a1.png"),
        "missing model": (["--source_model_path", root / "missing"], "does not exist"),
        "no checkpoint": (["--source_model_path", root / "empty"], "no checkpoint"),
        "other network": (["--source_model_path", other], "do not fit"),
        "truncated checkpoint": (["--target_model_path", cut], "can't be read"),
        "code in a pickle": (["--target_model_path", pickled], "refused"),
        "image sizes": (["--target_model_path", large], "32-pixel"),
        "schedules": (["--target_model_path", cosine], "noise schedule"),
        "class-conditional": (["--source_model_path", conditional], "is class-conditional"),
        "remote output": (["--out_dir", "gs://bucket/out"], "expected a local folder"),
        "amount 0": (["--amount", 0], "amount is 0"),
        "amount above steps": (["--amount", 9], "expected 1 to 8"),
        "amount no number": (["--amount", "many"], "a whole number"),
        "contradiction": (["--num_channels", 64], "trained with 32"),
        "attention order": (["--use_new_attention_order"], "trained with False"),
        "wrong shape without config": (["--source_model_path", unconfigured], "give --image_size"),
        "one model only": (["--target_model_path", ""], "one model path"),
        "no target images": (["--target_data_dir", ""], "--target_data_dir"),
        "same domain": (["--source", 1], "two different numbers"),
        "domain number": (["--target", 5], "0 to 1"),
        "folder under a file": (["--out_dir", root / "file" / "out"], "file"),
        "unknown option": (["--ammount", 4], "--amount"),
        "unknown rule": (["--depth_schedule", "evn"], "did you mean even"),
    }


CASES = ["missing folder", "empty folder", "truncated image", "missing model", "no checkpoint", "other network",
         "truncated checkpoint", "code in a pickle", "image sizes", "schedules", "class-conditional",
         "remote output", "amount 0", "amount above steps",
         "amount no number", "contradiction", "attention order", "wrong shape without config", "one model only",
         "no target images", "same domain", "domain number", "folder under a file", "unknown option", "unknown rule"]


@pytest.fixture(scope="module")
def bad_inputs(tmp_path_factory):
    return write_bad_inputs(tmp_path_factory.mktemp("bad"))


@pytest.mark.parametrize("case", CASES)
def test_bad_input_ends_with_status_2_and_one_message(case, bad_inputs, setup, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options, words = bad_inputs[case]
    status = run(SCRIPT, *with_changes([*setup, "--out_dir", tmp_path / "out"], options))
    message = capsys.readouterr().err
    assert status == 2
    assert words in message and "Traceback" not in message
    assert not list(tmp_path.iterdir())


# How far it is, what it takes, and what to do next


def test_the_total_is_of_all_directions_and_comes_true(setup, tmp_path, capsys):
    assert run(SCRIPT, *setup, "--out_dir", tmp_path) == 0
    printed = capsys.readouterr().out
    evaluations = [json.loads((tmp_path / name / "run.json").read_text())["nfe_per_image"] * images
                   for name, images in (("translation_0_1", 3), ("translation_1_0", 2))]
    assert printed.startswith("translating: starting\n")
    assert f"translating: 0/{sum(evaluations):.0f} evaluations" in printed  # even depths: known before
    assert f"translating: {sum(evaluations):.0f} evaluations in" in printed
    again = run(SCRIPT, *setup, "--out_dir", tmp_path, "--num_images", 0)
    assert again == 0 and "3 of 3 source images were finished before" in capsys.readouterr().out


def test_the_last_lines_are_commands_that_measure_and_label(setup, tmp_path, capsys):
    assert run(SCRIPT, *setup, "--out_dir", tmp_path) == 0
    lines = capsys.readouterr().out.split("what to do next:\n")[1].splitlines()
    a, b = value(setup, "--data_dir"), value(setup, "--target_data_dir")
    there, back = tmp_path / "translation_0_1", tmp_path / "translation_1_0"
    assert lines == [
        f"  add evaluate {b} {there} --source_dir {a} --out_dir {tmp_path}/evaluation_translation_0_1",
        f"  add evaluate {a} {back} --source_dir {b} --out_dir {tmp_path}/evaluation_translation_1_0",
        f"  add soft_labels --translations {there},{back} --data_dir FOLDER_OF_ALL_DOMAINS",  # beside models
        f"to look at: {tmp_path / 'index.html'}"]


def test_an_estimate_writes_nothing(setup, tmp_path, capsys):
    assert run(SCRIPT, *setup, "--out_dir", tmp_path / "out", "--estimate") == 0
    printed = capsys.readouterr().out
    assert "nothing was written" in printed and "for 5 images" in printed and "28 network evaluations" in printed
    assert not (tmp_path / "out").exists()


def test_other_images_in_the_same_folder_are_told_of_and_other_options_refused(setup, tmp_path, capsys):
    """Three images, then another one by itself: the three series stay, and labels.csv lists the last alone."""
    make_images(tmp_path / "more", count=1, seed=9)
    (tmp_path / "more" / "a0.png").rename(tmp_path / "more" / "b0.png")
    words = [*setup, "--direction", "forward", "--out_dir", tmp_path / "out"]
    assert run(SCRIPT, *words) == 0 and "no longer lists" not in capsys.readouterr().out
    assert run(SCRIPT, *words, "--data_dir", tmp_path / "more") == 0
    assert "holds series of 3 more source images" in capsys.readouterr().out
    assert run(SCRIPT, *words, "--data_dir", tmp_path / "more", "--amount", 2) == 2
    assert "amount: 4 there, 2 given" in capsys.readouterr().err


def test_an_estimate_of_a_folder_made_otherwise_is_refused(setup, finished, capsys):
    assert run(SCRIPT, *with_changes(setup, ["--amount", "3"]), "--out_dir", finished, "--estimate") == 2
    assert "holds images made with other options" in capsys.readouterr().err


def test_a_folder_of_domains_is_not_taken_for_one(setup, tmp_path, capsys):
    model = value(setup, "--target_model_path")
    make_images(tmp_path / "train" / model.name, count=1)
    make_images(tmp_path / "train" / "other", count=1)
    assert run(SCRIPT, *setup, "--data_dir", tmp_path / "train", "--out_dir", tmp_path / "out") == 2
    assert f"holds {tmp_path / 'train' / model.name}, which is named as a domain" in capsys.readouterr().err
    source = value(setup, "--source_model_path").name
    make_images(tmp_path / "train" / source, count=1)
    assert run(SCRIPT, *setup, "--data_dir", tmp_path, "--out_dir", tmp_path / "out") == 2
    assert f"give {tmp_path / 'train' / source}, or --models_dir" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_wrong_model_path_is_told_of_first(setup, tmp_path, capsys):
    words = with_changes(setup, ["--target_data_dir", "", "--target_model_path", tmp_path / "sever"])
    assert run(SCRIPT, *words, "--out_dir", tmp_path / "out") == 2
    assert "sever does not exist" in capsys.readouterr().err


def test_subfolders_are_a_part_of_an_image_s_name(setup, tmp_path):
    for patient in ("p1", "p2"):
        make_images(tmp_path / "images" / patient, count=1)
    assert run(SCRIPT, *setup, "--data_dir", tmp_path / "images", "--direction", "forward", "--amount", 1,
               "--out_dir", tmp_path / "out") == 0
    rows = rows_of(tmp_path / "out" / "translation_0_1")
    assert [(row["image"], row["source_image"]) for row in rows] == [
        ("images/p1_a0_m01.png", "p1/a0.png"), ("images/p2_a0_m01.png", "p2/a0.png")]


def test_a_second_translation_into_the_folder_is_refused(setup, tmp_path, capsys):
    words = [*setup, "--direction", "forward", "--amount", 1, "--out_dir", tmp_path / "out"]
    with locked(tmp_path / "out" / "translation_0_1", what=TRANSLATION):
        assert run(SCRIPT, *words) == 2
        assert f"another translation is running in {tmp_path / 'out' / 'translation_0_1'}" in capsys.readouterr().err
    assert run(SCRIPT, *words) == 0
    assert not list((tmp_path / "out").rglob("*.lock"))
