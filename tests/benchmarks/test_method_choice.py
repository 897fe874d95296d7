"""The choice of a method by validation loss, on records written by hand."""
import json

import pytest

from benchmarks import method_choice


def write_comparison(folder, methods):
    """Write what `classify` writes of {method: ([validation losses], error, rank correlation)}."""
    (folder / "runs").mkdir(parents=True)
    tests = {name: {"severity_rmse_shrunk": {"mean": error}, "severity_spearman": {"mean": rank}}
             for name, (_, error, rank) in methods.items()}
    (folder / "classification.json").write_text(json.dumps({"tests": {"all": tests}}))
    for name, (losses, *_) in methods.items():
        for seed, loss in enumerate(losses):
            (folder / "runs" / f"{name}_seed{seed}.json").write_text(
                json.dumps({"method": name, "validation": {"nll": loss}}))


@pytest.mark.parametrize(("score", "expected"), [
    ("severity_rmse_shrunk", "| 2 | 0.400 | 0.350 | 0.325 | 0.250 | mixup, flips |"),
    ("severity_spearman", "| 2 | 0.300 | 0.400 | 0.450 | 0.600 | mixup, flips |")])
def test_the_least_mean_loss_chooses_in_every_draw(tmp_path, capsys, score, expected):
    """In the second draw the best method is in a comparison of its own, and its loss is larger."""
    write_comparison(tmp_path / "draw_0" / "n5", {"flips": ([0.2, 0.9], 0.4, 0.3), "mixup": ([0.5, 0.5], 0.25, 0.6),
                                                  "cutmix": ([0.6, 0.7], 0.3, 0.5)})
    write_comparison(tmp_path / "draw_1" / "n5", {"flips": ([0.1], 0.4, 0.3)})
    write_comparison(tmp_path / "draw_1" / "extra", {"features": ([0.4], 0.25, 0.6), "mixup": ([0.3], 0.4, 0.3)})
    method_choice.main([str(tmp_path / "draw_0"), str(tmp_path / "draw_1"), "--score", score])
    assert capsys.readouterr().out.splitlines()[-1] == expected
