"""The plan of several draws: what it fixes, and that a change after results can't be hidden."""
import dataclasses
import json

import pytest

from add.commands.compare import StudyConfig
from add.errors import UserError
from add.study.analysis_plan import PLAN, analysis_plan, digest_of_plan, plan_lines, read_plan, write_plan
from add.study.study_data import StudyImages

GRADED = StudyImages(["mild", "severe"], "all", True, True)
CONFIG = StudyConfig(draws=3, num_train="50,100", methods="flips,mixup,full,progressive")


def test_the_primary_endpoint_is_fixed_beforehand():
    primary = analysis_plan(CONFIG, GRADED)["primary"]
    assert primary == {"endpoint": "severity_rmse_linked", "method": "progressive", "rivals": ["flips", "mixup"],
                       "test": "all", "num_train": 50, "margin": 0.005}
    shrunk = analysis_plan(dataclasses.replace(CONFIG, endpoint="shrunk"), GRADED)
    assert shrunk["primary"]["endpoint"] == "severity_rmse_shrunk" and "severity_rmse_shrunk" not in shrunk["secondary"]
    assert shrunk["secondary"][-3:] == ["severity_rmse_shrunk_middle", "severity_rmse_shrunk_ends",
                                        "severity_rmse_linked"]
    ungraded = analysis_plan(CONFIG, GRADED._replace(graded=False, test="ends"))
    assert ungraded["primary"]["endpoint"] == "auc" and "auc" not in ungraded["secondary"]


def test_only_what_changes_results_is_part_of_it(tmp_path):
    digests = {digest_of_plan(analysis_plan(dataclasses.replace(CONFIG, **change), GRADED))
               for change in ({}, {"jobs": 2}, {"threads": 4}, {"out_dir": "elsewhere"})}
    assert len(digests) == 1
    assert digest_of_plan(analysis_plan(dataclasses.replace(CONFIG, margin=0.01), GRADED)) not in digests


def test_a_change_after_results_is_said(tmp_path):
    plan = analysis_plan(CONFIG, GRADED)
    write_plan(tmp_path, plan)
    before = (tmp_path / PLAN).read_bytes()
    write_plan(tmp_path, plan)
    assert (tmp_path / PLAN).read_bytes() == before
    assert "It was not changed after results were there." in plan_lines(read_plan(tmp_path))
    other = analysis_plan(dataclasses.replace(CONFIG, margin=0.02), GRADED)
    write_plan(tmp_path, other)
    assert "changed on" not in "".join(plan_lines(read_plan(tmp_path)))  # nothing was measured yet
    folder = tmp_path / "draw_0" / "n50" / "classification"
    folder.mkdir(parents=True)
    (folder / "classification.json").write_text("{}")
    write_plan(tmp_path, analysis_plan(dataclasses.replace(CONFIG, margin=0.02, primary="full"), GRADED))
    text = "\n".join(plan_lines(read_plan(tmp_path)))
    assert "when 1 results were there** (options.primary, primary.method;" in text
    assert digest_of_plan(other)[:12] in text and "It was not changed" not in text
    changes = read_plan(tmp_path)["changes"]
    assert changes[-1]["plan"] == other and f"First noted on {changes[0]['noted']}." in text


def test_a_former_endpoint_becomes_a_secondary_score_once(tmp_path):
    """Also after a plan of an earlier version that named no secondary scores."""
    plan = analysis_plan(CONFIG, GRADED)
    write_plan(tmp_path, {name: value for name, value in plan.items() if name != "secondary"})
    write_plan(tmp_path, analysis_plan(dataclasses.replace(CONFIG, endpoint="shrunk"), GRADED))
    secondary = read_plan(tmp_path)["plan"]["secondary"]
    assert secondary.count("severity_rmse_linked") == 1 and "severity_rmse_shrunk" not in secondary


def test_an_option_that_an_earlier_version_did_not_have_is_no_change(tmp_path):
    plan, defaults = analysis_plan(CONFIG, GRADED), dataclasses.asdict(StudyConfig())
    earlier = plan | {"options": {name: value for name, value in plan["options"].items() if name != "unlabelled_dir"}}
    write_plan(tmp_path, earlier)
    write_plan(tmp_path, plan, defaults)
    assert read_plan(tmp_path)["plan"] == earlier and read_plan(tmp_path)["changes"] == []
    write_plan(tmp_path, plan | {"options": plan["options"] | {"unlabelled_dir": "between"}}, defaults)
    assert read_plan(tmp_path)["changes"][0]["changed"] == ["options.unlabelled_dir"]


def test_secondary_scores_stay_those_that_an_earlier_version_noted(tmp_path):
    plan = analysis_plan(CONFIG, GRADED)
    earlier = plan | {"secondary": plan["secondary"][:-1]}
    write_plan(tmp_path, earlier)
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path)["plan"] == earlier and read_plan(tmp_path)["changes"] == []
    other = analysis_plan(dataclasses.replace(CONFIG, margin=0.02), GRADED)
    write_plan(tmp_path, other)
    assert read_plan(tmp_path)["plan"] == other | {"secondary": earlier["secondary"]}


def test_a_plan_of_another_shape_is_refused(tmp_path):
    (tmp_path / PLAN).write_text(json.dumps({"plan": {}}))
    with pytest.raises(UserError, match="plan.json .*restore it, or give another --out_dir"):
        read_plan(tmp_path)
