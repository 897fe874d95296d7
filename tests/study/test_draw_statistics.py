"""What draws say: by hand, and on made draws whose truth is known."""
import numpy as np
import pytest
from scipy import stats

from add.classification.places_file import Places
from add.study.draw_statistics import bootstrap_difference, compare_draws, holm


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


def made_draw(rng, shift, num_groups=40, per_group=5, between=0.02):
    """Return the Places of one draw: an error that a group's images share, and `shift` more for the method a."""
    truth = rng.uniform(size=num_groups * per_group)
    groups = np.repeat(np.arange(num_groups), per_group)
    error = 0.1 + 0.03 * rng.standard_normal(num_groups)[groups]
    own = shift + between * rng.standard_normal()
    return Places({"a": np.stack([truth + error + own] * 2), "b": np.stack([truth + error] * 2)}, truth, groups)


def test_the_bootstrap_covers_the_truth_and_holds_the_spread_of_draws():
    """With draws that differ its interval is as wide as theirs; images alone would make it far narrower."""
    rng = np.random.default_rng(0)
    draws = [made_draw(rng, 0.03) for _ in range(8)]
    low, high = bootstrap_difference(draws, "a", "b", same_tests=False)
    by_draw = [np.subtract(*(np.sqrt(((place.by_method[name] - place.truth) ** 2).mean()) for name in "ab"))
               for place in draws]
    assert low < np.mean(by_draw) < high
    assert high - low == pytest.approx(2 * 1.96 * np.std(by_draw) / np.sqrt(8), rel=0.25)
    alone = bootstrap_difference(draws[:1] * 8, "a", "b", same_tests=False)
    assert alone[1] - alone[0] < 0.3 * (high - low)


def test_images_of_a_group_count_as_one():
    """Ten copies of every image tell no more where they are known to be one group."""
    rng = np.random.default_rng(1)
    truth, error = rng.uniform(size=30), 0.1 * rng.standard_normal((2, 30))
    single = Places({"a": truth + error[:1], "b": truth + error[1:]}, truth, np.arange(30))
    copied = Places({name: np.repeat(own, 10, axis=1) for name, own in single.by_method.items()},
                    np.repeat(truth, 10), np.repeat(np.arange(30), 10))
    apart = copied._replace(groups=np.arange(300))
    widths = [np.subtract(*bootstrap_difference([places], "a", "b", same_tests=True))
              for places in (single, copied, apart)]
    assert widths[0] == pytest.approx(widths[1], rel=1e-6)
    assert abs(widths[2]) < 0.5 * abs(widths[0])


def test_test_images_that_all_draws_have_in_common_are_chosen_for_all_at_once():
    """Of draws that are all alike more tell no more of other test images; with test images of their own they do."""
    rng = np.random.default_rng(2)
    truth, errors = rng.uniform(size=200), 0.1 * rng.standard_normal((2, 200))
    place = Places({"a": truth + errors[:1], "b": truth + errors[1:]}, truth, np.arange(200))
    one, same, own = (np.subtract(*bootstrap_difference([place] * count, "a", "b", same_tests))
                      for count, same_tests in ((1, True), (9, True), (9, False)))
    assert same == pytest.approx(one, rel=0.1) and own == pytest.approx(one / 3, rel=0.15)
