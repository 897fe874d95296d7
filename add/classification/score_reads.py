"""How to read each score of a classifier, and which way is better."""
from collections.abc import Iterable

READS = {  # in the order of the tables
    "accuracy": "larger is better: share of images whose likeliest class is theirs",
    "macro_f1": "larger is better: mean of the classes' F1, each class counting alike",
    "auc": "larger is better: share of pairs of images that are in the right order, whatever the threshold",
    "calibration_error": "smaller is better: distance of the likeliest class's probability from the share that is "
                         "right, in 15 bins of equal width; few images, or hardly any errors, say little about it",
    "nll": "smaller is better: mean negative log-likelihood of the true class, in nats",
    "halfway_accuracy": "larger is better: share of images on the right side of the thresholds half way between the "
                        "classes' validation means, so that no border's place is punished",
    "kappa_quadratic": "larger is better: agreement of these classes with the true grades, an error of two grades "
                       "counting four times one; 0 is chance. Means nothing for classes without an order",
    "halfway_accuracy_head": "larger is better: share of images whose nearest grade by the severity head is theirs",
    "kappa_quadratic_head": "larger is better: kappa_quadratic of these grades",
    "severity_spearman": "larger is better: rank correlation of log-odds and severity; it needs no scale",
    "severity_rmse_linked": "smaller is better: error of the place of the log-odds between the validation means of the "
                            "first class, 0, and the last, 1; compare methods by this or by the shrunk one",
    "severity_rmse_shrunk": "smaller is better: error of these places drawn towards the middle, by how much those of "
                            "one class scatter among the validation images; to be held against placing every image "
                            "half way",
    "severity_rmse": "not to compare methods by: error of the probability, which is large for hard labels however "
                     "well they grade",
    "severity_spearman_head": "larger is better: rank correlation of the severity head's output and severity",
    "severity_rmse_head": "smaller is better: error of the severity head's own output, which needs no link; to be "
                          "compared with severity_rmse_linked",
}
PARTS = {  # endings of names
    "_ends": "of the images whose severity lies in a training band, or beyond the outer ones",
    "_middle": "of the images strictly between the training bands, where no real image was trained on",
}


def reading_lines(scores: Iterable[str]) -> list[str]:
    """Return Markdown lines that say how to read these scores, a list with a line each; parts are said once."""
    scores = list(scores)
    lines = [f"- {score}: {sentence}" for score, sentence in READS.items() if score in scores]
    return lines + [f"- {part}: {sentence}" for part, sentence in PARTS.items()
                    if any(score.endswith(part) for score in scores)]


def lower_is_better(score: str) -> bool:
    """Return whether the smaller of two values of a score is the better one."""
    for part in PARTS:
        score = score.removesuffix(part)
    return not READS[score].startswith("larger is better")
