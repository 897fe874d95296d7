import sys

import numpy as np
import pytest
from PIL import Image

from add.results.figures import new_figure, set_margins
from add.results.run_view import panels_of
from add.training import loop
from add.training.training_curves import draw_curves
from tests.training.runs import start


@pytest.mark.parametrize("every, expected", [(0, [["1", "2"], ["1", "2", "3"]]), (1000, [["1", "2", "3"]])])
def test_curves_are_drawn_at_saves_some_time_apart_and_at_the_end(tmp_path, images, monkeypatch, every, expected):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(loop, "CURVES_EVERY", every)
    drawn = []

    def draw(path, rows):
        drawn.append([row["step"] for row in rows])
        draw_curves(path, rows)

    monkeypatch.setattr(loop, "draw_curves", draw)
    start(tmp_path / "run", images, max_steps=3, save_interval=2, val_fraction=0.3).run()
    assert drawn == expected
    assert np.asarray(Image.open(tmp_path / "run" / "curves.png").convert("L")).std() > 5
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_rows_that_lack_columns_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [{"step": "1", "loss": "5", "lr": "", "minutes": "0.1"}, {"step": "2", "loss": "0.1", "val_loss": "nan"}]
    draw_curves(tmp_path / "a.png", rows)
    draw_curves(tmp_path / "b.png", [])
    assert (tmp_path / "a.png").exists() and (tmp_path / "b.png").exists()


def test_curves_of_one_panel_are_in_the_same_unit():
    """A weighted loss is not drawn beside the plain held-out error; a classifier's cross-entropy is."""
    assert panels_of([{"loss": "0.01", "mse": "0.1", "val_loss": "0.1"}])["error"] == ("mse", "val_loss")
    assert panels_of([{"loss": "0.7", "accuracy": "0.5", "val_loss": "0.7"}])["error"] == ("loss", "val_loss")


def test_margins_and_gaps_are_in_inches():
    pytest.importorskip("matplotlib")
    figure, axes = new_figure(3, 2, (10, 8))
    set_margins(figure, left=1.0, right=0.5, bottom=0.6, top=0.2, between=(0.3, 0.4))
    boxes = [[axis.get_position().extents * [10, 8, 10, 8] for axis in row] for row in axes]
    assert boxes[2][0][:2] == pytest.approx([1, 0.6]) and boxes[0][1][2:] == pytest.approx([9.5, 7.8])
    gaps = boxes[0][1][0] - boxes[0][0][2], boxes[0][0][1] - boxes[1][0][3]
    assert gaps == pytest.approx((0.3, 0.4))


def test_kid_has_a_panel_of_its_own_where_there_is_any(tmp_path):
    rows = [{"step": "1", "minutes": "0.1", "mse": "0.2", "kid_x1000": ""},
            {"step": "2", "minutes": "0.2", "mse": "0.1", "kid_x1000": "-0.3"}]
    assert list(panels_of(rows)) == ["error", "learning rate", "seconds a step", "KID x 1000"]
    assert "KID x 1000" not in panels_of(rows[:1])
    pytest.importorskip("matplotlib")
    heights = []
    for number in (1, 2):
        draw_curves(tmp_path / "curves.png", rows[:number])
        with Image.open(tmp_path / "curves.png") as picture:
            heights.append(picture.height)
    assert heights[1] == heights[0] * 10 / 8


@pytest.mark.parametrize("error, said", [
    (ImportError("matplotlib"), "matplotlib is not installed"), (RuntimeError("no font"), "RuntimeError: no font")])
def test_a_picture_that_fails_is_told_of_once_and_training_goes_on(tmp_path, images, monkeypatch, error, said):
    def fail(path, rows):
        raise error

    monkeypatch.setattr(loop, "draw_curves", fail)
    monkeypatch.setattr(loop, "CURVES_EVERY", 0)
    notes = []
    trainer = start(tmp_path / "run", images, note=notes.append, max_steps=3, save_interval=1)
    trainer.run()
    assert trainer.finished and [said in text for text in notes if "curves.png" in text] == [True]
    assert not (tmp_path / "run" / "curves.png").exists()
