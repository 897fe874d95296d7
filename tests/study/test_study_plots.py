"""Plots of a study: axes that can be read."""
import numpy as np
import pytest
from PIL import Image

from add.results.figures import new_figure
from add.study import study_plots
from add.study.study_plots import plot_labels, plot_scores


def study(auc):
    """Return a result of two methods and sizes whose AUCs are these."""
    def scores(value):
        found = {"mean": value, "low": value - 1e-5, "high": value + 1e-5}
        return {"accuracy": found, "auc": found, "severity_rmse_linked": found | {"low": None, "high": None},
                "severity_rmse_linked_middle": found}

    tests = {"ends": {"flips": scores(auc), "progressive": scores(auc + 1e-5)}}
    labels = {"calibration": {"depth": [(0.1, 0.2), (0.5, 0.4)]}, "by_m": {"0 to 1": [0.2, 0.5]},
              "domain_means": [0.1, 0.9]}
    return {"sizes": {size: {"classification": {"tests": tests}, "labels": labels} for size in ("50", "100")}}


def test_scores_that_nearly_agree_are_labelled_in_full_and_lie_together(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    kept = []

    def keep(*args):
        kept.append(new_figure(*args))
        return kept[-1]

    monkeypatch.setattr(study_plots, "new_figure", keep)
    plot_scores(tmp_path / "scores.png", study(0.99993))
    figure, axes = kept[0]
    for axis in axes.flat:
        low, high = axis.get_ylim()
        assert high - low >= 0.02 and low < 0.9999 < high
        assert axis.yaxis.get_offset_text().get_text() == ""
        shown = [label.get_text() for label in axis.get_yticklabels()]
        assert len(set(shown)) == len(shown) > 2 and "1.000" in shown
    assert np.asarray(Image.open(tmp_path / "scores.png")).std() > 5


def test_a_score_that_no_method_has_leaves_its_place_empty(tmp_path, monkeypatch):
    """A study of an earlier version, or a test set without images of the middle."""
    pytest.importorskip("matplotlib")
    kept = []
    monkeypatch.setattr(study_plots, "new_figure", lambda *args: kept.append(new_figure(*args)) or kept[-1])
    old = study(0.9)
    for size in old["sizes"].values():
        for scores in size["classification"]["tests"]["ends"].values():
            scores.pop("severity_rmse_linked_middle", None)  # both sizes are of the same tests
    plot_scores(tmp_path / "scores.png", old)
    shown = {axis.get_title().split(",")[0]: axis.get_visible() for axis in kept[0][1].flat}
    assert shown == {"accuracy": True, "auc": True, "severity_rmse_linked": True, "severity_rmse_linked_middle": False}


def test_labels_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    plot_labels(tmp_path / "labels.png", study(0.9))
    assert np.asarray(Image.open(tmp_path / "labels.png")).std() > 5
