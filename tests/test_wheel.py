"""The wheel in an environment of its own: what it holds, the console command, and the demo from an empty folder."""
import json
import os
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

import add

ENV = os.environ.get("ADD_WHEEL_ENV")
LARGEST = 20e6  # bytes
LONGEST_HELP = 0.5  # seconds
pytestmark = pytest.mark.skipif(not ENV, reason="no environment with the wheel: `make test` builds one")


@pytest.fixture(scope="module")
def wheel():
    """The path of the one wheel that was built."""
    path, = (Path(ENV).parent / "dist").glob("*.whl")
    return path


def run(*command, folder):
    """Return what a command of the wheel's environment prints, run in `folder` without this checkout on its path."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run([str(Path(ENV) / "bin" / command[0]), *command[1:]], cwd=folder, env=clean, check=True,
                          capture_output=True, text=True).stdout


def test_the_wheel_is_small_and_holds_what_the_default_run_needs(wheel):
    assert wheel.name.startswith(f"add_diffusion-{add.__version__}-") and wheel.stat().st_size < LARGEST
    names = zipfile.ZipFile(wheel).namelist()
    root = Path(__file__).resolve().parents[1]
    expected = [f"add/bundled/{path.relative_to(root).as_posix()}" for pattern in
                ("configs/*.yaml", "assets/models/*/*", "assets/tissue/sources/*/*") for path in root.glob(pattern)]
    modules = [path.relative_to(root).as_posix() for path in (root / "add").rglob("*.py")]
    templates = [path.relative_to(root).as_posix() for path in (root / "add").glob("*/templates/*")]
    assert len(expected) > 25 and templates and not {*expected, *modules, *templates, "add/py.typed"} - set(names)
    inside = {name.split("/")[0] for name in names}
    assert inside == {"add", f"add_diffusion-{add.__version__}.dist-info"}
    assert not [name for name in names if name.endswith(".py") and name not in modules]  # none of an older build


def test_help_comes_at_once(tmp_path):
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        text = run("add", "--help", folder=tmp_path)
        seconds.append(time.monotonic() - start)
    assert min(seconds) < LONGEST_HELP, seconds
    assert "translate" in text and run("python", "-m", "add", "--help", folder=tmp_path) == text
    assert run("add", "--version", folder=tmp_path) == f"add {add.__version__}\n"


def test_the_demo_runs_from_an_empty_folder(tmp_path):
    run("add", "translate", "--amount", "10", "--num_images", "1", folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    for direction in ("translation_0_1", "translation_1_0"):
        folder = tmp_path / "results" / direction
        assert len(list((folder / "images").iterdir())) == 10
        facts = json.loads((folder / "run.json").read_text())
        assert "bundled" in facts["checkpoints"]["source"]["path"] and facts["num_images"] == 10


def test_configs_are_found_by_name_and_training_patches_are_asked_for(tmp_path):
    text = run("add", "train", "--config", "configs/small_data.yaml", "--data_dir", "images", "--dry_run",
               folder=tmp_path)
    assert "image_size: 64" in text
    done = subprocess.run([str(Path(ENV) / "bin" / "add"), "train"], cwd=tmp_path, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 2 and "add make_tissue" in done.stderr and "Traceback" not in done.stderr
