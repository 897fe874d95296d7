"""The plan of a study of several draws: its primary endpoint, margin and analysis, written before anything is measured.

It lies in OUT/plan.json with its SHA-256. Where a later call has other options, the file keeps the plan as it was, when
it was noted, what changed, and how many results were there by then, and the report says so.
"""
import dataclasses
import datetime
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from add.classification.grading import SHRUNK
from add.classification.score_tables import GRADED_BY
from add.data.files import save_json
from add.data.read_back import read_json
from add.interfaces import Row
from add.study.study_data import StudyImages

PLAN = "plan.json"
ENDPOINTS = {"linked": GRADED_BY, "shrunk": SHRUNK}  # the endpoints to choose from where severities are known
UNGRADED_BY = "auc"  # the endpoint where no severity is known
SECONDARY = ("accuracy", "auc", "nll", "calibration_error", "halfway_accuracy", "severity_spearman")
IRRELEVANT = ("threads", "jobs", "restarts", "prepare_only", "out_dir", "estimate", "max_pixels",
              "backend")  # options that change no result
CHANGE = {"date": str, "changed": [str], "sha256": str, "results": int, "noted?": str, "plan?": {str: object}}
SHAPE = {"plan": {str: object}, "sha256": str, "date": str, "changes": [CHANGE]}
KEEP = "restore it, or give another --out_dir"
ANALYSIS = (
    "The unit is a draw: training images, generator and classifiers of its own. A method's value in a draw is the mean "
    "over its classifiers. Intervals are Student's, 95 %, of the differences between two methods in the same draw. "
    "Where the draws have their test images in common, these hold for no others; beside the primary ones stand wider "
    "ones that do, by a bootstrap of groups of test images. The claim is made only where the primary method is better "
    "than every rival by its own interval over draws (an intersection-union test, which needs no correction): better "
    "where the interval leaves out 0, and the same where all of it lies within the margin. Secondary endpoints are "
    "compared with the rival whose mean is best, and their p values are corrected by Holm's method.")


def analysis_plan(config: Any, images: StudyImages) -> Row:
    """Return the plan of a study as a dict of JSON values.

    Args:
        config: the study's options, `add.commands.compare.StudyConfig`. images: of its first draw.
    """
    endpoint = ENDPOINTS[config.endpoint] if images.graded else UNGRADED_BY
    graded = (f"{endpoint}_middle", f"{endpoint}_ends", *ENDPOINTS.values()) if images.graded else ()
    rivals = [method.name for method in config.parsed_methods() if not method.images]
    return {"primary": {"endpoint": endpoint, "method": config.primary, "rivals": rivals, "test": images.test,
                        "num_train": min(config.sizes()), "margin": config.margin},
            "secondary": [score for score in (*SECONDARY, *graded) if score != endpoint],
            "draws": config.draws, "disjoint": images.disjoint, "analysis": ANALYSIS,
            "options": {name: value for name, value in dataclasses.asdict(config).items() if name not in IRRELEVANT}}


def write_plan(out_dir: Path, plan: Row, defaults: Row | None = None) -> None:
    """Write the plan below `out_dir`; where it differs from the one that is there, note what was changed.

    The secondary scores stay those that were noted first: a later version's further ones were not asked beforehand.

    Args:
        defaults: values of options that the plan of an earlier version, which had fewer of them, did not name.
    """
    path = out_dir / PLAN
    changes: list[Row] = []
    if path.exists():
        before = read_plan(out_dir)
        unnamed = {name: value for name, value in (defaults or {}).items() if name in plan["options"]}
        plan = plan | {"secondary": _kept_secondary(before["plan"], plan)}
        if digest_of_plan(plan) in (before["sha256"], digest_of_plan(
                before["plan"] | {"options": unnamed | before["plan"].get("options", {})})):
            return
        changes = [*before["changes"], {
            "date": _now(), "changed": _changed(before["plan"], plan), "sha256": before["sha256"],
            "results": len(list(out_dir.glob("draw_*/n*/classification/classification.json"))),
            "noted": before["date"], "plan": before["plan"]}]
    save_json(path, {"plan": plan, "sha256": digest_of_plan(plan), "date": _now(), "changes": changes})


def read_plan(out_dir: Path) -> Row:
    """Return {"plan", "sha256", "date", "changes"} of a study's folder."""
    return read_json(out_dir / PLAN, SHAPE, KEEP)


def digest_of_plan(plan: Row) -> str:
    """Return the SHA-256 of a plan, as hexadecimal digits."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


def plan_lines(noted: Row) -> list[str]:
    """Return Markdown lines on a plan: its digest and date, and what was changed when results were there."""
    lines = [f"Plan of {noted['date']}, SHA-256 `{noted['sha256']}` (plan.json)."]
    first = noted["changes"][0] if noted["changes"] else {}
    lines += [f"First noted on {first['noted']}."] if "noted" in first else []
    late = [change for change in noted["changes"] if change["results"]]
    lines += [f"**The plan was changed on {change['date']}, when {change['results']} results were there** "
              f"({', '.join(change['changed'])}; before: `{change['sha256'][:12]}`)." for change in late]
    return [*lines, "" if late else "It was not changed after results were there.", "", noted["plan"]["analysis"], ""]


def _kept_secondary(before, plan):
    """Return the secondary scores of an earlier plan; where the endpoint changed, the former one takes its place."""
    endpoint, former = plan["primary"]["endpoint"], before["primary"]["endpoint"]
    kept = [score for score in before.get("secondary", plan["secondary"]) if score not in (endpoint, former)]
    return kept if former == endpoint else [*kept, former]


def _changed(before: Row, after: Row, place: Sequence[str] = ()) -> list[str]:
    """Return the names of the entries in which two plans differ."""
    names: list[str] = []
    for name in sorted({*before, *after}):
        own, other = before.get(name), after.get(name)
        if isinstance(own, dict) and isinstance(other, dict):
            names += _changed(own, other, (*place, name))
        elif own != other:
            names.append(".".join((*place, name)))
    return names


def _now():
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
