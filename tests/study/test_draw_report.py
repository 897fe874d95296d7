"""The report of several draws: its table of generators, from what was measured in each draw."""
import json

import pytest

from add.study import draw_report
from add.study.draw_statistics import BETTER
from add.study.study_tables import COMPARED, KID


def measured(kid):
    """Return what `add evaluate` writes of a set, the first metric at `kid`, and that of real images at 0.01."""
    return {"metrics": {name: {"fake": kid, "real": 0.01} for name in COMPARED}}


def write_draws(root, draws):
    """Write {set of images: KID} of each draw below ROOT/draw_I/n50, and return these folders."""
    folders = [root / f"draw_{i}" / "n50" for i in range(len(draws))]
    for folder, sets in zip(folders, draws, strict=True):
        (folder / "classification").mkdir(parents=True)
        (folder / "classification" / "classification.json").write_text(
            json.dumps({"settings": {"domains": ["mild", "severe"], "first_seed": 0}, "tests": {}}))
        for name, kid in sets.items():
            (folder / "metrics" / name).mkdir(parents=True)
            (folder / "metrics" / name / "evaluation.json").write_text(json.dumps(measured(kid)))
    return folders


def test_generators_and_real_images_stand_in_the_order_of_their_distance(tmp_path):
    """Means over both domains, then over the draws; a set that one draw lacks has no row."""
    sets = {"samples_mild": 0.2, "samples_severe": 0.4, "other_mild": 0.1, "other_severe": 0.1,
            "progan_mild": 0.5, "progan_severe": 0.5}
    lacks = {name: kid + 0.1 for name, kid in sets.items() if name != "progan_severe"}
    found = draw_report._generators(write_draws(tmp_path, [sets, lacks]))
    assert {name: own[KID] for name, own in found.items()} == {
        "unconditional": pytest.approx([0.3, 0.4]), "other": pytest.approx([0.1, 0.2]), "real": [0.01, 0.01]}
    rows = [line for line in draw_report._generator_lines("50", found) if line.startswith("| ")][2:]
    assert [row.split(" | ")[0] for row in rows] == ["| real", "| other", "| unconditional"]
    half = 12.7062 * 0.05  # Student's t of one degree of freedom, times the standard error
    assert rows[2].split(" | ")[1] == f"0.3500 ± {half:.4f}"


def test_sets_that_are_too_small_to_be_measured_stand_last(tmp_path):
    """Of fewer than ten images there is no KID, and of fewer still nothing at all."""
    folders = write_draws(tmp_path, [{"other_mild": 0.1, "other_severe": 0.1, "samples_mild": None,
                                      "samples_severe": None, "progan_mild": 0.3, "progan_severe": 0.5}] * 2)
    rows = [line for line in draw_report._generator_lines("50", draw_report._generators(folders))
            if line.startswith("| ")][2:]
    assert [row.split(" | ")[0] for row in rows] == ["| real", "| other", "| progan", "| unconditional"]
    assert rows[-1].count(" |  |") and rows[1].split(" | ")[2] == ""  # controls have their KID alone
    few = write_draws(tmp_path / "few", [{"samples_mild": None, "samples_severe": None, "other_mild": 0.1,
                                          "other_severe": 0.1}] * 2)
    assert draw_report._generator_lines("50", draw_report._generators(few)) == []


def test_a_study_without_generated_images_has_no_table_of_them(tmp_path):
    assert draw_report._generator_lines("50", draw_report._generators(write_draws(tmp_path, [{}, {}]))) == []


@pytest.mark.parametrize(("bounds", "said"), [((-0.011, -0.001), True), ((-0.030, -0.006), False)])
def test_a_claim_says_where_its_gain_may_be_less_than_the_margin(bounds, said):
    row = {"rival": "flips", "difference": (sum(bounds) / 2, *bounds), "verdict": BETTER}
    plan = {"draws": 6, "primary": {"method": "full", "endpoint": "severity_rmse_linked", "margin": 0.005}}
    claim = draw_report.claim({"plan": {"plan": plan}, "primary": [row]})
    assert claim.startswith("**full is better than every method without generated images** in 6 draws")
    assert ("may be less than the margin of 0.005" in claim) == said
