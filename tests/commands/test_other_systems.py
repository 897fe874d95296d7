"""Windows and macOS lack modules and functions of Linux; here they are taken away, and commands must run without.

This shows that nothing asks for them, not that the other systems were tried.
"""
import json
import os
import subprocess
import sys

from tests.commands.commands import ROOT
from tests.tiny import make_images, make_run

PROGRAM = """
import os, signal, sys
import psutil  # which asks Linux in Linux's way
sys.modules.update(dict.fromkeys(("resource", "fcntl", "termios", "pwd", "grp")))
for module, name in ((os, "sched_getaffinity"), (os, "sched_setaffinity"), (os, "getuid"), (os, "geteuid"),
                     (os, "getloadavg"), (signal, "SIGHUP"), (signal, "SIGKILL")):
    delattr(module, name)
del psutil.Process.cpu_affinity
import importlib, pkgutil, add
for found in pkgutil.walk_packages(add.__path__, "add."):
    if found.name != "add.__main__":
        importlib.import_module(found.name)
sys.exit(add.commands.main({words!r}))
"""


def run_elsewhere(words, folder):
    """Return what `add WORDS` leaves in a process of a system with less."""
    environ = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return subprocess.run([sys.executable, "-c", PROGRAM.format(words=list(map(str, words)))], cwd=folder,
                          env=environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)


def test_the_main_command_runs_without_what_only_linux_has(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        make_run(tmp_path / name, seed)
    make_images(tmp_path / "images", 1)
    done = run_elsewhere(["translate", "--source_model_path", tmp_path / "a", "--target_model_path", tmp_path / "b",
                          "--data_dir", tmp_path / "images", "--direction", "forward", "--amount", 2,
                          "--timestep_respacing", 4, "--device", "cpu", "--out_dir", tmp_path / "out"], tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "out" / "translation_0_1" / "run.json").read_text())
    assert facts["peak_memory_mb"] > 20 and facts["threads"] >= 1
    assert "add" in facts["versions"]
    assert len(list((tmp_path / "out" / "translation_0_1" / "images").iterdir())) == 2


def test_training_runs_and_stops_without_what_only_linux_has(tmp_path):
    make_images(tmp_path / "images", 2)
    done = run_elsewhere(["train", "--data_dir", tmp_path / "images", "--run_dir", tmp_path / "run", "--image_size", 16,
                          "--num_channels", 32, "--num_res_blocks", 1, "--channel_mult", "1",
                          "--attention_resolutions=", "--batch_size", 2, "--max_steps", 3, "--num_preview", 0,
                          "--tensorboard", "False", "--device", "cpu"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model000003.pt").exists()
    assert "add" in json.loads((tmp_path / "run" / "config.json").read_text())["versions"]
