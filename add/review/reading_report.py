"""The scores of a reading as Markdown, each with a sentence that says how to read it."""
from pathlib import Path

from add.interfaces import Row
from add.review.reading_items import GENERATED, REAL
from add.review.reviewed_labels import FEWEST

_MARKS = str.maketrans({mark: f"\\{mark}" for mark in "\\|`*_<>[]#&$~"})
MOST_REASONS = 20


def report(result: Row) -> str:
    """Return the Markdown of what `score_reading` returned."""
    stages = [_plain(name) for name in result["stages"]]
    scale = f"{result['grades']} grades" if result["grades"] else "a scale"
    lines = [f"# Reading {result['reading']}", "",
             f"{len(result['readers'])} {'readers' if len(result['readers']) > 1 else 'reader'} answered: "
             f"{', '.join(map(_plain, result['readers']))}.",
             f"{result['num_items']} items were shown. Places are {scale} from {stages[0]}, 0, to {stages[1]}, 1."]
    for part in (_real_or_generated, _consistency, _agreement, _places, _rejections):
        lines += ["", *part(result, stages)]
    return "\n".join(lines) + "\n"


def _real_or_generated(result, stages):
    readers = result["readers"] | ({"all readers": result["all"]} if "all" in result else {})
    rows = [[_plain(name), own.get("answered", "-"), _share(own[f"{GENERATED}_taken_for_real"]),
             _share(own[f"{REAL}_taken_for_real"]), _number(own.get("median_seconds"), "s", 1)]
            for name, own in readers.items()]
    lines = ["## Real or generated?", "",
             *_table(["reader", "answers", "generated taken for real", "real taken for real", "median time"], rows),
             "", "Each image counts once; in brackets is the exact 95 % interval (Clopper and Pearson). A reader who "
             "cannot tell them apart takes as many generated images for real as real ones: compare the two columns, "
             "for some readers call nearly everything real. Intervals that overlap say that so few images do not "
             "tell, not that there is no difference."]
    if "all" in result:
        lines.append("The interval of all readers takes their answers on one image for independent, which they are "
                     "not: it is too narrow.")
    return lines


def _consistency(result, stages):
    rows = [[_plain(name), own["repeats"]["pairs"], _share(own["repeats"]["real_same"]),
             _share(own["repeats"]["keep_same"]), _number(own["repeats"]["place_difference"])]
            for name, own in result["readers"].items()]
    return ["## Does a reader say the same twice?", "",
            *_table(["reader", "images shown twice", "same: real or generated", "same: keep or reject",
                     "mean difference of places"], rows), "",
            "No two readers, and no label, can be expected to agree better than a reader's first and second answer."]


def _agreement(result, stages):
    if "agreement" not in result:
        return ["## Do readers agree?", "", "There is one reader: agreement needs two."]
    found = result["agreement"]
    rows = []
    for place, real, keep in zip(found["place"], found["real"]["pairs"], found["keep"]["pairs"], strict=True):
        rows.append([" and ".join(map(_plain, real["readers"])), real["images"], _number(real["cohen"]),
                     _number(keep["cohen"]), _number(place["spearman"]), _number(place["mean_difference"]),
                     *([_number(place.get("kappa_quadratic"))] if result["grades"] else [])])
    heads = ["readers", "images", "kappa: real or generated", "kappa: keep or reject", "places: rank correlation",
             "places: mean difference", *(["grades: quadratic kappa"] if result["grades"] else [])]
    return ["## Do readers agree?", "", *_table(heads, rows), "",
            f"Of all readers on {found['real']['images']} images, Fleiss' kappa: real or generated "
            f"{_number(found['real']['fleiss'])}, keep or reject {_number(found['keep']['fleiss'])}.", "",
            "Kappa is agreement beyond chance: 0 for readers who guess, 1 for readers who always agree, - where all "
            "said one thing alone. It is low where one answer is rare, even if readers hardly ever differ. Readers who "
            "cannot tell real from generated have a kappa near 0, which speaks for the images."]


def _places(result, stages):
    names = [_plain(name) for name in _short_names([own["folder"] for own in result["translations"]])]
    rows = [[name, own["images"], own["answers"], _number(own["spearman"]), _middle(own)]
            for name, own in zip(names, result["translations"], strict=True)]
    lines = ["## Where do readers see the images?", "",
             *_table(["translation", "images", "answers", "rank correlation with the label",
                      "label seen in the middle"], rows), "",
             f"Labels are the share of {stages[1]}. With labels that fit, the readers see the middle at 0.5; the 95 % "
             f"interval in brackets is by a bootstrap of images, and ends at 0 or 1 where the middle is not reached. "
             f"A translation with fewer than {FEWEST} placed images has none.", ""]
    rows = [[_plain(name), *map(_number, own["real_places"]),
             *(cell for part in own["translations"]
               for cell in (_number(part["spearman"]), _number(part["mean_difference"])))]
            for name, own in result["readers"].items()]
    heads = ["reader", *(f"mean place of real {stage}" for stage in stages),
             *(f"{name}: {what}" for name in names for what in ("rank correlation", "mean difference to the label"))]
    return [*lines, *_table(heads, rows), "",
            f"A reader who puts real {stages[0]} far above 0, or real {stages[1]} far below 1, uses a part of the "
            f"scale only. Calibrated labels follow the places as they were given."]


def _rejections(result, stages):
    readers = result["readers"] | ({"all readers": result["all"]} if "all" in result else {})
    rows = [[_plain(name), _share(own[f"{GENERATED}_rejected"]), _share(own[f"{REAL}_rejected"])]
            for name, own in readers.items()]
    lines = ["## Which images are rejected?", "", *_table(["reader", "generated", "real"], rows), "",
             "The share of real images that a reader rejects is what generated ones should be held against."]
    reasons = list(result["reasons"].items())[:MOST_REASONS]
    return [*lines, *([""] if reasons else []), *(f"- {_plain(reason)} ({count})" for reason, count in reasons)]


def _short_names(folders):
    """Return the last parts of the paths of folders, or the whole paths where two end alike."""
    names = [Path(folder).name for folder in folders]
    return names if len(set(names)) == len(names) else folders


def _table(heads, rows):
    return [f"| {' | '.join(map(str, row))} |" for row in (heads, ["---"] * len(heads), *rows)]


def _share(found):
    if not found["of"]:
        return "-"
    return f"{found['count']} of {found['of']}: {found['share']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def _number(value, unit="", digits=2):
    return "-" if value is None else f"{value:.{digits}f} {unit}".rstrip()


def _middle(own):
    if own["middle"] is None:
        return "-"
    found = own["middle"]
    return f"{_number(found['label']) if found['label'] is not None else 'not reached'} " \
           f"({found['low']:.2f} to {found['high']:.2f})"


def _plain(text):
    """Return a name or a reader's words so that Markdown shows them as they are."""
    return text.translate(_MARKS)
