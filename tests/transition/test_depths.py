from itertools import pairwise

import numpy as np
import pytest

from add.errors import UserError
from add.transition import RULES, DepthPlan, choose_depths
from add.transition.depths import monotone, reference_positions
from tests import golden

CURVES = golden.load_json("add/adaptive_list")["curves"]
CASES = [pytest.param(curve["total_list"], case, id=f"{name}-{case['amount']}")
         for name, curve in CURVES.items() for case in curve["cases"]]


def falling(num_steps):
    """Return a convex falling curve, the shape of large, clear images."""
    return 100 * np.exp(-np.arange(1, num_steps + 1) / (0.3 * num_steps))


@pytest.mark.parametrize("total_list, case", CASES)
def test_reference_positions_are_the_published_ones(total_list, case):
    """Golden: get_adaptive_list of the ADD code, exactly."""
    before = list(total_list)
    positions, found = reference_positions(total_list, case["amount"])
    assert positions == case["expected"]
    assert found is not case["even_spacing_fallback"]
    assert total_list == before


@pytest.mark.parametrize("total_list, case", CASES)
def test_reference_plan_says_when_the_search_gave_up(total_list, case):
    if case["amount"] > len(total_list):
        with pytest.raises(UserError, match="the number of steps"):
            choose_depths(total_list, case["amount"], "reference")
        return
    plan = choose_depths(total_list[::-1], case["amount"], "reference")  # the published list is reversed
    assert (plan.rule, bool(plan.reason)) == (
        ("uniform", True) if case["even_spacing_fallback"] else ("reference", False))
    assert all(a < b for a, b in pairwise((0, *plan.depths, len(total_list) + 1)))
    if case["strictly_increasing_from_0"]:
        assert list(plan.depths) == case["expected"]


@pytest.mark.parametrize("peaks, expected", [(100, ([100, 101], True)), (101, ([52, 103], False))])
def test_reference_search_gives_up_after_101_tries(peaks, expected):
    """By hand: half is at position `peaks`; the peaks before it are passed over one by one on the way to 90."""
    assert reference_positions([100.0] * peaks + [50.0, 90.0, 0.0], 2) == expected


def test_reference_depths_come_out_mirrored():
    """Positions in the reversed list are depths: an early fall of F becomes late depths."""
    curve = falling(200)
    even, reference = (np.array(choose_depths(curve, 4, rule).depths) for rule in ("even", "reference"))
    assert even[0] < 50 < 100 < reference[0]


@pytest.mark.parametrize("num_steps", [1, 2, 7, 20, 50])
def test_uniform_grid_ends_at_the_last_step(num_steps):
    for amount in range(1, num_steps + 1):
        plan = choose_depths(np.zeros(num_steps), amount)
        assert (plan.rule, plan.reason, len(plan.depths), plan.depths[-1]) == ("uniform", "", amount, num_steps)
        gaps = np.diff((0, *plan.depths))
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 2
    assert choose_depths(np.zeros(num_steps), num_steps).depths == tuple(range(1, num_steps + 1))
    assert choose_depths(np.zeros(num_steps), 1).depths == (num_steps,)


def test_uniform_thousand():
    assert choose_depths(np.zeros(1000), 10).depths == tuple(range(100, 1001, 100))


@pytest.mark.parametrize("amount", [1, 2, 4, 5, 10, 20, 100])
@pytest.mark.parametrize("start, end", [(0.0, 1.0), (612.0, 123.0), (-3.0, 4.0)])
def test_even_on_a_straight_line_is_uniform(amount, start, end):
    curve = np.linspace(start, end, 101)
    plan = choose_depths(curve[1:], amount, "even", start=curve[0])
    assert plan == DepthPlan(choose_depths(curve[1:], amount).depths, "even")


@pytest.mark.parametrize("scale, shift", [(1, 0), (-1, 100), (0.01, -7)])
def test_even_takes_the_first_crossings(scale, shift):
    """By hand: k^2 for k = 1..10 first reaches 25, 50, 75 and 100 at 5, 8, 9 and 10; so does its mirror image."""
    curve = shift + scale * np.arange(1.0, 11) ** 2
    assert choose_depths(curve, 4, "even", start=shift) == DepthPlan((5, 8, 9, 10), "even")


def test_even_without_start_counts_from_the_first_step():
    """By hand: of 2, 3, 5, 6 the way from 2 to 6 is half gone at 5, the third step, not at the second."""
    assert choose_depths([2, 3, 5, 6], 2, "even").depths == (3, 4)
    assert choose_depths([2, 3, 5, 6], 2, "even", start=0).depths == (2, 4)


def test_even_shares_out_the_change_of_F():
    curve, start = falling(1000), 100.0
    plan = choose_depths(curve, 10, "even", start=start)
    assert plan.rule == "even"
    reached = (curve[np.array(plan.depths) - 1] - start) / (curve[-1] - start)
    assert reached == pytest.approx(np.arange(1, 11) / 10, abs=0.005)


STEPS = np.arange(1, 101) / 100
NOT_FOLLOWED = {
    "flat": (np.full(100, 3.5), "flat"),
    "zero": (np.zeros(100), "flat"),
    "zero but for rounding": (1e-14 * np.arange(100), "flat"),
    "flat but for rounding": (20 + 1e-7 * np.sin(np.arange(100)), "flat"),
    "humped": (20 + 10 * np.sin(np.pi * 0.9 * STEPS), "leaves the range"),
    "overshot": (np.interp(STEPS, [0, 0.4, 1], [10, 24, 20]), "by 41%"),
    "first the wrong way": (20 - 8 * np.sin(2 * np.pi * STEPS) + 10 * STEPS, "leaves the range"),
    "one jump": (np.where(STEPS < 0.5, 10.0, 20.0), "within one step"),
}


@pytest.mark.parametrize("curve, reason", NOT_FOLLOWED.values(), ids=NOT_FOLLOWED)
def test_even_says_what_it_could_not_follow(curve, reason):
    plan = choose_depths(curve, 10, "even", start=curve[0])
    assert plan.rule == "uniform"
    assert reason in plan.reason
    assert plan.depths == choose_depths(curve, 10).depths


def test_even_forgives_a_small_overshoot():
    """A fall that ends a little above its lowest point, as on real tissue, is followed."""
    curve = falling(100) + 5 * STEPS**8
    assert curve.min() < curve[-1]
    assert choose_depths(curve, 5, "even", start=100).rule == "even"


# The rule `progress`


@pytest.mark.parametrize("values, expected", [
    ([1, 2, 4], [1, 2, 4]),
    ([3, 1, 5], [2, 2, 5]),
    ([1, 6, 5, 1, 9], [1, 4, 4, 4, 9]),
    ([3, 2, 1], [2, 2, 2]),
])
def test_monotone_by_hand(values, expected):
    """What falls is joined into its mean."""
    assert monotone(values).tolist() == expected


@pytest.mark.parametrize("amount", [1, 2, 4, 10, 20, 100])
@pytest.mark.parametrize("start, end", [(0.0, 1.0), (612.0, 123.0), (-3.0, 4.0)])
def test_progress_on_a_straight_line_is_uniform(amount, start, end):
    curve = np.linspace(start, end, 101)
    plan = choose_depths(curve[1:], amount, "progress", start=curve[0])
    assert plan == DepthPlan(choose_depths(curve[1:], amount).depths, "progress")


def test_progress_inverts_the_curve():
    """By hand: (k / 1000)^2 is 1/4, 1/2, 3/4 and 1 at k = 500, 707.1, 866.0 and 1000."""
    assert choose_depths((np.arange(1, 1001) / 1000) ** 2, 4, "progress", start=0).depths == (500, 707, 866, 1000)


@pytest.mark.parametrize("curve", [
    np.where(STEPS < 0.5, 0.0, 1.0),  # one jump
    np.interp(STEPS, [0, 0.1, 0.9, 1], [0, 0.5, 0.5, 1]),  # a stretch without progress
    np.interp(STEPS, [0, 0.3, 0.5, 1], [0, 1.1, 0.9, 1]),  # beyond the end, and a fall of a fifth
    1 - np.exp(-80 * STEPS),  # all at once, and at the beginning
], ids=["jump", "stretch", "overshoot", "early"])
@pytest.mark.parametrize("amount", [1, 2, 10, 20, 100])
def test_progress_gives_ascending_depths(curve, amount):
    plan = choose_depths(curve, amount, "progress", start=0)
    assert (plan.rule, plan.reason, len(plan.depths), plan.depths[-1]) == ("progress", "", amount, 100)
    assert all(a < b for a, b in pairwise((0, *plan.depths)))


@pytest.mark.parametrize("curve, reason", [
    (np.full(100, 3.5), "flat"),
    (0.009 * STEPS, "flat"),
    (np.sin(np.pi * 0.9 * STEPS), "falls back by 224%"),
], ids=["flat", "hardly anything", "humped"])
def test_progress_says_what_it_could_not_follow(curve, reason):
    plan = choose_depths(curve, 10, "progress", start=curve[0] if reason == "flat" else 0)
    assert (plan.rule, plan.depths) == ("uniform", choose_depths(curve, 10).depths)
    assert reason in plan.reason


@pytest.mark.parametrize("rule", RULES)
def test_the_curve_is_not_changed(rule):
    curve = falling(50) - 40
    before = curve.copy()
    choose_depths(curve, 10, rule)
    np.testing.assert_array_equal(curve, before)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("amount", [0, -1, 51])
def test_amount_out_of_range_is_refused(rule, amount):
    with pytest.raises(UserError, match=f"amount {amount}: expected 1 to 50"):
        choose_depths(falling(50), amount, rule)


def test_unknown_rule_is_refused():
    with pytest.raises(UserError, match="unknown depth rule 'evn': expected one of reference, even, uniform"):
        choose_depths(falling(50), 4, "evn")


@pytest.mark.parametrize("rule", ["reference", "even"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_curve_that_diverged_is_refused(rule, bad):
    curve = falling(50)
    curve[30] = bad
    with pytest.raises(UserError, match="NaN or infinity"):
        choose_depths(curve, 1, rule)
