"""The results page: what it gathers of a folder, what is escaped, how large it is, and what it refuses."""
import json
import re
import urllib.parse
from html.parser import HTMLParser

import numpy as np
import pytest

from add.errors import UserError
from add.results.report_page import write_page
from add.results.translation_series import read_series, write_labels
from add.results.translation_view import packed, relative_url, shortened, translation_view
from tests.results.series import make_translation

NASTY = ["<script>alert(1)</script>.png", "</script><!-- \"quoted\" & 'single'.png", "größe ü 100%.png", "a#b?c=d.png"]
MOST_BYTES = 200_000  # of a page without its pictures


class Page(HTMLParser):
    """What a browser finds in a page: tags with their attributes, and the JSON of its data."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.data, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = tag == "script" and dict(attributes).get("type") == "application/json"

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.data.append(json.loads(data))


def read_page(path):
    return Page(path.read_text(encoding="utf-8"))


def names_of(view):
    """Return the names of source images in a view, as viewer.js reads them."""
    return [view["names"]["before"] + name + view["names"]["after"] for name in view["names"]["rest"]]


def unpack(table, rows, amount):
    """Return the numbers [n, N] of a packed table, as viewer.js reads them."""
    if "same" in table:
        return [table["same"]] * rows
    numbers = [int(digits, 36) for digits in re.findall("." * table["width"], table["rows"])]
    return [numbers[i * amount:(i + 1) * amount] for i in range(rows)]


# What is gathered


def test_a_view_tells_pictures_labels_and_depths(tmp_path):
    make_translation(tmp_path / "translation_0_1", ["a.png", "b.png"], depths=[[100, 200, 300, 400], [5, 6, 7, 999]])
    view = translation_view(tmp_path / "translation_0_1", tmp_path)
    assert (view["title"], view["url"], view["amount"], view["digits"]) == ("mild to severe", "translation_0_1", 4, 2)
    assert names_of(view) == ["a.png", "b.png"] and view["stems"] == {} and view["sources"] == []
    assert [step["text"] for step in view["steps"]] == ["100 % mild", "25 % severe", "50 % severe", "75 % severe",
                                                        "100 % severe"]
    assert view["steps"][1]["shares"] == [750, 250]
    assert view["places"]["kind"] == "depth"
    assert unpack(view["places"]["tables"][0], 2, 4) == [[100, 200, 300, 400], [5, 6, 7, 999]]


def test_weights_are_told_where_the_records_hold_them(tmp_path):
    weights = [[[1 - w, w] for w in (0.25, 0.5, 0.75, 1.0)]] * 2
    folder = make_translation(tmp_path / "translation_0_1", ["a.png", "b.png"], weights=weights).path
    assert translation_view(folder, tmp_path)["places"] == {"kind": "weight",
                                                            "tables": [{"same": [250, 500, 750, 1000]}]}
    (folder / "records" / "b.json").write_text("damaged")
    assert translation_view(folder, tmp_path)["places"] == {"kind": "depth", "tables": [{"same": [1000] * 4}]}


def test_a_chain_is_told_in_the_order_of_its_way(tmp_path):
    folder = make_translation(tmp_path / "chain_0_2_1", ["a.png"], domains=("mild", "severe", "moderate")).path
    series = read_series(folder)
    labels = np.array([[0.5, 0, 0.5], [0, 0, 1], [0, 0.5, 0.5], [0, 1, 0]])
    write_labels(folder / "labels.csv", series, labels)
    view = translation_view(folder, tmp_path)
    assert view["title"] == "mild to moderate to severe"
    assert [step["text"] for step in view["steps"]] == ["100 % mild", "50 % moderate", "100 % moderate", "50 % severe",
                                                        "100 % severe"]


def test_labels_by_other_rules_are_shown_and_sorted_by(tmp_path):
    folder = make_translation(tmp_path / "translation_0_1", ["a.png", "b.png"]).path
    shares = np.array([0.1, 0.2, 0.3, 0.444, 0.5, 0.6, 0.7, 0.95])
    for rule in ("classifier", "power"):
        write_labels(folder / f"labels_{rule}.csv", read_series(folder), np.stack([1 - shares, shares], axis=1))
    (folder / "labels_broken.csv").write_text("image\n")
    view = translation_view(folder, tmp_path)
    assert unpack(view["rules"]["classifier"], 2, 4) == [[100, 200, 300, 444], [500, 600, 700, 950]]
    assert view["rules"].keys() == {"classifier", "power"}
    assert view["measures"].keys() == {"evenness", "classifier, last step"}  # the rule power looks at no image
    assert view["measures"]["classifier, last step"]["values"] == [0.444, 0.95]


def test_evenness_is_0_for_equal_steps_and_larger_for_one_jump(tmp_path):
    folder = make_translation(tmp_path / "translation_0_1", ["a.png", "b.png", "c.png"])
    jump = np.zeros((4, 4, 4, 3), np.uint8)
    jump[0] = 100
    jump[1:] = 100
    folder.write_images("b", jump, folder.records()[1])
    folder.write_source("b", np.zeros((4, 4, 3), np.uint8))
    (folder.path / "images" / "c_m02.png").unlink()
    values = translation_view(folder.path, tmp_path)["measures"]["evenness"]["values"]
    assert values[0] == 0 and values[1] == 0.5  # all of the way lies behind at 1/4, 2/4 and 3/4
    assert values[2] is None
    folder.write_images("b", jump, folder.records()[1] | {"evenness": 0.125})  # as a translation notes it
    assert translation_view(folder.path, tmp_path)["measures"]["evenness"]["values"][1] == 0.125


def test_a_source_image_without_picture_is_named(tmp_path):
    folder = make_translation(tmp_path / "translation_0_1", ["a.png", "b.png"]).path
    (folder / "sources" / "b.png").unlink()
    assert translation_view(folder, tmp_path)["sources"] == [1]


@pytest.mark.parametrize("values", [[[0, 35], [36, 1]], [[1000, 1000], [999, 0]], [[3, 4], [3, 4]], [[0, 0], [0, 0]]])
def test_packed_tables_are_read_back(values):
    assert unpack(packed(np.array(values)), 2, 2) == values


@pytest.mark.parametrize("names", [["a.png"], ["aa.png", "a.png"], ["a_1.png", "a_2.jpg"], ["x", "y"], ["aba", "aba"]])
def test_shortened_names_are_read_back(names):
    assert names_of({"names": shortened(names)}) == names


# What a browser gets


def test_names_of_files_can_not_leave_their_place(tmp_path):
    """No tag, no comment and no end of the script comes from a name, in the JSON or the text."""
    make_translation(tmp_path / "out" / "translation_0_1", ["a.png"], facts={"command": "add translate"})
    plain = read_page(write_page([tmp_path / "out"]))
    make_translation(tmp_path / "bad" / "translation_0_1", NASTY, domains=("<b>mild</b>", "\"><img src=x>"),
                     facts={"command": "add translate '</pre><script>alert(2)</script>'", "versions": {"<i>": "<u>"},
                            "checkpoints": {"source": {"path": "<svg onload=alert(3)>", "sha256": "&amp;"}}})
    page = read_page(write_page([tmp_path / "bad"]))
    (views,) = page.data
    assert names_of(views[0]) == NASTY and views[0]["way"] == ["<b>mild</b>", "\"><img src=x>"]
    kinds = [{tag for tag, _ in found.tags} for found in (plain, page)]
    assert kinds[1] - kinds[0] <= {"table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert [tag for tag, _ in page.tags].count("script") == [tag for tag, _ in plain.tags].count("script")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    make_translation(tmp_path / "translation_0_1", ["a.png"])
    path = write_page([tmp_path])
    for tag, attributes in read_page(path).tags:
        assert tag != "link" and not (tag == "script" and "src" in attributes)
        for name in ("src", "href"):
            assert not re.match("[a-z]+:|//", attributes.get(name, "")), (tag, attributes)
    assert not re.search(r"https?://|@import|url\(", path.read_text(encoding="utf-8"))


def test_urls_are_relative_and_percent_encoded(tmp_path):
    assert relative_url(tmp_path / "a b" / "ü#?%.png", tmp_path) == "a%20b/%C3%BC%23%3F%25.png"
    assert relative_url(tmp_path, tmp_path) == "." and relative_url(tmp_path, tmp_path / "x" / "y") == "../.."
    make_translation(tmp_path / "out" / "translation_0_1", ["a.png"])
    path = write_page([tmp_path / "out"], tmp_path / "pages" / "mine.html")
    (views,) = read_page(path).data
    overview, = (attributes["src"] for tag, attributes in read_page(path).tags
                 if tag == "img" and attributes.get("src"))
    assert views[0]["url"] == "../out/translation_0_1"
    assert (path.parent / urllib.parse.unquote(overview)).is_file()


def test_a_thousand_source_images_stay_small(tmp_path):
    """In both directions, with depths and a label of each image by a rule."""
    random = np.random.default_rng(0)
    for name, ends in (("translation_0_1", (0, 1)), ("translation_1_0", (1, 0))):
        names = [f"patient_{i % 50:03d}_tile_{i:05d}.png" for i in range(1000)]
        folder = make_translation(tmp_path / name, names, amount=10, ends=ends, pictures=False,
                                  depths=random.integers(0, 1001, (1000, 10))).path
        shares = random.random(10_000)
        write_labels(folder / "labels_classifier.csv", read_series(folder), np.stack([1 - shares, shares], axis=1))
    path = write_page([tmp_path])
    assert len(names_of(read_page(path).data[0][1])) == 1000
    assert path.stat().st_size < MOST_BYTES


def test_what_was_used_is_told(tmp_path):
    make_translation(tmp_path / "translation_0_1", ["a.png"], facts={
        "command": "add translate --amount 4", "versions": {"torch": "9.9"}, "options": {"amount": 4, "seed": None},
        "checkpoints": {"source": {"path": "runs/mild/ema.pt", "sha256": "0123abcd", "model": {"width": 32}}}})
    text = write_page([tmp_path]).read_text(encoding="utf-8")
    for told in ("<code>add translate --amount 4</code>", "torch 9.9", "runs/mild/ema.pt", "0123abcd", "width"):
        assert told in text
    (tmp_path / "translation_0_1" / "run.json").write_text("{")
    assert "run.json can&#39;t be read" in write_page([tmp_path]).read_text(encoding="utf-8")


# What can't be shown


def test_a_damaged_folder_beside_others_is_named_on_the_page(tmp_path):
    make_translation(tmp_path / "translation_0_1", ["a.png"])
    other = make_translation(tmp_path / "translation_1_0", ["a.png"], ends=(1, 0)).path
    (other / "labels.csv").write_text((other / "labels.csv").read_text().replace("1000", "many"))
    path = write_page([tmp_path])
    assert len(read_page(path).data[0]) == 1
    assert re.search(r"Not shown: \S+translation_1_0/labels.csv is damaged", path.read_text(encoding="utf-8"))
    with pytest.raises(UserError, match="labels.csv is damaged"):
        write_page([other])


@pytest.mark.parametrize(("old", "new"), [("a_m02.png,a.png,0,1,2", "a_m02.png,a.png,0,1,3"), ("a_m04.png", "a.png"),
                                          ("0.500000,0.500000", "0.000000,0.000000")])
def test_a_table_that_lacks_steps_is_refused(tmp_path, old, new):
    table = make_translation(tmp_path / "translation_0_1", ["a.png"]).path / "labels.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(UserError, match="does not list every source image's steps 1 to 4 in order"):
        write_page([tmp_path])


def test_a_folder_without_output_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds nothing that a page could show: expected"):
        write_page([tmp_path])
    with pytest.raises(UserError, match="is no folder: expected"):
        write_page([tmp_path / "missing"])
    assert list(tmp_path.iterdir()) == []
