"""Errors of a study's classifiers as graders: those of one classifier are the ones that `classify` found."""
import json

import numpy as np
import pytest

from add.data.files import save_png
from add.data.groups import write_groups
from add.data.severity_table import write_severity
from benchmarks import grader_severities
from tests.commands.commands import run

CLASSIFY = ["--domains", "dark,bright", "--methods", "flips,mixup", "--num_seeds", 1, "--steps", 6, "--batch_size", 8,
            "--lr", 5e-3]


def write_shades(folder, severities, seed):
    """Write noisy images, darker ones in dark/, with their tables; every five of them are one group."""
    rng, rows = np.random.default_rng(seed), {}
    for i, severity in enumerate(severities):
        name = f"{'dark' if severity < 0.5 else 'bright'}/i{i:02d}.png"
        pixels = 60 + 120 * severity + 25 * rng.standard_normal((16, 16, 3))
        save_png(folder / name, pixels.clip(0, 255).astype(np.uint8))
        rows[name] = severity
    write_severity(folder, rows)
    write_groups(folder, {name: f"p{seed}_{i // 5}" for i, name in enumerate(rows)})
    return folder


def test_one_classifier_errs_as_classify_says_and_groups_by_their_means(tmp_path, capsys):
    ends = np.concatenate([np.linspace(0, 0.3, 8), np.linspace(0.7, 1, 8)])
    folder = tmp_path / "out"
    assert run("classify", "--data_dir", write_shades(tmp_path / "train", ends, 0), "--val_dir",
               write_shades(tmp_path / "val", ends, 1), "--test_dir",
               f"all={write_shades(tmp_path / 'test', np.linspace(0, 1, 20), 2)}", *CLASSIFY, "--out_dir", folder) == 0
    noted = json.loads((folder / "classification.json").read_text())
    words = " ".join(map(str, ["add", "classify", "--data_dir", tmp_path / "train", "--val_dir", tmp_path / "val",
                               "--test_dir", f"all={tmp_path / 'test'}", *CLASSIFY, "--out_dir", folder]))
    (folder / "classification.json").write_text(json.dumps(noted | {"command": words}))
    found = grader_severities.errors_of(folder, ["flips", "mixup"], "all")
    for name, own in found.items():
        scores = noted["tests"]["all"][name]
        assert own[0] == pytest.approx(scores["severity_rmse_linked"]["mean"], abs=1e-5)
        assert own[1] == pytest.approx(scores["severity_rmse_shrunk"]["mean"], abs=1e-5)
    truth = ((np.linspace(0, 1, 20) - 0.15) / 0.7).clip(0, 1)
    assert found["flips"][5] == pytest.approx(np.sqrt(((truth.reshape(4, 5).mean(axis=1) - 0.5) ** 2).mean()))
    capsys.readouterr()
    grader_severities.main([str(folder), str(folder), "--methods", "mixup"])
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith(f"| mixup | {found['mixup'][0]:.3f} | ") and row.endswith((" 0 of 2 |", " 2 of 2 |"))
