"""Scores of readers whose answers are known."""
import numpy as np
import pytest

from add.review.reading_answers import Answer, Reader
from add.review.reading_items import GENERATED, REAL, Item
from add.review.reading_key import Key
from add.review.reading_plot import plot_reading
from add.review.reading_report import report
from add.review.reading_scores import placed, score_reading

M = range(1, 9)
LABELS = {f"{m}.png": m / 8 for m in M}


def key(grades=0):
    """Eight generated images, 001 to 008, two real ones of each stage, and 001 and 009 again."""
    items = [Item(f"{m:03}", "", GENERATED, 0, f"{m}.png", m, "") for m in M]
    items += [Item(f"{9 + i:03}", "", REAL, i // 2, f"r{i}.png", 0, "") for i in range(4)]
    items += [Item("013", "001", GENERATED, 0, "1.png", 1, ""), Item("014", "009", REAL, 0, "r0.png", 0, "")]
    return Key("abc", ("mild", "severe"), (0, 1), grades, ("results/t",), {item.item: item for item in items})


def reader(name, real, places, rejected=()):
    """Return a Reader of all 14 items: those in `real` are taken for real."""
    names = [f"{i:03}" for i in range(1, 15)]
    return Reader(name, {item: Answer(item in real, place, item not in rejected, "Blur" if item in rejected else "", 4)
                         for item, place in zip(names, places, strict=True)})


EVEN = [m / 8 for m in M] + [0.1, 0.2, 0.9, 1.0] + [0.25, 0.1]
ANN = reader("Ann", {"001", "002", "009", "010", "011", "012"}, EVEN, {"003"})
BOB = reader("Bob", {"001", "009", "010", "013", "014"}, [place / 2 for place in EVEN], {"003", "004"})


def test_shares_count_every_image_once():
    own = score_reading(key(), [ANN], [LABELS])["readers"]["Ann"]
    taken = own["generated_taken_for_real"]
    assert (taken["count"], taken["of"], taken["share"]) == (2, 8, 0.25) and taken["low"] < 0.25 < taken["high"]
    assert (own["real_taken_for_real"]["count"], own["real_taken_for_real"]["of"]) == (4, 4)
    assert (own["generated_rejected"]["count"], own["real_rejected"]["count"]) == (1, 0)
    assert own["answered"] == 14 and own["median_seconds"] == 4


def test_repeats_measure_the_reader():
    """Ann took 001 and 009 for real at first, and neither the second time; her places of 001 differ by 1/8."""
    own = score_reading(key(), [ANN], [LABELS])["readers"]["Ann"]["repeats"]
    assert own["pairs"] == 2 and own["real_same"]["count"] == 0 and own["keep_same"]["count"] == 2
    assert own["place_difference"] == pytest.approx(1 / 16)


def test_agreement_of_readers():
    """Of 12 images they differ on 002, 011 and 012; Ann says real 6 times, Bob 3 times: chance agreement 1/2."""
    found = score_reading(key(), [ANN, BOB], [LABELS])["agreement"]
    assert found["real"]["images"] == 12 and found["real"]["pairs"][0]["cohen"] == pytest.approx((0.75 - 0.5) / 0.5)
    assert found["real"]["fleiss"] == pytest.approx(1 - (3 / 12) / (2 * 9 / 24 * 15 / 24))
    assert found["place"][0]["spearman"] == pytest.approx(1)
    assert found["place"][0]["mean_difference"] == pytest.approx(np.mean(EVEN[:12]) / 2)
    assert "agreement" not in score_reading(key(), [ANN], [LABELS])


def test_grades_have_their_kappa():
    found = score_reading(key(5), [ANN, BOB], [LABELS])["agreement"]["place"][0]
    assert 0 < found["kappa_quadratic"] < 1


def test_places_of_images_that_were_kept_make_the_curve():
    given, places, images = placed(key(), [ANN], 0, LABELS)
    assert len(given) == 8 and 3 / 8 not in given  # 003 was rejected, 001 counts twice
    assert images.tolist().count(0) == 2
    own = score_reading(key(), [BOB], [LABELS])["translations"][0]
    assert own["middle"]["label"] == pytest.approx(1) and 0.95 < own["spearman"] < 1  # 001, seen twice
    few = Reader("Cy", {name: BOB.answers[name] for name in ("001", "002", "005", "006")})
    assert score_reading(key(), [few], [LABELS])["translations"][0]["middle"] is None


def test_real_images_tell_how_much_of_the_scale_a_reader_uses():
    own = score_reading(key(), [ANN, BOB], [LABELS])["readers"]
    assert own["Ann"]["real_places"] == pytest.approx([0.4 / 3, 0.95])
    assert own["Bob"]["real_places"] == pytest.approx([0.2 / 3, 0.475])


def test_the_report_and_the_picture_say_it(tmp_path):
    odd = reader("A|<b>$x^2$", {"001"}, EVEN, {"003"})
    result = score_reading(key(5), [odd, BOB], [LABELS])
    text = report(result)
    assert r"A\|\<b\>\$x^2\$" in text and "1 of 8: 0.12 (" in text and "- blur (3)" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")
    plot_reading(tmp_path / "review.png", result)
    assert (tmp_path / "review.png").stat().st_size > 10_000


def test_a_reader_of_three_images_has_scores(tmp_path):
    few = Reader("Cy", {name: ANN.answers[name] for name in ("001", "009", "011")})
    result = score_reading(key(), [few, BOB], [LABELS])
    assert "Cy" in report(result)
    plot_reading(tmp_path / "review.png", result)
