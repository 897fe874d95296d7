"""Pages of training runs, measurements, samples and points: their tables, plots, pictures, and what is damaged."""
import re

import numpy as np
import pytest

from add.data import save_json, save_png
from add.errors import UserError
from add.results.labels_by_place import labels_by_place
from add.results.measured_views import _by_m, labels_view
from add.results.report_page import page_line, renew_page, write_page
from add.results.run_view import training_view
from add.results.translation_series import read_series, write_labels
from tests.results.series import GREY, make_run, make_translation

SCORE = {"mean": 0.5, "low": 0.4, "high": 0.6}


def make_evaluation(folder):
    save_json(folder / "evaluation.json", {
        "metrics": {}, "notes": [], "by_m": {"m": [1, 2], "label_depth": [0.5, 1.0], "ssim": [0.9, 0.7]},
        "settings": {"fake_dir": "made", "real_dir": "real"}, "versions": {"torch": "9.9"}})
    (folder / "evaluation.md").write_text("# made against real\n\n| metric | fake |\n| --- | --- |\n| kid | 0.123 |\n")
    save_png(folder / "closest.png", GREY)


def make_classification(folder):
    save_json(folder / "classification.json", {
        "tests": {"ends": {"plain": {"accuracy": SCORE}, "<i>full": {"accuracy": SCORE | {"low": None, "high": None}}}},
        "settings": {"seeds": 2}})
    (folder / "classification.md").write_text("| method | accuracy |\n| --- | --- |\n| <i>full | 0.5 |\n")


def make_points(folder):
    save_json(folder / "run.json", {"states": {"source": {"mean": [0.1, 0.2], "std": [1.0, 1.1]}},
                                    "cycle_error": {"mean": 0.0123}, "options": {"seed": 3}})
    for name in ("scatter_source.png", "overview.png"):
        save_png(folder / name, GREY)


def make_samples(folder):
    save_json(folder / "run.json", {"num_images": 7, "options": {"seed": 3}})
    save_png(folder / "contact_sheet.png", GREY)


def make_likelihood(folder):
    save_json(folder / "nll.json", {"bits_per_dim": 3.25, "prior_bits_per_dim": 0.01, "num_images": 4, "images": [],
                                    "num_trained_on": 1, "interval": {"low": 3.0, "high": 3.5}})
    (folder / "terms.csv").write_text("timestep,vb,mse,xstart_mse\n0,0.5,1,1\n1,0.01,1,1\n")


def make_study(folder):
    save_json(folder / "study.json", {"sizes": {}, "options": {"seeds": 2}})
    (folder / "study.md").write_text("# Study: phantom\n\n## 8 training images\n\nRun `add compare` again.\n")
    save_png(folder / "scores.png", GREY)


def make_draws(folder):
    save_json(folder / "draws.json", {"sizes": {}})
    save_json(folder / "plan.json", {"plan": {"draws": 6}, "sha256": "1234", "date": "today", "changes": []})
    (folder / "draws.md").write_text("# phantom: 6 draws\n\n**full is better than none of the 2 methods**.\n")
    save_png(folder / "draws.png", GREY)


KINDS = {  # what makes a folder, what its page says, how many plots it has
    "run": (make_run, ["Training to step 120 in 12 s", "held out", "KID x 1000", "torch 9.9"], 8),
    "evaluation": (make_evaluation, ["Images of made held against real ones of real", "0.123", "closest.png"], 2),
    "classification": (make_classification, ["accuracy, test set ends", "&lt;i&gt;full"], 1),
    "points": (make_points, ["Points in the plane: source", "0.1, 0.2", "0.0123", "overview.png"], 0),
    "samples": (make_samples, ["7 samples", "contact_sheet.png"], 0),
    "likelihood": (make_likelihood, ["3.25 bits per dimension over 4 images", "3 to 3.5"], 1),
    "draws": (make_draws, ["full is better than none", "draws.png", "1234"], 0),
    "study": (make_study, ["8 training images", "<code>add compare</code>", "scores.png"], 0),
}


def text_of(path):
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_of_each_kind(kind, tmp_path):
    make, told, plots = KINDS[kind]
    make(tmp_path / kind)
    text = text_of(write_page([tmp_path / kind]))
    for words in told:
        assert words in text, words
    assert len(re.findall(r'<figure class="plot">', text)) == plots
    assert "<i>" not in text


def test_several_folders_become_one_page(tmp_path):
    """Those given, and those that lie directly in them."""
    make_translation(tmp_path / "mine" / "translation_0_1", ["a.png"])
    make_evaluation(tmp_path / "mine" / "evaluation")
    make_run(tmp_path / "runs" / "mild")
    make_run(tmp_path / "runs" / "severe")
    path = write_page([tmp_path / "mine", tmp_path / "runs"], tmp_path / "all.html")
    titles = re.findall(r'<h2 id="part\d-title">(.+?)</h2>', text_of(path))
    assert titles == ["Step by step", "Evaluation: evaluation", "Training: mild", "Training: severe"]
    assert 'src="mine/evaluation/closest.png"' in text_of(path)


def test_the_page_around_is_renewed_where_there_is_one(tmp_path):
    make_translation(tmp_path / "mine" / "translation_0_1", ["a.png"])
    write_page([tmp_path / "mine"])
    make_evaluation(tmp_path / "mine" / "evaluation")
    assert renew_page(tmp_path / "mine" / "evaluation") == tmp_path / "mine" / "evaluation" / "index.html"
    assert "Evaluation: evaluation" in text_of(tmp_path / "mine" / "index.html")
    (tmp_path / "index.html").write_text("<p>of someone else</p>")
    renew_page(tmp_path / "mine")
    assert text_of(tmp_path / "index.html") == "<p>of someone else</p>"


def test_a_command_does_not_fail_with_its_page(tmp_path):
    make_evaluation(tmp_path)
    assert page_line(tmp_path) == f"to look at: {tmp_path / 'index.html'}"
    (tmp_path / "evaluation.json").write_text("{")
    assert page_line(tmp_path).startswith(f"no page to look at was written: {tmp_path}/evaluation.json is damaged")


def test_label_rules_are_drawn_beside_each_other(tmp_path):
    folder = make_translation(tmp_path / "translation_0_1", ["a.png"]).path
    assert '<figure class="plot">' not in text_of(write_page([tmp_path]))
    write_labels(folder / "labels_classifier.csv", read_series(folder), np.array([[0.5, 0.5]] * 4))
    text = text_of(write_page([tmp_path]))
    assert "Not shown" not in text
    (folder / "labels_broken.csv").write_text("image\n")
    assert "labels_broken.csv is damaged" in text_of(write_page([tmp_path]))
    assert text.count('<figure class="plot">') == 1 and "where classifiers of the two domains put the image" in text


def test_previews_are_in_the_order_of_steps(tmp_path):
    folder = make_run(tmp_path / "run")
    save_png(folder / "samples1000000.png", GREY)  # as in a folder to pass on
    assert training_view(folder, tmp_path)["previews"] == [
        {"step": 40, "url": "run/samples/samples000040.png"}, {"step": 80, "url": "run/samples/samples000080.png"},
        {"step": 1000000, "url": "run/samples1000000.png"}]


def test_rows_that_were_cut_short_are_passed_over(tmp_path):
    folder = make_run(tmp_path / "run")
    with open(folder / "progress.csv", "a") as file:
        file.write("130,0.1")
    view = training_view(folder, tmp_path)
    assert view["lead"] == "Training to step 130." and len(view["plots"]) == 8


def test_a_long_training_stays_small(tmp_path):
    folder = make_run(tmp_path / "run", rows=3000)
    assert write_page([folder]).stat().st_size < 100_000


@pytest.mark.parametrize(("kind", "file", "content"), [
    ("run", "progress.csv", b"\xff\xfe"), ("evaluation", "evaluation.json", b"{}"), ("likelihood", "nll.json", b"["),
    ("classification", "classification.json", b'{"tests": {"ends": {"plain": {"accuracy": 3}}}}'),
    ("points", "run.json", b'{"states": {"source": {"mean": 1, "std": 2}}}'), ("samples", "run.json", b"{}"),
    ("likelihood", "terms.csv", b"timestep,vb\nx,1\n")])
def test_damaged_files_are_one_sentence(kind, file, content, tmp_path):
    KINDS[kind][0](tmp_path / kind)
    (tmp_path / kind / file).write_bytes(content)
    with pytest.raises(UserError, match=f"{file} is damaged"):
        write_page([tmp_path / kind])
    make_translation(tmp_path / "translation_0_1", ["a.png"])
    assert "Not shown: " in text_of(write_page([tmp_path]))


@pytest.mark.parametrize("name", ["evaluation.md", "classification.md", "study.md"])
def test_a_report_that_is_missing_is_told(name, tmp_path):
    kind = name.removesuffix(".md")
    KINDS[kind][0](tmp_path / kind)
    (tmp_path / kind / name).unlink()
    with pytest.raises(UserError, match=f"lacks a file.*{name}"):
        write_page([tmp_path / kind])


def test_a_step_whose_images_a_review_rejected_has_no_point(tmp_path):
    """Of the rule `reviewed`, which lacks the images of m = 2."""
    folder = make_translation(tmp_path / "translation_0_1", ["a.png"]).path
    series = read_series(folder)
    kept = series.subset(series.m != 2)
    write_labels(folder / "labels_reviewed.csv", kept, kept.labels)
    assert labels_view(folder, "there")["plot"] and "reviewed" in text_of(write_page([folder]))
    lines = {name: [x for x, _ in points] for name, points in _by_m(labels_by_place(folder)).items()}
    assert lines == {"depth": [1, 2, 3, 4], "reviewed": [1, 3, 4]}
