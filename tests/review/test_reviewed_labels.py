"""Labels on the readers' places: the curve, its middle, and who is rejected."""
import numpy as np
import pytest

from add.review.reviewed_labels import Curve, calibrated, fit_curve, middle_interval, rejected_images

LABELS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])


def test_places_that_rise_are_kept_and_others_pooled():
    """The mean of 0.4 and 0.2, which fall, stands for both."""
    curve = fit_curve(LABELS, np.array([0.0, 0.4, 0.2, 0.8, 1.0]))
    np.testing.assert_allclose(curve(LABELS), [0, 0.3, 0.3, 0.8, 1], atol=1e-9)
    np.testing.assert_allclose(curve(np.array([0.625])), [0.55])


@pytest.mark.parametrize(("places", "middle"), [
    ([0.0, 0.25, 0.5, 0.75, 1.0], 0.5), ([0.0, 0.0, 0.2, 0.8, 1.0], 0.625), ([0.1, 0.5, 0.5, 0.6, 0.7], 0.375),
    ([0.5, 0.6, 0.7, 0.8, 0.9], 0.0), ([0.0, 0.1, 0.2, 0.3, 0.4], None), ([0.6, 0.7, 0.8, 0.9, 1.0], None)])
def test_the_middle_is_where_places_cross_a_half(places, middle):
    assert Curve(LABELS, np.array(places)).middle() == (None if middle is None else pytest.approx(middle))


def test_the_interval_of_the_middle_holds_it_and_narrows_with_images():
    rng = np.random.default_rng(1)
    widths = []
    for count in (20, 320):
        labels = rng.integers(1, 11, count) / 10
        places = (labels**2 + 0.2 * rng.standard_normal(count)).clip(0, 1)
        low, high = middle_interval(labels, places, np.arange(count))
        assert low < 0.5**0.5 < high
        widths.append(high - low)
    assert widths[1] < 0.7 * widths[0]


def test_answers_on_one_image_do_not_count_as_several_images():
    rng = np.random.default_rng(2)
    labels = rng.uniform(0, 1, 20)
    places = (labels + 0.2 * rng.standard_normal(20)).clip(0, 1)
    low, high = middle_interval(labels, places, np.arange(20))
    images = np.tile(np.arange(20), 4)
    again = middle_interval(np.tile(labels, 4), np.tile(places, 4), images)
    assert again == pytest.approx((low, high))
    apart = middle_interval(np.tile(labels, 4), np.tile(places, 4), np.arange(80))
    assert apart[1] - apart[0] < 0.8 * (high - low)


def test_half_of_the_verdicts_reject_an_image():
    verdicts = [("a", True), ("a", False), ("b", True), ("b", True), ("b", False), ("c", False)]
    assert rejected_images(verdicts) == {"a", "c"}


def test_calibrated_labels_sum_to_one_between_the_two_stages():
    labels = np.array([[0.6, 0, 0.4], [0, 0, 1.0]])
    np.testing.assert_allclose(calibrated(labels, (0, 2), Curve(np.array([0, 1.0]), np.array([0.2, 0.7]))),
                               [[0.6, 0, 0.4], [0.3, 0, 0.7]])
