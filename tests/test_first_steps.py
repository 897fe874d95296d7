"""The notebook docs/first-steps.ipynb, run from its first cell to its last, with two steps of training."""
import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "first-steps.ipynb"
QUICK = {"FIRST_STEPS_QUICK": "2", "FIRST_STEPS_IMAGES": "6"}


def test_the_notebook_runs_as_it_stands(tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    for name, value in (QUICK | {"FIRST_STEPS_FOLDER": str(tmp_path / "work")}).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3",
                            resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    printed = "".join(output.get("text", "") for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert len(re.findall(r"m = +\d+   soft label \d\.\d   mean severity -?\d\.\d\d", printed)) == 10
    assert (tmp_path / "work" / "translated" / "translation_1_0" / "labels.csv").exists()


def test_the_notebook_is_kept_without_outputs():
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert '"outputs": []' in text and '"output_type"' not in text
