"""review: a reading of drawn images whose places are known, from the page to labels that classifiers learn from."""
import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from add.data.files import save_png
from add.errors import UserError
from add.results import TranslationDataset
from add.results.translation_series import read_series, write_rows
from tests.commands.commands import run
from tests.review.readings import AMOUNT, rows_of_key, true_place, write_answers, write_real, write_translation


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """(folders of both directions with commas, folder of real images), which no test changes."""
    root = tmp_path_factory.mktemp("drawn")
    folders = [write_translation(root / f"translation_{source}_{1 - source}", source) for source in (0, 1)]
    return ",".join(map(str, folders)), write_real(root / "real")


@pytest.fixture
def reading(drawn, tmp_path):
    """(options of both directions and real images of its own, the folder of a reading of them)."""
    folders = [tmp_path / Path(folder).name for folder in drawn[0].split(",")]
    for old, new in zip(drawn[0].split(","), folders, strict=True):
        shutil.copytree(old, new)
    options = ["--translations", ",".join(map(str, folders)), "--data_dir", drawn[1],
               "--num_real", 16, "--repeats", 5, "--out_dir", tmp_path / "review"]
    assert run("review", "make", *options) == 0
    return options, tmp_path / "review"


def make(drawn, out_dir, *options):
    return run("review", "make", "--translations", drawn[0], "--data_dir", drawn[1], "--num_real", 16, "--repeats", 5,
               "--out_dir", out_dir, *options)


def errors_of(folder, source, rule):
    """Return how far the labels of a rule lie from the true places, [n]."""
    series = read_series(folder, rule)
    return np.abs(series.labels[:, 1] - [true_place(m, source) for m in series.m])


# make


def test_the_key_says_the_truth_and_the_page_does_not(drawn, tmp_path, capsys):
    assert make(drawn, tmp_path) == 0
    rows = rows_of_key(tmp_path)
    kinds = [row["kind"] for row in rows if not row["repeat_of"]]
    assert (len(rows), kinds.count("generated"), kinds.count("real")) == (61, 40, 16)
    by_folder = [sorted(int(row["m"]) for row in rows if (row["kind"], row["folder"], row["repeat_of"])
                        == ("generated", folder, "")) for folder in "01"]
    assert by_folder == [sorted([*range(1, AMOUNT + 1)] * 2)] * 2
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="reading-data">(.*?)</script>', page, re.DOTALL)[1])
    assert [item["item"] for item in data["items"]] == [row["item"] for row in rows]
    assert all(set(item) == {"item", "image"} for item in data["items"]) and set(data) == {
        "reading", "stages", "grades", "items"}
    for word in ("_m0", "translation_", "sha256", str(drawn[1]), "key.csv"):
        assert word not in page, word
    assert not any(row["sha256"] in page for row in rows)
    assert "send them to no reader" in capsys.readouterr().out


def test_all_images_are_pngs_of_one_size_and_without_notes(drawn, tmp_path):
    """What could tell a real image from a generated one without looking at it."""
    assert make(drawn, tmp_path) == 0
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    images = json.loads(re.search(r'id="reading-data">(.*?)</script>', page, re.DOTALL)[1])["items"]
    for item in images:
        opened = Image.open(io.BytesIO(base64.b64decode(item["image"].partition(",")[2])))
        assert (opened.format, opened.size, opened.mode, opened.info) == ("PNG", (16, 16), "RGB", {})


def test_the_same_command_again_makes_the_same_reading_and_another_one_is_refused(drawn, tmp_path, capsys):
    assert make(drawn, tmp_path) == 0
    before = {name: (tmp_path / name).read_bytes() for name in ("index.html", "key.csv", "key.json")}
    assert make(drawn, tmp_path) == 0
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    capsys.readouterr()
    assert make(drawn, tmp_path, "--seed", 1) == 2
    assert "holds another reading" in capsys.readouterr().err
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(("options", "said"), [
    (["--repeats", "30"], "--repeats is 30, expected 18 or less"), (["--grades", "1"], "--grades is 1, expected 0, or"),
    (["--translations", ""], "empty path"), (["--domains", "mild,other"], "holds the domains mild, severe"),
    (["--out_dir", "gs://bucket"], "is a URL")])
def test_what_makes_no_reading_is_one_message(drawn, tmp_path, capsys, options, said):
    assert make(drawn, tmp_path, *options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error and not (tmp_path / "index.html").exists()


def test_small_real_images_other_pairs_and_chains_are_refused(drawn, tmp_path, capsys):
    for stage in ("mild", "severe"):
        save_png(tmp_path / "small" / stage / "a.png", np.zeros((8, 8, 3), dtype=np.uint8))
    assert make((drawn[0], tmp_path / "small"), tmp_path / "out", "--repeats", 0) == 2
    assert "known by their blur" in capsys.readouterr().err
    write_rows(tmp_path / "other" / "labels.csv", [("a_m1.png", "a.png", 0, 2, 1, 9, 0, 0, 1)], 3)
    write_rows(tmp_path / "chain" / "labels.csv", [("a_m1.png", "a.png", 0, 2, 1, 9, 0, 1, 0),
                                                   ("a_m2.png", "a.png", 0, 2, 2, 9, 0, 0, 1)], 3)
    for name, said in (("other", "make a reading of each pair"), ("chain", "is a chain")):
        assert make((f"{drawn[0]},{tmp_path / name}", drawn[1]), tmp_path / "out") == 2
        assert said in capsys.readouterr().err


def test_other_sizes_are_refused_and_other_compression_is_told(drawn, tmp_path, capsys):
    small = write_translation(tmp_path / "small", 0, num_sources=1)
    for path in (small / "images").iterdir():
        save_png(path, np.zeros((12, 12, 3), dtype=np.uint8))
    assert make((f"{drawn[0]},{small}", drawn[1]), tmp_path / "out") == 2
    assert "images of 12 and 16 pixels" in capsys.readouterr().err
    shutil.copytree(drawn[1], tmp_path / "real")
    for path in (tmp_path / "real").glob("*/*.png"):
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    assert make((drawn[0], tmp_path / "real"), tmp_path / "out") == 0
    assert "100% of the real images are JPEG or WebP, and 0% of the generated ones" in capsys.readouterr().out
    assert make(drawn, tmp_path / "other") == 0
    assert "JPEG" not in capsys.readouterr().out


def test_source_images_among_the_real_ones_are_told_of(drawn, tmp_path, capsys):
    assert make(drawn, tmp_path / "out") == 0
    assert "were made from real images" not in capsys.readouterr().out
    shutil.copytree(drawn[1], tmp_path / "real")
    for number in range(2):
        (tmp_path / "real" / "mild" / f"r{number}.png").rename(tmp_path / "real" / "mild" / f"s{number}.png")
    assert make((drawn[0], tmp_path / "real"), tmp_path / "other") == 0
    assert "2 series were made from real images of this reading" in capsys.readouterr().out


# score


def test_forty_answers_halve_the_error_of_the_place_in_the_series(reading):
    """A simulated reader: true place plus normal noise of 0.1, of 40 generated images; all 80 labels are scored."""
    _, review = reading
    answers = write_answers(review, "Ann", noise=0.1)
    content = json.loads(answers.read_text(encoding="utf-8"))
    generated = {row["item"] for row in rows_of_key(review) if row["kind"] == "generated" and not row["repeat_of"]}
    content["answers"] = [row for row in content["answers"] if row["item"] in generated]
    assert len(content["answers"]) == 40
    answers.write_text(json.dumps(content), encoding="utf-8")
    assert run("review", "score", "--out_dir", review, "--answers", answers) == 0
    for source in (0, 1):
        folder = review.parent / f"translation_{source}_{1 - source}"
        before, after = (errors_of(folder, source, rule) for rule in ("depth", "reviewed"))
        assert len(after) == len(before) == 40 and after.mean() < before.mean() / 2, (before.mean(), after.mean())
        np.testing.assert_allclose(read_series(folder, "reviewed").labels.sum(axis=1), 1, atol=1e-5)


def test_scores_of_two_readers_and_rejected_images(reading, capsys):
    _, review = reading
    rejected = [row for row in rows_of_key(review) if row["kind"] == "generated" and row["folder"] == "0"
                and int(row["m"]) == AMOUNT]
    items = {row["item"] for row in rejected}
    files = [write_answers(review, "Ann", 1, rejects=items), write_answers(review, "Bob", 2, rejects=items)]
    assert run("review", "score", "--out_dir", review, "--answers", f"{files[0]},{files[1]}") == 0
    out = capsys.readouterr().out
    assert "| Ann and Bob |" in out and "Fleiss" in out and "--label_rule reviewed" in out
    result = json.loads((review / "review.json").read_text(encoding="utf-8"))
    middle = result["translations"][0]["middle"]
    assert middle["low"] <= middle["label"] <= middle["high"] and 0.6 < middle["label"] < 0.8  # sqrt(1/2) = 0.707
    assert 0.2 < result["translations"][1]["middle"]["label"] < 0.4
    assert (review / "review.md").read_text(encoding="utf-8") in out and (review / "review.png").exists()
    folder = review.parent / "translation_0_1"
    left_out = {row["image"] for row in rejected}
    assert set(read_series(folder).images) - set(read_series(folder, "reviewed").images) == left_out
    dataset = TranslationDataset(folder, rule="reviewed")
    assert len(dataset) == 40 - len(left_out) and {row["amount"] for row in dataset.metadata} == {AMOUNT}
    assert run("review", "score", "--out_dir", review, "--answers", files[0]) == 0
    assert "was made of other answers, and is replaced" in capsys.readouterr().out


def test_classify_learns_from_reviewed_labels(reading, capsys):
    options, review = reading
    words = ["--data_dir", options[3], "--test_dir", write_real(review.parent / "test", count=2, seed=1),
             "--translations", options[1], "--methods", "progressive,progressive@reviewed", "--label_rule", "depth",
             "--steps", 2, "--batch_size", 4, "--num_seeds", 1, "--out_dir", review.parent / "scores", "--threads", 1]
    assert run("classify", *words) == 2
    assert "add review score" in capsys.readouterr().err
    assert run("review", "score", "--out_dir", review, "--answers", write_answers(review, "Ann")) == 0
    assert run("classify", *words) == 0
    result = json.loads((review.parent / "scores" / "classification.json").read_text(encoding="utf-8"))
    digests = result["settings"]["synthetic_sha256"]
    assert digests["progressive"] != digests["progressive@reviewed"]


def test_few_answers_write_no_labels_and_say_so(reading, capsys):
    _, review = reading
    path = write_answers(review, "Ann")
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"answers": content["answers"][:4]}), encoding="utf-8")
    assert run("review", "score", "--out_dir", review, "--answers", path) == 0
    assert "gets no reviewed labels" in capsys.readouterr().out
    assert not list(review.parent.glob("translation_*/labels_reviewed.*")) and (review / "review.md").exists()


def test_foreign_answers_a_missing_key_and_other_images_are_refused(reading, capsys):
    options, review = reading
    path = write_answers(review, "Ann", reading="another")
    assert run("review", "score", "--out_dir", review, "--answers", path) == 2
    assert "answers to the reading 'another'" in capsys.readouterr().err
    path = write_answers(review, "Ann")
    assert run("review", "score", "--out_dir", review.parent, "--answers", path) == 2
    assert "holds no reading" in capsys.readouterr().err
    assert run("review", "score", "--out_dir", review) == 2
    assert "--answers" in capsys.readouterr().err
    one = options[1].split(",")[0]
    assert run("review", "score", "--out_dir", review, "--answers", path, "--translations", one) == 2
    assert "names 1 folders, and the reading is of 2" in capsys.readouterr().err
    shown = next(row for row in rows_of_key(review) if row["kind"] == "generated")
    folder = options[1].split(",")[int(shown["folder"])]
    save_png(f"{folder}/{shown['image']}", np.zeros((16, 16, 3), dtype=np.uint8))
    assert run("review", "score", "--out_dir", review, "--answers", path) == 2
    assert "not the image that was shown" in capsys.readouterr().err
    assert not list(review.parent.glob("**/labels_reviewed.csv"))


def test_translations_that_moved_are_found_where_the_option_says(reading):
    options, review = reading
    (review.parent / "moved").mkdir()
    moved = [(review.parent / "moved" / folder.rsplit("/", 1)[1]) for folder in options[1].split(",")]
    for folder, new in zip(options[1].split(","), moved, strict=True):
        review.parent.joinpath(folder).rename(new)
    path = write_answers(review, "Ann")
    assert run("review", "score", "--out_dir", review, "--answers", path) == 2
    assert run("review", "score", "--out_dir", review, "--answers", path, "--translations",
               ",".join(map(str, moved))) == 0
    assert all((folder / "labels_reviewed.csv").exists() for folder in moved)


def test_the_first_word_is_needed(capsys):
    for words in ([], ["mark"]):
        assert run("review", *words) == 2
        assert "expected make or score: write add review make ..., or add review score ..." in capsys.readouterr().err


def test_labels_that_were_not_made_are_named(reading, capsys):
    _, review = reading
    with pytest.raises(UserError, match="add review score"):
        read_series(review.parent / "translation_0_1", "reviewed")
    path = write_answers(review, "Ann")
    assert run("review", "score", "--out_dir", review, "--answers", path, "--label_rule", "blend") == 2
    assert "labels_blend.csv" in capsys.readouterr().err
