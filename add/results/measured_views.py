"""What a results page shows of measurements and of sets: the tables that their commands wrote, plots, pictures, facts.

Every view is {"lead": what it is, "reads": how to read it, "blocks": of `read_blocks`, "plots": of
`add.results.page_plots`, "pictures": [{"url", "caption"}], "used": [facts]}; what it has not may lack.
"""
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from add.data.folders import CONTACT_SHEET
from add.data.read_back import read_json, read_rows
from add.interfaces import Row
from add.results.labels_by_place import LABEL, labels_by_place, place_table
from add.results.markdown_blocks import read_blocks, table_block
from add.results.page_plots import interval_plot, line_plot
from add.results.translation_view import relative_url
from add.results.used_facts import as_text, read_facts

NUMBER = (None, float)
EVALUATION = {"by_m": {str: [float]}, "settings": {"fake_dir": str, "real_dir": str}}
CLASSIFICATION = {"tests": {str: {str: {str: {"mean": float, "low": NUMBER, "high": NUMBER}}}}}
LIKELIHOOD = {"bits_per_dim": float, "prior_bits_per_dim": float, "num_images": int, "num_trained_on": int,
              "interval": {"low": NUMBER, "high": NUMBER}}
POINTS = {"states": {str: {"mean": [float], "std": [float]}}, "cycle_error?": {str: float}}
PLOTTED = {"accuracy": "Share of images whose likeliest class is theirs: further right is better.",
           "severity_rmse_linked": "Error of the graded severity: further left is better."}
KEPT = ("ssim", "edge_agreement")  # measures of the same pixels in source and target, not of places
INTERVALS = (" The line is the 95 % confidence interval over seeds, within 0 and 1; which methods differ is told by "
             "the paired differences in the tables.")


def _within(bound):
    """Return an end of the interval of a share or an error, which few seeds may carry beyond what is possible."""
    return None if bound is None else min(max(bound, 0.0), 1.0)


def evaluation_view(folder: Path, base: Path) -> Row:
    """Return the view of a folder that `evaluate` wrote."""
    found = read_json(folder / "evaluation.json", EVALUATION)
    settings, lines = found["settings"], _by_m(found["by_m"])
    return {"lead": f"Images of {settings['fake_dir']} held against real ones of {settings['real_dir']}.",
            "reads": "Each number stands beside what real images get in the place of generated ones: that is the best "
                     "that could be hoped for. Small sets move every number; compare only what was measured on as many "
                     "images.",
            "blocks": _report(folder / "evaluation.md"),
            "plots": _plots(
                line_plot("place between the domains", "step m", {name: line for name, line in lines.items()
                                                                  if name not in KEPT},
                          "By several measures: 0 at the source, 1 at the target. A straight line is even progress."),
                line_plot("what is kept of the source", "step m", {name: line for name, line in lines.items()
                                                                   if name in KEPT},
                          "1 for the source image itself. It falls as texture and color change; where it falls to "
                          "nearly 0, structures were lost.")),
            "pictures": _pictures(folder, base, {"closest.png": "The generated images nearest to a training image, and "
                                                 "that image. Pairs that look the same would be copies."}),
            "used": [{"title": "How it was measured",
                      **read_facts(folder / "evaluation.json", "settings", ("metrics", "by_m", "notes"))}]}


def classification_view(folder: Path, base: Path) -> Row:
    """Return the view of a folder that `classify` wrote."""
    tests = read_json(folder / "classification.json", CLASSIFICATION)["tests"]
    plots = [interval_plot(f"{score}, test set {test}",
                           {method: (own[score]["mean"], _within(own[score]["low"]), _within(own[score]["high"]))
                            for method, own in methods.items() if score in own}, reads + INTERVALS)
             for test, methods in tests.items() for score, reads in PLOTTED.items()]
    return {"lead": "Classifiers trained with and without generated images.",
            "reads": "Every row is a way to train. A gain counts only where its interval does not hold 0.",
            "blocks": _report(folder / "classification.md"), "plots": _plots(*plots),
            "used": [{"title": "How it was measured", **read_facts(folder / "classification.json", "settings",
                                                                   ("tests",))}]}


def study_view(folder: Path, base: Path) -> Row:
    """Return the view of a folder that `compare` wrote."""
    return {"lead": "A study from training to tables, for several sizes of the training set.",
            "reads": "The plots first: a method helps where its line lies apart from the others' by more than its "
                     "interval. The commands of every step stand in the tables, to repeat any of them.",
            "blocks": _report(folder / "study.md"),
            "pictures": _pictures(folder, base, {
                "scores.png": "Scores by the number of training images, with intervals over seeds.",
                "labels.png": "Soft labels against measured severity: a rule is right where its points lie on the "
                              "diagonal."}),
            "used": [{"title": "How it was run", **read_facts(folder / "study.json", "options", ("sizes",))}]}


def draws_view(folder: Path, base: Path) -> Row:
    """Return the view of a study of several draws."""
    return {"lead": "A study repeated with other training images, models and classifiers, by a plan noted beforehand.",
            "reads": "The first sentence of the report is the answer. An interval over draws holds for other images of "
                     "the kind, too; one over the seeds of a single draw does not.",
            "blocks": _report(folder / "draws.md"),
            "pictures": _pictures(folder, base, {
                "draws.png": "Every method in every draw (grey), and its mean with a 95 % interval over the draws."}),
            "used": [{"title": "The plan", **read_facts(folder / "plan.json", "plan", ("changes",))}]}


def likelihood_view(folder: Path, base: Path) -> Row:
    """Return the view of a folder that `image_nll` wrote."""
    found = read_json(folder / "nll.json", LIKELIHOOD)
    terms = folder / "terms.csv"
    rows = read_rows(terms, {"timestep": int, "vb": float}) if terms.is_file() else []
    lines = {"vb": [(row["timestep"], row["vb"]) for row in rows]} if rows else {}
    interval = found["interval"]
    return {"lead": f"{found['bits_per_dim']:.4g} bits per dimension over {found['num_images']} images.",
            "reads": "Smaller means that the model finds the images likelier. It finds images that it was trained on "
                     "likelier than new ones.",
            "blocks": [table_block(["measure", "value"], [
                ["bits per dimension", as_text(found["bits_per_dim"])],
                ["95 % interval", "-" if interval["low"] is None else
                 f"{as_text(interval['low'])} to {as_text(interval['high'])}"],
                ["of them of the prior", as_text(found["prior_bits_per_dim"])],
                ["images", as_text(found["num_images"])], ["trained on", as_text(found["num_trained_on"])]])],
            "plots": _plots(line_plot("terms of the bound", "timestep", lines,
                                      "What each timestep adds, in bits per dimension.", by_factors=True)),
            "used": [{"title": "How it was measured", **read_facts(folder / "nll.json", shown=("images",))}]}


def points_view(folder: Path, base: Path) -> Row:
    """Return the view of a folder of point sets: samples, a translation, or a cycle."""
    found = read_json(folder / "run.json", POINTS)
    blocks = [table_block(["set", "mean", "standard deviation"], [[name, as_text(own["mean"]), as_text(own["std"])]
                                                                   for name, own in found["states"].items()])]
    if "cycle_error" in found:
        blocks += [table_block(["error of the way there and back", "L2 distance"],
                               [[name.replace("_", " "), as_text(value)]
                                for name, value in found["cycle_error"].items()])]
    return {"lead": f"Points in the plane: {', '.join(found['states'])}.",
            "reads": "Every point keeps its color from set to set. A latent should look like a round "
                     "normal cloud of mean 0 and standard deviation 1; after a cycle every color should be back.",
            "blocks": blocks,
            "pictures": _pictures(folder, base, {"overview.png": "All sets, as points above and as heat maps below."}),
            "used": [{"title": "How they were made",
                      **read_facts(folder / "run.json", shown=("states", "cycle_error"))}]}


def samples_view(folder: Path, base: Path) -> Row:
    """Return the view of a folder of samples."""
    count = read_json(folder / "run.json", {"num_images": int})["num_images"]
    return {"lead": f"{count} samples.",
            "reads": "Look for what repeats, for parts that do not fit together, and for what real images have and "
                     "these lack. Numbers say little about that; add evaluate adds them.",
            "pictures": _pictures(folder, base, {CONTACT_SHEET: "The first samples, at most 100, as they came: none "
                                                 "was chosen."}),
            "used": [{"title": "How they were made", **read_facts(folder / "run.json")}]}


def labels_view(folder: Path, title: str) -> Row:
    """Return {"plot", "blocks"} of the label rules of a translation folder; {} where it has no other than m / N."""
    by_m = labels_by_place(folder)
    plot = line_plot(title, "step m", _by_m(by_m), "Mean label of the target domain by step.")
    if len(by_m) < 3 or plot is None:  # m, and the rule of labels.csv
        return {}
    return {"blocks": read_blocks("\n".join(place_table(by_m))), "plot": plot}


def _report(path: Path) -> list[Row]:
    """Return the blocks of a report without its title, which the page has."""
    blocks = read_blocks(path.read_text(encoding="utf-8", errors="replace"))
    return blocks[1:] if blocks and blocks[0].get("level") == 1 else blocks


def _by_m(by_m: Mapping[str, list[Any]]) -> dict[str, list[tuple[float, float]]]:
    """Return the lines of columns by m, named after their rules, without an m that has no value; none without m."""
    return {name.removeprefix(LABEL): [(m, value) for m, value in zip(by_m.get("m", []), column, strict=False)
                                       if value is not None]
            for name, column in by_m.items() if name != "m"}


def _plots(*plots: Row | None) -> list[Row]:
    return [plot for plot in plots if plot is not None]


def _pictures(folder: Path, base: Path, captions: Mapping[str, str]) -> list[Row]:
    return [{"url": relative_url(folder / name, base), "caption": caption} for name, caption in captions.items()
            if (folder / name).is_file()]
