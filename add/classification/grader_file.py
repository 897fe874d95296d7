"""A grader in files: grader.safetensors with every tensor, grader.json with all else, and README.md, its card."""
from pathlib import Path

import torch

from add.classification.classifier_methods import parse_method
from add.classification.familiarity import SHARE_OUTSIDE, Familiarity
from add.classification.grader import COVERAGE, Calibration, Grader
from add.classification.grading import Link, Shrinkage
from add.data.files import save_json, write_atomically
from add.data.read_back import damaged, read_json
from add.errors import UserError
from add.interfaces import PathLike, Row
from add.training.checkpoints import read_state, save_safetensors

WEIGHTS, SETTINGS, CARD = "grader.safetensors", "grader.json", "README.md"
LINK = ("low", "high", "borders")  # what a Link consists of
AGAIN = "copy the whole folder again, or train the grader anew in another --grader_dir"
SHAPE = {"domains": [str], "image_size": int, "method": str, "network": str, "heads": str, "num_members": int,
         "temperature": float, "width": float, "shrinkage?": {"middle": float, "slope": float}, "limit": float,
         "facts": {str: object}}
SCORES = {"accuracy": "accuracy", "auc": "area under the ROC curve", "calibration_error": "calibration error",
          "nll": "negative log-likelihood"}


def save_grader(folder: PathLike, grader: Grader) -> None:
    """Write a `Grader`; its settings come last, so that a folder with them is whole."""
    folder, calibration = Path(folder), grader.calibration
    tensors = {f"member{i}.{name}": value for i, state in enumerate(grader.states) for name, value in state.items()}
    for name in LINK:
        tensors[f"link.{name}"] = torch.stack([getattr(link, name) for link in calibration.links])
    if calibration.lines is not None:
        tensors["lines"] = calibration.lines
    tensors["offsets"] = calibration.offsets
    tensors["known"] = grader.familiarity.known
    save_safetensors(folder / WEIGHTS, tensors)
    write_atomically(folder / CARD, lambda file: file.write(card(grader).encode()))
    save_json(folder / SETTINGS, {
        "domains": list(grader.domains), "image_size": grader.image_size, "method": grader.method,
        "network": grader.network, "heads": grader.heads, "num_members": len(grader.states),
        "temperature": calibration.temperature, "width": calibration.width,
        "shrinkage": calibration.shrinkage._asdict(), "limit": grader.familiarity.limit, "facts": grader.facts})


def load_grader(folder: PathLike) -> Grader:
    """Return the `Grader` in a folder.

    Raises:
        UserError: there is none, or its files are damaged or do not fit each other.
    """
    folder = Path(folder)
    if not (folder / SETTINGS).is_file():
        raise UserError(f"{folder} holds no finished grader: expected {SETTINGS} and {WEIGHTS}, as `add grade "
                        f"--data_dir ... --grader_dir {folder}` writes them; give that folder, or --data_dir to train "
                        f"one")
    found = read_json(folder / SETTINGS, SHAPE, AGAIN)
    if "shrinkage" not in found:
        raise UserError(f"{folder / SETTINGS} was written by an earlier version, which did not shrink severities: "
                        f"expected how; remove that file and give --data_dir as before, and the same classifiers are "
                        f"calibrated anew")
    tensors = read_state(folder / WEIGHTS)
    parse_method(found["method"])
    try:
        states = [{name.removeprefix(f"member{i}."): value for name, value in tensors.items()
                   if name.startswith(f"member{i}.")} for i in range(found["num_members"])]
        links = tuple(Link(*(tensors[f"link.{name}"][i] for name in LINK))
                      for i in range(found["num_members"]))
        calibration = Calibration(found["temperature"], tensors["offsets"], found["width"], links,
                                  tensors.get("lines"), Shrinkage(**found["shrinkage"]))
        grader = Grader(tuple(found["domains"]), found["image_size"], found["method"], found["network"],
                        found["heads"], tuple(states), calibration,
                        Familiarity(tensors["known"].half(), found["limit"]), found["facts"])
    except (KeyError, IndexError) as error:
        raise damaged(folder / WEIGHTS, f"it lacks {error}", f"the tensors that {SETTINGS} tells of", AGAIN) from error
    grader.networks()
    return grader


def card(grader: Grader) -> str:
    """Return the model card (Mitchell et al. 2019, arXiv:1810.03993) of a grader as Markdown."""
    facts = grader.facts
    lines = [f"# Grader: {' to '.join(grader.domains)}", "",
             "**Not for diagnosis.** A research model; no one has validated it for patients.", "",
             f"It gives an image of {grader.image_size} pixels a probability of each class, and a severity from 0, "
             f"{grader.domains[0]}, to 1, {grader.domains[-1]}.", "", "## Training", "",
             f"- Classifiers: {len(grader.states)} x {grader.network}, method `{grader.method}`, heads "
             f"{grader.heads}.", *(f"- {name}: {value}" for name, value in _training(facts)), "",
             "## Validation", "",
             f"{facts['num_validation']} images of the classes, {_groups(facts['validation_groups'])}. The ensemble "
             f"before calibration:", "", "| score | value |", "| --- | --- |",
             *(f"| {words} | {facts['validation'][name]:.3f} |" for name, words in SCORES.items()), "",
             f"These images also fixed the temperature ({grader.calibration.temperature:.2f}), the intervals, how far "
             f"severities are drawn to the middle (slope {grader.calibration.shrinkage.slope:.2f}) and the limit of "
             f"what is familiar, so that the scores say little about images of other groups.", "",
             "## Limits", "",
             f"- Intervals of severity hold {COVERAGE:.0%} of images of the classes themselves. Between the classes "
             f"they show how far the classifiers disagree, and no more is promised.",
             f"- An image is called out of domain where it lies further from all known images than {SHARE_OUTSIDE:.0%} "
             f"of those that belong. Another scanner, stain or tissue may pass unnoticed.",
             "- Severity is a place between the classes as classifiers see them, not a measurement of disease.", ""]
    return "\n".join(lines)


def _training(facts: Row) -> list[tuple[str, str]]:
    counts = ", ".join(f"{count} {name}" for name, count in facts["num_train"].items())
    found = [("Real images", f"{counts}, {_groups(facts['train_groups'])}, from {facts['data_dir']}")]
    if facts["num_generated"]:
        found.append(("Generated images", f"{facts['num_generated']}, from {facts['generated_from']}, "
                                          f"{facts['share']:.0%} of each batch"))
    return found


def _groups(number: int | None) -> str:
    return "of unknown groups" if number is None else f"of {number} groups"
