"""The page's file: one digest for one content, nothing from elsewhere, and names that are shown and not run."""
import json
import re

import numpy as np

from add.review.reading_page import page_data, write_page

IMAGES = [np.full((4, 4, 3), value, dtype=np.uint8) for value in (10, 20)]


def written(path, *given):
    data = page_data(["001", "002"], IMAGES, *given)
    assert write_page(path, data, 4) == path.stat().st_size
    return data, path.read_text(encoding="utf-8")


def test_the_digest_is_that_of_what_is_shown():
    digests = [page_data(names, images, stages, grades)["reading"] for names, images, stages, grades in (
        (["001", "002"], IMAGES, ("a", "b"), 0), (["001", "002"], IMAGES, ("a", "b"), 0),
        (["001", "002"], IMAGES[::-1], ("a", "b"), 0), (["001", "002"], IMAGES, ("a", "c"), 0),
        (["001", "002"], IMAGES, ("a", "b"), 4))]
    assert digests[0] == digests[1] and len(set(digests)) == 4


def test_the_page_needs_nothing_from_elsewhere(tmp_path):
    data, text = written(tmp_path / "index.html", ("mild", "severe"), 0)
    assert not re.findall(r"https?:|//[a-z]+\.|@import|<link|\bsrc=\"(?!data:)", text)
    assert "default-src 'none'" in text
    assert json.loads(re.search(r'id="reading-data">(.*?)</script>', text, re.DOTALL)[1]) == data


def test_names_of_stages_are_shown_and_not_run(tmp_path):
    name = "</script><script>alert(1)</script><b>&"
    data, text = written(tmp_path / "index.html", (name, "severe"), 0)
    assert name not in text and "<script>alert" not in text and "&lt;/script&gt;" in text
    assert json.loads(re.search(r'id="reading-data">(.*?)</script>', text, re.DOTALL)[1])["stages"][0] == name


def test_grades_take_the_place_of_the_scale(tmp_path):
    _, scale = written(tmp_path / "scale.html", ("mild", "severe"), 0)
    _, graded = written(tmp_path / "graded.html", ("mild", "severe"), 4)
    assert 'type="range"' in scale and 'name="grade"' not in scale
    assert 'type="range"' not in graded and re.findall(r'name="grade" value="(\d)"', graded) == list("1234")
