"""What the answers of a reading say: of each reader, of all readers, and of each translation."""
import itertools
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from add.classification.grading import rank_correlation
from add.interfaces import Row
from add.review.agreement import cohen_kappa, exact_interval, fleiss_kappa
from add.review.reading_answers import Answer, Reader
from add.review.reading_items import GENERATED, REAL
from add.review.reading_key import Key
from add.review.reviewed_labels import FEWEST, fit_curve, middle_interval

FEWEST_RANKED = 3  # images of a rank correlation
QUESTIONS: dict[str, Callable[[Answer], bool]] = {"real": lambda answer: answer.real,
                                                  "keep": lambda answer: answer.keep}


def score_reading(key: Key, readers: Sequence[Reader], labels: Sequence[Mapping[str, float]]) -> Row:
    """Return the scores of a reading, JSON values.

    Shares count every image once, at its first showing; places and rejections count every answer.

    Args:
        labels: of each translation, {image: share of the second stage in its soft label}.
    """
    result: Row = {"reading": key.reading, "stages": list(key.stages), "grades": key.grades,
                   "num_items": len(key.items),
                   "readers": {reader.name: _of_reader(key, reader, labels) for reader in readers}}
    if len(readers) > 1:
        result["all"] = _shares(key, readers)
        result["agreement"] = _agreement(key, readers)
    result["translations"] = [_of_translation(key, readers, number, own) for number, own in enumerate(labels)]
    reasons = Counter(answer.reason.lower() for reader in readers for answer in reader.answers.values()
                      if not answer.keep and answer.reason)
    result["reasons"] = dict(reasons.most_common())
    return result


def placed(key: Key, readers: Sequence[Reader], translation: int, labels: Mapping[str, float]
           ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (labels, places, numbers of the images) [n] of all answers that place and keep a translation's images."""
    images = {image: number for number, image in enumerate(labels)}
    rows = [(labels[own.image], answer.place, images[own.image]) for reader in readers
            for own, answer in _answers(key, reader, GENERATED, translation)
            if answer.keep and answer.place is not None]
    columns = np.array(rows, dtype=float).reshape(-1, 3)
    return columns[:, 0], columns[:, 1], columns[:, 2].astype(int)


def verdicts(key: Key, readers: Sequence[Reader], translation: int) -> list[tuple[str, bool]]:
    """Return (image, kept) of all answers on images of a translation."""
    return [(own.image, answer.keep) for reader in readers
            for own, answer in _answers(key, reader, GENERATED, translation)]


def _answers(key, reader, kind, folder=None, repeats=True):
    """Return [(Item, Answer)] of a reader's answers on a kind of images."""
    return [(key.items[name], answer) for name, answer in reader.answers.items() if key.items[name].kind == kind
            and folder in (None, key.items[name].folder) and (repeats or not key.items[name].repeat_of)]


def _shares(key, readers):
    """Return what share of the generated and of the real images was taken for real, and rejected."""
    found: Row = {}
    for kind in (GENERATED, REAL):
        answers = [answer for reader in readers for _, answer in _answers(key, reader, kind, repeats=False)]
        found[f"{kind}_taken_for_real"] = _share(sum(answer.real for answer in answers), len(answers))
        found[f"{kind}_rejected"] = _share(sum(not answer.keep for answer in answers), len(answers))
    return found


def _share(count, total):
    low, high = exact_interval(count, total) if total else (None, None)
    return {"count": count, "of": total, "share": count / total if total else None, "low": low, "high": high}


def _of_reader(key, reader, labels):
    found: Row = {"answered": len(reader.answers), **_shares(key, [reader])}
    found["median_seconds"] = statistics.median(answer.seconds for answer in reader.answers.values())
    found["repeats"] = _consistency(key, reader)
    found["real_places"] = [_mean([answer.place for _, answer in _answers(key, reader, REAL, stage)
                                   if answer.place is not None]) for stage in (0, 1)]
    found["translations"] = []
    for number, own in enumerate(labels):
        given, places, _ = placed(key, [reader], number, own)
        found["translations"].append({"placed": len(places), "spearman": _ranks(places, given),
                                      "mean_difference": float(np.abs(places - given).mean()) if len(places) else None})
    return found


def _consistency(key, reader):
    """Return how a reader's answers on the images that were shown twice agree."""
    pairs = [(reader.answers[first], reader.answers[second]) for first, second in key.repeats()
             if first in reader.answers and second in reader.answers]
    found: Row = {"pairs": len(pairs)}
    for question, ask in QUESTIONS.items():
        found[f"{question}_same"] = _share(sum(ask(first) == ask(second) for first, second in pairs), len(pairs))
    found["place_difference"] = _mean([abs(first.place - second.place) for first, second in pairs
                                       if first.place is not None and second.place is not None])
    return found


def _agreement(key, readers):
    """Return how readers agree: Cohen's kappa of each pair, and Fleiss' of all on the images that all answered."""
    found: Row = {}
    shared = _shared(key, readers)
    for question, ask in QUESTIONS.items():
        found[question] = {"pairs": [], "fleiss": None, "images": len(shared)}
        if shared:
            yes = np.array([sum(ask(reader.answers[name]) for reader in readers) for name in shared])
            found[question]["fleiss"] = fleiss_kappa(np.stack([yes, len(readers) - yes], axis=1))
        for pair in itertools.combinations(readers, 2):
            first, second = ([int(ask(reader.answers[name])) for name in _shared(key, pair)] for reader in pair)
            found[question]["pairs"].append({"readers": [reader.name for reader in pair], "images": len(first),
                                             "cohen": cohen_kappa(first, second, 2)})
    found["place"] = [_places_of(key, pair) for pair in itertools.combinations(readers, 2)]
    return found


def _shared(key, readers):
    """Return the items, each image once, that all of the readers answered."""
    return [name for name, item in key.items.items()
            if not item.repeat_of and all(name in reader.answers for reader in readers)]


def _places_of(key, pair):
    """Return how the places of two readers agree."""
    both = [(pair[0].answers[name].place, pair[1].answers[name].place) for name in _shared(key, pair)]
    both = [places for places in both if None not in places]
    found: Row = {"readers": [reader.name for reader in pair], "images": len(both), "spearman": None,
                  "mean_difference": _mean([abs(first - second) for first, second in both])}
    if both:
        first, second = np.array(both).T
        found["spearman"] = _ranks(first, second)
        if key.grades:
            steps = key.grades - 1
            found["kappa_quadratic"] = cohen_kappa((first * steps).round().astype(int).tolist(),
                                                   (second * steps).round().astype(int).tolist(), key.grades, True)
    return found


def _of_translation(key, readers, number, labels):
    """Return the curve of a translation's labels and places, and the label that readers see in the middle."""
    given, places, images = placed(key, readers, number, labels)
    found: Row = {"folder": key.translations[number], "images": len(set(images.tolist())), "answers": len(places),
                  "spearman": _ranks(places, given), "points": [given.tolist(), places.tolist()]}
    if found["images"] < FEWEST:
        return found | {"curve": None, "middle": None}
    curve = fit_curve(given, places)
    low, high = middle_interval(given, places, images)
    return found | {"curve": [curve.labels.tolist(), curve.places.tolist()],
                    "middle": {"label": curve.middle(), "low": low, "high": high}}


def _ranks(first, second):
    return rank_correlation(first, second) if len(first) >= FEWEST_RANKED else None


def _mean(values):
    return float(np.mean(values)) if values else None
