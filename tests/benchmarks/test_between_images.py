"""Images between the ends of a study: which ones are taken, and what their distances are held against."""
import json

import numpy as np
import pytest
import torch

from add.data.files import save_png
from add.data.severity_table import write_severity
from add.metrics.kid import squared_mmd
from benchmarks import between_images
from tests.results.series import make_translation


def write_shades(folder, shades):
    """Write grey images of 4 x 4 pixels of their own severity, {domain: [grey level]}, and their table."""
    for domain, levels in shades.items():
        for i, level in enumerate(levels):
            save_png(folder / domain / f"{i}.png", np.full((4, 4, 3), level, np.uint8))
    write_severity(folder, {f"{domain}/{i}.png": float(level) for domain, levels in shades.items()
                            for i, level in enumerate(levels)})


@pytest.fixture
def study(tmp_path):
    """A study of two draws whose stages are darker than 20 and brighter than 180, with translations and samples."""
    for number in (0, 1):
        draw = tmp_path / f"draw_{number}"
        folder = draw / "n4"
        write_shades(folder / "train", {"dark": [0, 20], "bright": [180, 200]})
        write_shades(draw / "test" / "all", {"dark": [10, 40, 70, 90], "bright": [110, 130, 160, 190]})
        make_translation(folder / "progressive" / "translation_0_1", ["a.png", "b.png", "c.png"], amount=5)
        make_translation(folder / "progressive" / "translation_1_0", ["d.png"], amount=5, ends=(1, 0))
        (folder / "classification").mkdir()
        (folder / "classification" / "classification.json").write_text(
            json.dumps({"settings": {"domains": ["dark", "bright"], "first_seed": 0}, "tests": {}}))
        for domain in ("dark", "bright"):
            save_png(folder / "samples" / domain / "0.png", np.full((4, 4, 3), 50 + number, np.uint8))
    (tmp_path / "study_options.json").write_text(json.dumps({"image_size": 4}))
    return tmp_path


def levels(images):
    return sorted(((images[:, 0, 0, 0] + 1) * 127.5).round().int().tolist())


def test_images_are_those_between_the_ends(study):
    """The ends lie at 10 and 190: the middle half from 55 to 145. Steps 2 and 3 of 5 are labelled 0.4 and 0.6."""
    between, sets = between_images.sets_of(study / "draw_0", {"image_size": 4, "num_train": "4"}, 0.25, 0.75)
    assert levels(between) == [70, 90, 110, 130]
    assert levels(sets["middle steps of translations"]) == [20, 20, 30, 30, 40, 50, 60, 70]
    assert levels(sets["full translations of both ends"]) == [50, 50, 70, 90]
    assert levels(sets["training images of both ends"]) == [0, 20, 180, 200]
    mixed = levels(sets[between_images.MIXED])
    assert len(mixed) == between_images.MOST and 72 <= mixed[0] < 80 and 120 < mixed[-1] <= 128


def test_distances_are_those_of_the_draws_and_the_nearest_stands_first(study, monkeypatch, capsys):
    def features(images):
        return images.flatten(1) + torch.arange(3 * 16) / 100

    monkeypatch.setattr(between_images, "load_features", lambda: features)
    between_images.main(["--study", str(study), "--num_train", "4"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 draws, 4, 4 real images between the ends")
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines[4:]]
    assert len(rows) == 5 and [float(row[1].split()[0]) for row in rows] == sorted(
        float(row[1].split()[0]) for row in rows)
    draws = [between_images.sets_of(study / f"draw_{i}", {"image_size": 4, "num_train": "4"}, 0.25, 0.75)
             for i in (0, 1)]
    kid = [[squared_mmd(features(between), features(sets[what])).item() for between, sets in draws]
           for what in ("samples of both ends", between_images.MIXED)]
    (samples,) = (row for row in rows if row[0] == "samples of both ends")
    assert samples[1].startswith(f"{np.mean(kid[0]):.3f} ±")
    assert samples[3] == ", ".join(f"{own - other:+.3f}" for own, other in zip(*kid, strict=True))
