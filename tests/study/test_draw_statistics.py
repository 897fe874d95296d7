"""What draws say: by hand, and on made draws whose truth is known."""
import numpy as np
import pytest
from scipy import stats

from add.classification.places_file import Places
from add.study.draw_statistics import compare_draws, holm, interval_for_other_tests


def test_a_comparison_is_the_paired_t_test():
    method, rival = [0.10, 0.12, 0.11, 0.13], [0.15, 0.16, 0.17, 0.15]
    found = compare_draws(method, rival, 0.005, less_is_better=True)
    expected = stats.ttest_rel(method, rival)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.difference[1:3] == pytest.approx(tuple(expected.confidence_interval()))
    assert found.verdict == "better" and compare_draws(method, rival, 0.005, less_is_better=False).verdict == "worse"


@pytest.mark.parametrize(("differences", "verdict"), [
    ([0.001, -0.001, 0.0, 0.0005], "the same within the margin"), ([0.1, -0.1, 0.05], "undecided"),
    ([0.01, 0.011, 0.0105], "worse"), ([-0.01, -0.011, -0.0105], "better"), ([-0.2], "undecided"),
    ([-0.001, -0.0011, -0.0012], "the same within the margin"),
    ([0.001, 0.0011, 0.0012], "the same within the margin")])
def test_the_margin_tells_the_same_from_undecided(differences, verdict):
    assert compare_draws(differences, [0.0] * len(differences), 0.005, less_is_better=True).verdict == verdict


def test_equal_draws_have_no_difference():
    found = compare_draws([0.1, 0.2], [0.1, 0.2], 0.0, True)
    assert found[:3] == ((0.0, 0.0, 0.0, 2), None, "the same within the margin")


def test_holm_by_hand():
    """0.01 x 4; 0.02 x 3; 0.03 x 2, no less than the one before; 0.9."""
    assert holm([0.02, 0.9, 0.01, 0.03]) == pytest.approx([0.06, 0.9, 0.04, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def made_draws(rng, count, num_groups=12, per_group=5):
    """Return the Places of draws of the same test images: the method a errs by 0.03 more, by other groups otherwise."""
    truth = np.full(num_groups * per_group, 0.5)
    groups = np.repeat(np.arange(num_groups), per_group)
    harder = 0.03 + 0.03 * rng.standard_normal(num_groups)[groups]  # by how much more a errs on a group
    return [Places({"a": truth + 0.3 + np.stack([harder + 0.02 * rng.standard_normal()] * 2),
                    "b": np.stack([truth + 0.3] * 2)}, truth, groups) for _ in range(count)]


def test_an_interval_for_other_tests_covers_the_truth_where_that_over_draws_does_not():
    """Of 300 studies of five draws, whose test groups are twelve of all."""
    rng = np.random.default_rng(0)
    covered = np.zeros((300, 2))
    for own in covered:
        draws = made_draws(rng, 5)
        by_draw = [np.subtract(*(np.sqrt(((place.by_method[name][0] - place.truth) ** 2).mean()) for name in "ab"))
                   for place in draws]
        for i, (low, high) in enumerate((interval_for_other_tests(draws, "a", "b", repeats=200),
                                         compare_draws(by_draw, [0.0] * 5, 0, True).difference[1:3])):
            own[i] = low < 0.03 < high
    wide, narrow = covered.mean(axis=0)
    assert 0.93 < wide < 0.99 and narrow < wide - 0.04


def test_images_of_a_group_count_as_one():
    """Ten copies of every image tell no more where they are known to be one group."""
    rng = np.random.default_rng(1)
    truth, error = rng.uniform(size=30), 0.1 * rng.standard_normal((2, 30))
    single = Places({"a": truth + error[:1], "b": truth + error[1:]}, truth, np.arange(30))
    copied = Places({name: np.repeat(own, 10, axis=1) for name, own in single.by_method.items()},
                    np.repeat(truth, 10), np.repeat(np.arange(30), 10))
    apart = copied._replace(groups=np.arange(300))
    widths = [np.subtract(*interval_for_other_tests([places] * 2, "a", "b")) for places in (single, copied, apart)]
    assert widths[0] == pytest.approx(widths[1], rel=1e-6)
    assert abs(widths[2]) < 0.5 * abs(widths[0])


def test_more_draws_that_are_alike_tell_no_more_of_other_tests():
    rng = np.random.default_rng(2)
    truth, errors = rng.uniform(size=200), 0.1 * rng.standard_normal((2, 200))
    place = Places({"a": truth + errors[:1], "b": truth + errors[1:]}, truth, np.arange(200))
    two, nine = (np.subtract(*interval_for_other_tests([place] * count, "a", "b")) for count in (2, 9))
    assert nine == pytest.approx(two) and abs(two) > 0.005
    assert interval_for_other_tests([place], "a", "b") is None
    assert interval_for_other_tests([place._replace(groups=np.zeros(200, int))] * 2, "a", "b") is None
