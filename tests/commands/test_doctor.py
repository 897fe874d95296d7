"""add doctor: what a machine has, in text and JSON; a broken one is told, and what to do."""
import json
import os
import subprocess
import sys

import pytest
import torch

import add
from add import extras
from add.commands import doctor
from add.extras import EXTRAS, REQUIRED
from tests.commands.commands import ROOT, run

BLOCKED = "import sys\nsys.modules.update(dict.fromkeys({!r}))\nfrom add.commands import main\nsys.exit(main({!r}))"


def without(modules, *argv):
    """Return what `add doctor` leaves in a process where these modules can't be imported."""
    return subprocess.run([sys.executable, "-c", BLOCKED.format(modules, ["doctor", *argv])], capture_output=True,
                          text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_json_tells_versions_devices_threads_extras_and_folders(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none" / "yet"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert run("doctor", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["problems"] == [] and facts["terminal"] is False
    assert facts["versions"]["add"] == add.__version__ and facts["versions"]["torch"] == torch.__version__
    assert set(facts["versions"]) == {"add", "python", *map(extras.plain_name, REQUIRED)}
    assert facts["devices"]["auto"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert facts["processor"]["threads"] == 1 and facts["processor"]["threads_reason"] == "as OMP_NUM_THREADS says"
    assert 0 < facts["processor"]["available_gib"] <= facts["processor"]["memory_gib"]
    assert facts["extras"].keys() == EXTRAS.keys()
    current, cache = facts["folders"]["current"], facts["folders"]["cache"]
    assert current["path"] == str(tmp_path) and current["writable"]
    assert cache["path"].startswith(str(tmp_path / "none")) and cache["writable"]
    assert not list(tmp_path.iterdir())


def test_the_text_says_the_same(capsys):
    assert run("doctor") == 0
    text = capsys.readouterr().out
    for words in (f"add {add.__version__}, Python ", f"torch {torch.__version__}", "--device auto takes ", "MPI: ",
                  "extra onnx: ", "current folder: ", "all that every command needs is there"):
        assert words in text
    assert "BROKEN" not in text


@pytest.mark.parametrize(("modules", "words"), [
    (["torch"], "BROKEN: torch does not load"), (["psutil"], "BROKEN: psutil does not load"),
    (["PIL"], 'pip install --force-reinstall "pillow>=10.1"'), (["yaml"], "BROKEN: PyYAML does not load")])
def test_a_missing_requirement_is_told_with_status_1(modules, words):
    done = without(modules)
    assert done.returncode == 1 and done.stderr == "" and words in done.stdout


def test_missing_extras_and_mpi_come_with_the_command_that_brings_them(monkeypatch, capsys):
    absent = ("onnx", "mpich", "monai", "snakemake")
    monkeypatch.setattr(extras, "installed_version", lambda name: None if name in absent else "1")
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    monkeypatch.delattr("mpi4py.MPI", raising=False)
    assert run("doctor") == 0
    text = capsys.readouterr().out
    assert "extra onnx: lacks onnx; pip install onnx\n" in text
    assert 'extra study: lacks snakemake>=8; pip install "snakemake>=8"\n' in text
    assert "extra eval: lacks monai; " in text and "extra tissue: complete" in text
    assert "MPI: no library (" in text and "by mpiexec: pip install mpich;" in text


def test_gpus_are_listed(monkeypatch, capsys):
    class Gpu:
        name, total_memory = "NVIDIA H100", 80 * 2**30

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: Gpu)
    assert run("doctor") == 0
    assert "cuda:0 NVIDIA H100 with 80.0 GiB, cuda:1 NVIDIA H100 with 80.0 GiB, cpu; --device auto takes cuda" in (
        capsys.readouterr().out)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="who may write everywhere sees no such folder")
def test_a_folder_without_rights_is_told(tmp_path):
    tmp_path.chmod(0o500)
    assert not doctor._folder(tmp_path)["writable"]


def test_a_folder_that_cannot_be_written_is_told(monkeypatch, capsys):
    def refuse(**settings):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    assert run("doctor") == 0
    assert "CANNOT be written" in capsys.readouterr().out


def test_missing_embedded_models_are_a_problem(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("add.data.embedded.ASSETS", tmp_path)
    with pytest.raises(SystemExit) as ended:
        run("doctor")
    assert ended.value.code == 1 and "BROKEN: the embedded models are not there" in capsys.readouterr().out
