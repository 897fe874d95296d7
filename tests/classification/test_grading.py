"""Places and grades against values worked out by hand; no straight change of log-odds alters them."""
import math

import numpy as np
import pytest
import torch

from add.classification import classifier_runs
from add.classification.classifier import ClassifierConfig
from add.classification.grading import (
    DomainSeverities,
    border_log_odds,
    fit_link,
    fit_shrinkage,
    head_scores,
    linked_scores,
    of_a_class,
    quadratic_kappa,
    severity_scores,
)
from add.classification.labelled_images import Labelled, expected_positions
from add.errors import UserError

ENDS = torch.tensor([0, 0, 1, 1])
SOFTMAX = ("severity_rmse", "severity_rmse_ends", "severity_rmse_middle")
LN3, LN7 = math.log(3), math.log(7)


def two_classes(probabilities):
    """Return the logits [n, 2] whose probabilities of class 1 these are."""
    return log_odds(*(math.log(p / (1 - p)) for p in probabilities))


def log_odds(*values):
    """Return logits [n, 2] with these log-odds of class 1."""
    values = torch.tensor([float(value) for value in values])
    return torch.stack([torch.zeros(len(values)), values], dim=1)


def of_borders(values):
    """Return logits float64 [n, K] with these log-odds [n, K - 1] to lie above each border, falling in a row."""
    above = torch.cat([torch.ones(len(values), 1), values.sigmoid(), torch.zeros(len(values), 1)], dim=1)
    return (above[:, :-1] - above[:, 1:]).log()


def known(*means, bands=((0.0, 0.0), (1.0, 1.0))):
    return DomainSeverities(list(means), list(bands))


def scores_of(logits, severity, means, validation=None):
    """Return the scores of two classes, linked by validation log-odds of -1 and 1."""
    link = fit_link(log_odds(-1, 1) if validation is None else validation, torch.tensor([0, 1]))
    classes = torch.arange(len(logits)) % 2
    return linked_scores(logits, classes, link, np.array(severity), known(*means))


def test_two_classes_by_hand():
    """Validation log-odds of -3, -1 and 1, 5 make the line from -2 (0) to 3 (1); 0.5, its middle, parts the classes."""
    link = fit_link(log_odds(-3, -1, 1, 5), ENDS)
    assert link.positions(log_odds(-9, -2, 0.5, 2, 9)).tolist() == pytest.approx([0, 0, 0.5, 0.8, 1])
    assert link.classes(log_odds(-9, 0.4, 0.6, 9)).tolist() == [0, 0, 1, 1]
    found = linked_scores(log_odds(-9, 0.4, 2), torch.tensor([0, 1, 1]), link, np.array([0.2, 0.47, 0.9]),
                          known(0.2, 0.8))
    assert found["halfway_accuracy"] == pytest.approx(2 / 3)  # the second image, whose probability is 0.6, is too low
    assert found["severity_rmse_linked"] == pytest.approx(math.sqrt((0 + 0.03**2 + 0.2**2) / 3), abs=1e-6)
    assert linked_scores(log_odds(-9, 0.4, 2), torch.tensor([0, 1, 1]), link).keys() == {"halfway_accuracy"}


def test_an_image_exactly_half_way_is_of_no_class_but_graded():
    """Trained on grades 0 and 2: whatever folder those of grade 1 lie in, scores of classes leave them out."""
    severity, link = np.array([0.0, 1, 1, 2]), fit_link(log_odds(-1, 1), torch.tensor([0, 1]))
    assert of_a_class(severity, known(0, 2), 4).tolist() == [True, False, False, True]
    logits = log_odds(-3, -2, 0.5, 2)
    for classes in ([0, 0, 0, 1], [0, 1, 1, 1], [0, 1, 0, 1]):
        found = linked_scores(logits, torch.tensor(classes), link, severity, known(0, 2))
        assert found["halfway_accuracy"] == 1
        assert found["severity_rmse_linked"] == pytest.approx(math.sqrt((0.5**2 + 0.25**2) / 4))
        head = head_scores(torch.tensor([0.1, 0.2, 0.8, 0.9]), torch.tensor(classes), 2, severity, known(0, 2))
        assert head["halfway_accuracy_head"] == 1
    assert of_a_class(severity[1:3], known(0, 2), 2).all()  # else none would be left
    assert of_a_class(None, known(0, 2), 3).all() and of_a_class(severity, None, 4).all()
    assert of_a_class(np.array([0.5, 1, 1.6]), known(0, 1, 2), 3).tolist() == [False, True, True]


def test_classes_scores_leave_out_what_is_half_way_and_intervals_too(tmp_path):
    data = Labelled(torch.zeros(6, 3, 2, 2), torch.eye(2)[[0, 0, 0, 1, 1, 1]])
    test = classifier_runs.TestSet("all", data, np.array([0.0, 1, 0, 2, 2, 2]), list("abcdef"), list("ppqqrr"))
    validation = Labelled(torch.zeros(2, 3, 2, 2), torch.eye(2))
    runs = classifier_runs.ClassifierRuns(tmp_path, data, validation, {}, ClassifierConfig())
    reading = classifier_runs.Reading(log_odds(-1, 3, -2, 2, 1, -2), log_odds(-1, 1), None)
    scores, ends = (found(reading, test, known(0, 2)) for found in (runs.score, runs.group_intervals))
    assert scores["accuracy"] == scores["halfway_accuracy"] == pytest.approx(4 / 5)
    assert ends["accuracy"][0] < 4 / 5 < ends["accuracy"][1] == 1


def test_the_border_of_two_classes_has_their_log_odds():
    assert border_log_odds(log_odds(-40, 0.5, 2)).tolist() == [[-40], [0.5], [2]]


def test_three_classes_by_hand():
    """Odds of 1:1:6 in some order. For 1:2:1 the borders lie at ln 3 and -ln 3, their places at 2 ln 3 / ln 21 and
    (ln 7 - ln 3) / ln 21, whose mean is 1/2; the middle class's are 1 and 0."""
    odds = torch.tensor([[6.0, 1, 1], [1, 6, 1], [1, 1, 6]])
    torch.testing.assert_close(border_log_odds(odds.log()),
                               torch.tensor([[-LN3, -LN7], [LN7, -LN7], [LN7, LN3]], dtype=torch.float64))
    link = fit_link(odds.log(), torch.arange(3))
    assert link.borders.tolist() == pytest.approx([0.25, 0.75])
    assert link.positions(odds.log()).tolist() == pytest.approx([0, 0.5, 1])
    assert link.positions(torch.tensor([[1.0, 90, 10]]).log()).item() == 0.5  # above one border, below the other
    given = torch.tensor([[1.0, 2, 1], [90, 1, 1], [2, 1, 1]]).log()
    first = (2 * LN3 / math.log(21), (LN7 - LN3) / math.log(21))
    even = (LN3 / math.log(21), (LN7 - LN3) / math.log(21))  # 2:1:1 lies at 0 and -ln 3
    assert link.positions(given).tolist() == pytest.approx([sum(first) / 2, 0, sum(even) / 2])
    assert link.classes(given).tolist() == [1, 0, 1]


@pytest.mark.parametrize("num_classes", [2, 3, 4])
@pytest.mark.parametrize(("factor", "shift"), [(0.2, 0.0), (3.0, 0.0), (1.0, -1.5), (2.0, 0.7)])
def test_a_straight_change_of_log_odds_leaves_linked_scores(num_classes, factor, shift):
    """A temperature, or a bias; what the softmax says changes."""
    generator = torch.Generator().manual_seed(0)
    severity = torch.linspace(0, 1, 60, dtype=torch.float64)
    borders = torch.arange(1, num_classes) / num_classes
    values = 5 * (severity[:, None] - borders) + 0.4 * torch.randn(60, 1, generator=generator)
    classes = (severity[:, None] > borders).sum(dim=1)
    held_out = torch.arange(0, 60, 2)
    plain, changed = (linked_scores(logits, classes, fit_link(logits[held_out], classes[held_out]), severity.numpy(),
                                    known(0.1, 0.9, bands=((0, 0.3), (0.7, 1))))
                      for logits in (of_borders(values), of_borders(factor * values + shift)))
    linked = [{score: value for score, value in found.items() if score not in SOFTMAX} for found in (plain, changed)]
    assert linked[1] == pytest.approx(linked[0], abs=1e-9) and plain["severity_rmse_linked"] < 0.2
    assert abs(plain["severity_rmse"] - changed["severity_rmse"]) > 0.004


def test_places_of_three_classes_do_not_saturate_with_confidence():
    """At ten times the logits the softmax knows whole grades only; places move by less than a hundredth."""
    severity = torch.linspace(0, 1, 40, dtype=torch.float64)
    logits = -40 * (severity[:, None] - torch.tensor([0.0, 0.5, 1.0])) ** 2
    classes = (2 * severity).round().long()
    plain, bold = (fit_link(c * logits, classes).positions(c * logits) for c in (1, 10))
    assert (plain - bold).abs().max() < 0.01 and len(bold.unique()) > 30
    grades = expected_positions((10 * logits).softmax(dim=1))
    assert ((grades * 2 - (grades * 2).round()).abs() < 0.02).double().mean() > 0.8


@pytest.mark.parametrize("num_classes", [2, 3])
def test_better_grading_is_seen(num_classes):
    generator = torch.Generator().manual_seed(0)
    severity = torch.linspace(0, 1, 80, dtype=torch.float64)
    borders = torch.arange(1, num_classes) / num_classes
    classes = (severity[:, None] > borders).sum(dim=1)
    noise = torch.randn(80, 1, generator=generator)
    good, bad = (linked_scores(logits, classes, fit_link(logits, classes), severity.numpy(), known(0.2, 0.8))
                 for logits in (of_borders(5 * (severity[:, None] - borders) + by * noise) for by in (0.2, 3)))
    assert good["severity_rmse_linked"] < bad["severity_rmse_linked"] - 0.1
    assert all(good[score] > bad[score] + 0.1 for score in ("halfway_accuracy", "severity_spearman"))


def test_a_classifier_that_can_not_tell_the_ends_apart_places_everything_half_way():
    found = scores_of(log_odds(-1, 3), [0.0, 1.0], (0, 1), validation=log_odds(2, 1))
    assert (found["halfway_accuracy"], found["severity_rmse_linked"]) == (0.5, 0.5)


def test_shrunk_places_by_hand():
    """Places 0.1, 0.3 and 0.7, 0.9: a rise of 0.6, a noise of 0.02, and 0.6 / (0.36 + 0.24) = 1; others likewise."""
    apart = fit_shrinkage(torch.tensor([0.1, 0.3, 0.7, 0.9]), ENDS, 2)
    assert apart == pytest.approx((0.5, 1))
    assert apart.places(torch.tensor([0, 0.1, 1])).tolist() == pytest.approx([0, 0.1, 1])
    mixed = fit_shrinkage(torch.tensor([0, 0.6, 0.2, 1]), ENDS, 2)  # rise 0.3, noise (0.18 + 0.32) / 2
    assert mixed == pytest.approx((0.45, 0.3 / 3.09))
    near = [0.5 - 0.135 / 3.09, 0.5, 0.5 + 0.165 / 3.09]
    assert mixed.places(torch.tensor([0, 0.45, 1])).tolist() == pytest.approx(near)
    classes = torch.tensor([0, 0, 0, 0, 1, 1])  # twice as many of the first: noise (0.36 + 0.32) / 4
    assert fit_shrinkage(torch.tensor([0, 0.6, 0, 0.6, 0.2, 1]), classes, 2) == pytest.approx((0.45, 0.3 / 2.13))
    threes = torch.arange(6) % 3
    exact = fit_shrinkage(torch.tensor([0, 0.3, 0.6] * 2), threes, 3)  # no noise: the line from ends to ends
    assert exact.places(torch.tensor([0, 0.15, 0.6, 0.9])).tolist() == pytest.approx([0, 0.25, 1, 1])
    bent = fit_shrinkage(torch.tensor([0, 0.2, 1] * 2), threes, 3)  # how far means are from their line is noise
    assert bent == pytest.approx((0.4, 1 / (1 + 12 * 2 * (0.01 + 0.04 + 0.01) / 3)))
    alone = fit_shrinkage(torch.tensor([0.1, 0.9]), torch.tensor([0, 1]), 2)  # nothing tells how far places scatter
    assert alone.places(torch.tensor([0, 1])).tolist() == [0.5, 0.5]


def test_shrunk_places_err_least_of_all_lines_where_all_places_are_equally_likely():
    generator = torch.Generator().manual_seed(0)
    truth, noise = torch.rand(20000, generator=generator).double(), 0.4 * torch.randn(20000, generator=generator)
    read = 0.2 + 0.6 * truth + noise
    classes = torch.arange(20000) % 2  # of the ends, as far off
    found = fit_shrinkage(0.2 + 0.6 * classes + noise, classes, 2)
    slope = np.cov(read, truth)[0, 1] / read.var().item()
    assert found.slope == pytest.approx(slope, rel=0.05) and found.middle == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("places", [[0.5] * 4, [0.6, 0.6, 0.4, 0.4]])
def test_places_that_say_nothing_shrink_to_the_middle(places):
    assert fit_shrinkage(torch.tensor(places), ENDS, 2).places(torch.tensor([0, 0.3, 1])).tolist() == [0.5] * 3


def test_shrunk_places_of_a_poor_classifier_err_less_than_half_way_and_those_of_a_good_one_stay():
    generator = torch.Generator().manual_seed(0)
    severity = torch.cat([torch.linspace(0, 0.3, 100), torch.linspace(0.7, 1, 100)]).double()
    noise, classes = torch.randn(200, generator=generator), (severity > 0.5).long()
    errors = {}
    for scatter in (0.05, 0.6):
        logits = torch.stack([torch.zeros(200), severity - 0.5 + scatter * noise], dim=1)
        link = fit_link(logits[::2], classes[::2])
        shrinkage = fit_shrinkage(link.positions(logits[::2]), classes[::2], 2)
        errors[scatter] = linked_scores(logits[1::2], classes[1::2], link, severity[1::2].numpy(), known(0.15, 0.85),
                                        shrinkage)
    half_way = math.sqrt(((known(0.15, 0.85).positions(severity[1::2].numpy()) - 0.5) ** 2).mean())
    assert errors[0.05]["severity_rmse_shrunk"] == pytest.approx(errors[0.05]["severity_rmse_linked"], abs=0.02)
    assert errors[0.6]["severity_rmse_shrunk"] < half_way - 0.02 < errors[0.6]["severity_rmse_linked"] - 0.02


def test_the_softmax_error_by_hand():
    """Means 0.2 and 0.8 put severities 0.2, 0.5, 0.8 at 0, 0.5, 1; probabilities 1/4, 1/2, 3/4 err by 1/4, 0, 1/4."""
    found = scores_of(two_classes([0.25, 0.5, 0.75]), [0.2, 0.5, 0.8], (0.2, 0.8))
    assert found["severity_spearman"] == pytest.approx(1.0)
    assert found["severity_rmse"] == pytest.approx(math.sqrt(0.125 / 3), abs=1e-6)


def test_the_expected_grade_by_hand():
    probabilities = torch.tensor([[0.25, 0.5, 0.25], [0.5, 0.25, 0.25], [0, 0, 1]])
    assert expected_positions(probabilities).tolist() == pytest.approx([0.5, 0.375, 1])


def test_severities_beyond_the_means_count_as_the_means():
    inner, outer = (scores_of(two_classes([0.25, 0.5, 0.75]), severity, (0.2, 0.8))
                    for severity in ([0.2, 0.5, 0.8], [0.0, 0.5, 1.0]))
    assert outer == pytest.approx(inner)


def test_reversed_grading_is_seen():
    found = scores_of(two_classes([0.75, 0.5, 0.25]), [0.2, 0.5, 0.8], (0.2, 0.8))
    assert found["severity_spearman"] == pytest.approx(-1.0)
    assert found["severity_rmse"] == pytest.approx(math.sqrt(2 * 0.75**2 / 3), abs=1e-6)


def test_rank_correlation_sees_saturated_logits():
    found = scores_of(log_odds(42, 44, 46), [0.1, 0.2, 0.3], (0, 1))
    assert found["severity_spearman"] == pytest.approx(1.0)


def test_constant_scores_have_no_rank_correlation():
    found = scores_of(two_classes([0.5, 0.5, 0.5]), [0.1, 0.5, 0.9], (0.1, 0.9))
    assert found["severity_spearman"] == 0
    assert found["severity_rmse"] == pytest.approx(math.sqrt((0.25 + 0 + 0.25) / 3))


@pytest.mark.parametrize(("bands", "middle"), [
    ([(0.0, 0.3), (0.7, 1.0)], [0.31, 0.5, 0.69]),
    ([(0.7, 1.0), (0.0, 0.3)], [0.31, 0.5, 0.69]),  # severity falls with the class
    ([(0.0, 0.3), (0.5, 0.6), (0.69, 1.0)], [0.31]),
    ([(0.0, 0.6), (0.5, 1.0)], []),
])
def test_the_middle_lies_strictly_between_neighbouring_bands(bands, middle):
    severity = np.array([0.0, 0.3, 0.31, 0.31, 0.5, 0.69, 0.7, 1.1])
    parts = known(0, 1, bands=bands).parts(severity)
    assert sorted(set(severity[parts["middle"]])) == middle if middle else parts == {}
    assert not middle or (parts["ends"] ^ parts["middle"]).all()


def test_ends_and_middle_are_scored_apart():
    """Places 0, 1, 0.5, 0.9 of severities 0, 1, 0.5, 0.6: faultless at the ends, wrong by 0 and 0.3 in the middle."""
    found = severity_scores({"severity_spearman": torch.tensor([0.0, 1, 0.5, 0.4])},
                            {"severity_rmse_linked": torch.tensor([0.0, 1, 0.5, 0.9], dtype=torch.float64)},
                            np.array([0, 1, 0.5, 0.6]), known(0, 1, bands=((0, 0.3), (0.7, 1))))
    assert found == pytest.approx({
        "severity_spearman": 0.8, "severity_spearman_ends": 1, "severity_spearman_middle": -1,
        "severity_rmse_linked": 0.15, "severity_rmse_linked_ends": 0,
        "severity_rmse_linked_middle": 0.3 / math.sqrt(2)})


def test_a_test_set_of_one_part_is_not_parted():
    found = scores_of(log_odds(-1, 0, 1), [0, 0.1, 0.9], (0, 1))
    assert not any(score.endswith(("_ends", "_middle")) for score in found)


def test_quadratic_kappa_by_hand():
    """0, 0, 1, 2 for 0, 2, 1, 2: one error of two grades, 4 / 4; over all 16 pairs squares are 0 4 1 4, 0 4 1 4,
    1 1 0 1 and 4 0 1 0, 26 together."""
    assert quadratic_kappa(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 2, 1, 2])) == pytest.approx(1 - 16 / 26)


def test_quadratic_kappa_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randint(4, (2, 50), generator=generator)
    expected = metrics.cohen_kappa_score(first, second, weights="quadratic")
    assert quadratic_kappa(first, second) == pytest.approx(expected, abs=1e-12)
    assert quadratic_kappa(first, first) == 1 and quadratic_kappa(torch.ones(3), torch.ones(3)) == 0


def test_an_error_of_two_grades_weighs_more():
    truth = torch.tensor([0, 0, 1, 1, 2, 2])
    assert quadratic_kappa(torch.tensor([1, 0, 1, 1, 2, 2]), truth) > quadratic_kappa(
        torch.tensor([2, 0, 1, 1, 2, 2]), truth)


def test_grades_of_three_classes_have_a_kappa_and_two_have_none():
    logits = torch.tensor([[6.0, 1, 1], [1, 6, 1], [1, 1, 6]]).log()
    found = linked_scores(logits, torch.arange(3), fit_link(logits, torch.arange(3)))
    assert found == {"halfway_accuracy": 1, "kappa_quadratic": 1}


def test_domains_of_one_mean_severity_are_refused():
    with pytest.raises(UserError, match="both have mean severity 0.5"):
        scores_of(log_odds(-1, 1), [0.1, 0.9], (0.5, 0.5))
