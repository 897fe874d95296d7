"""Shapes of generated cells: on drawn ellipses, whose axes are known."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from add.data.files import save_png
from add.data.severity_table import write_severity
from add.results.translation_series import write_rows

pytest.importorskip("skimage")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import cell_shapes


def cell(ratio, side=32, turn=30):
    """Return the image of a dark ellipse of these axes on light ground, its longer half axis 0.3 of the side."""
    big = Image.new("RGB", (8 * side, 8 * side), (230, 220, 225))
    middle, half = 4 * side, 8 * side * 0.3
    ImageDraw.Draw(big).ellipse([middle - half, middle - half * ratio, middle + half, middle + half * ratio],
                                fill=(150, 60, 90))
    turned = big.rotate(turn, Image.Resampling.BICUBIC, fillcolor=(230, 220, 225))
    return np.asarray(turned.resize((side, side), Image.Resampling.BOX))


@pytest.mark.parametrize("ratio", [1.0, 0.85, 0.6])
def test_an_ellipse_has_its_axes(ratio):
    assert cell_shapes.elongation(cell(ratio)) == pytest.approx(1 - ratio, abs=0.02)


def test_no_cell_has_none():
    assert np.isnan(cell_shapes.elongation(np.full((32, 32, 3), 200, np.uint8)))
    assert np.isnan(cell_shapes.elongation(np.roll(cell(0.8), 12, axis=1)))  # beside the middle


def write_cells(folder, ratios):
    """Write ellipses, {domain: [axis ratio]}, and the table of 1 less their ratios."""
    rows = {f"{domain}/{i}.png": ratio for domain, own in ratios.items() for i, ratio in enumerate(own)}
    for name, ratio in rows.items():
        save_png(folder / name, cell(ratio))
    write_severity(folder, {name: 1 - ratio for name, ratio in rows.items()})


def write_translation(folder, ends, ratios):
    """Write a series of ellipses for one source, labelled m / N."""
    rows = []
    for m, ratio in enumerate(ratios, start=1):
        label = [1 - m / len(ratios), m / len(ratios)][::1 if ends == (0, 1) else -1]
        rows.append((f"images/s_m{m}.png", "0.png", *ends, m, 10 * m, *label))
        save_png(folder / rows[-1][0], cell(ratio))
    write_rows(folder / "labels.csv", rows, 2)


def test_steps_are_placed_between_the_training_cells_and_labels_held_against_them(tmp_path, capsys):
    """Ends at 1 and 0.6: there the cells come as far as labelled, back by half, a mean label 0.25 too low."""
    draw, folder = tmp_path / "draw_0", tmp_path / "draw_0" / "n2"
    write_cells(folder / "train", {"round": [1.0, 1.0], "long": [0.6, 0.6]})
    write_cells(draw / "test" / "all", {"round": [1.0, 0.9], "long": [0.7, 0.6]})
    write_translation(folder / "progressive" / "translation_0_1", (0, 1), [0.8, 0.6])
    write_translation(folder / "progressive" / "translation_1_0", (1, 0), [0.7, 0.8])
    (folder / "classification").mkdir()
    (folder / "classification" / "classification.json").write_text(
        json.dumps({"settings": {"domains": ["round", "long"], "first_seed": 0}, "tests": {}}))
    (tmp_path / "study_options.json").write_text(json.dumps({"image_size": 32}))
    (found, same), steps, labels = cell_shapes.read_draw(draw, {"image_size": 32, "num_train": "2"})
    assert found == 1 and same > 0.99
    assert steps["round to long"] == pytest.approx([0.0, 0.5, 1.0], abs=0.06)
    assert steps["long to round"] == pytest.approx([1.0, 0.75, 0.5], abs=0.06)
    measured, rank, error, bias = labels["translations, labels by depth"]
    assert measured == 1 and rank > 0.7
    assert error == pytest.approx(np.sqrt((0.25**2 + 0.5**2) / 4), abs=0.06)
    assert bias == pytest.approx(-(0.25 + 0.5) / 4, abs=0.06)
    assert labels["translations, all labelled one half"][1] == 0
    cell_shapes.main(["--study", str(tmp_path), "--num_train", "2", "--plot", str(tmp_path / "steps.png")])
    assert len(Image.open(tmp_path / "steps.png").convert("RGB").getcolors(2**24)) > 10
    said = capsys.readouterr().out
    assert f"| round to long | 0.00 | {steps['round to long'][1]:.2f} | " in said
    assert "| pairs of real cells, mixed | " in said
