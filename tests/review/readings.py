"""A drawn translation whose true places are known, and readers of it."""
import csv
import json

import numpy as np

from add.data.files import save_json, save_png
from add.data.phantom import render
from add.results.translation_series import write_rows

AMOUNT, SIZE = 10, 16
MEANS = (0.15, 0.85)  # severities of the two stages


def true_place(m, source):
    """Return the place on the scale, 0 the first stage: series stay near their source image for long."""
    way = (m / AMOUNT) ** 2
    return way if source == 0 else 1 - way


def write_translation(folder, source, num_sources=4):
    """Draw a translation folder from stage `source`, 0 or 1, to the other one, with labels m/N, and return it."""
    rows = []
    for number in range(num_sources):
        for m in range(1, AMOUNT + 1):
            name = f"images/s{number}_m{m:02d}.png"
            severity = MEANS[0] + (MEANS[1] - MEANS[0]) * true_place(m, source)
            save_png(folder / name, render(severity, SIZE, np.random.default_rng([source, number])))
            label = [0.0, 0.0]
            label[source], label[1 - source] = 1 - m / AMOUNT, m / AMOUNT
            rows.append((name, f"s{number}.png", source, 1 - source, m, 100 * m, *label))
    write_rows(folder / "labels.csv", rows, 2)
    return folder


def write_real(folder, count=8, seed=0):
    """Draw real images of both stages, and return the folder."""
    for stage, (name, severity) in enumerate(zip(("mild", "severe"), MEANS, strict=True)):
        for number in range(count):
            rng = np.random.default_rng([9, seed, stage, number])
            save_png(folder / name / f"r{number}.png", render(severity, SIZE, rng))
    return folder


def rows_of_key(review):
    """Return the rows of a reading's key.csv."""
    with open(review / "key.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_answers(review, name, seed=0, noise=0.1, rejects=(), **changes):
    """Write the answers of a reader who sees true places with normal `noise`, and return their path.

    Args:
        rejects: items that are rejected, without a place. changes: entries of the file to replace.
    """
    rng = np.random.default_rng(seed)
    answers = []
    for row in rows_of_key(review):
        generated = row["kind"] == "generated"
        place = true_place(int(row["m"]), int(row["folder"])) if generated else float(row["folder"])
        place = float(np.clip(place + noise * rng.standard_normal(), 0, 1))
        reject = row["item"] in rejects
        answers.append({"item": row["item"], "real": bool(rng.random() < (0.5 if generated else 0.8)),
                        "place": None if reject else place, "keep": not reject,
                        "reason": "blurred" if reject else "", "seconds": 5.5})
    reading = json.loads((review / "key.json").read_text(encoding="utf-8"))["reading"]
    path = review / f"{name}.json"
    save_json(path, {"format": 1, "reading": reading, "reader": name, "answers": answers} | changes)
    return path
