"""The page of a reading in a real browser: read by keys alone, reloaded, and saved."""
import json
import os
import shutil

import numpy as np
import pytest

from add.review.reading_page import page_data, write_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
COUNT = 4


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright, which drives it, is not installed")
    if BROWSER is None:
        pytest.skip("no browser is installed: apt-get install chromium")
    with playwright.sync_playwright() as started:
        as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # else it does not start
        opened = started.chromium.launch(executable_path=BROWSER, args=as_root)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Return open_page(grades, **settings) -> a page of COUNT images; any error in its script fails the test."""
    errors, contexts = [], []

    def start(grades=0, **settings):
        path = tmp_path / "index.html"
        images = [np.full((8, 8, 3), 40 * i, dtype=np.uint8) for i in range(COUNT)]
        write_page(path, page_data([f"{i:03}" for i in range(1, COUNT + 1)], images, ("mild", "severe"), grades), 8)
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: errors.append(request.url) if not request.url.startswith(
            ("file:", "data:", "blob:")) else None)
        page.goto(path.as_uri())
        return page

    yield start
    for context in contexts:
        context.close()
    assert not errors


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def begin(page, name="A. B."):
    page.focus("#reader")
    page.keyboard.type(name)
    press(page, "Enter")


def saved(page, act):
    """Return (name of the file, content) that a download of the page brings."""
    with page.expect_download() as download:
        act()
    with open(download.value.path(), encoding="utf-8") as file:
        return download.value.suggested_filename, json.load(file)


def test_three_images_by_keys_alone_a_reload_and_a_file_without_the_truth(open_page):
    page = open_page()
    begin(page)
    assert page.get_attribute("#picture", "alt") == f"Image 1 of {COUNT}"
    first = page.get_attribute("#picture", "src")
    press(page, "r", "7", "k", "Enter")
    assert page.get_attribute("#picture", "src") != first
    press(page, "g", "5", "ArrowRight", "ArrowRight", "Shift+ArrowLeft", "x")
    page.keyboard.type("rg blurred")  # keys are letters here
    press(page, "Enter", "g", "1", "k", "Enter")
    assert page.inner_text("#counted") == f"3 of {COUNT} answered"
    page.reload()
    assert f"There are 3 of {COUNT} answers" in page.inner_text("#kept") and page.input_value("#reader") == "A. B."
    press(page, "Tab", "Enter") if page.evaluate("document.activeElement.id") == "reader" else page.click("#go")
    assert page.inner_text("#where") == f"Image 4 of {COUNT}"
    name, content = saved(page, lambda: press(page, "s"))
    answers = content.pop("answers")
    assert name.startswith("answers_A_B_") and name.endswith(".json")
    assert content.keys() == {"format", "reading", "reader", "started", "saved"} and content["reader"] == "A. B."
    assert [{key: value for key, value in row.items() if key != "seconds"} for row in answers] == [
        {"item": "001", "real": True, "place": 0.75, "keep": True, "reason": ""},
        {"item": "002", "real": False, "place": 0.47, "keep": False, "reason": "rg blurred"},
        {"item": "003", "real": False, "place": 0, "keep": True, "reason": ""}]
    assert all(0 <= row["seconds"] < 60 for row in answers)


def test_nothing_is_answered_before_the_reader_answers(open_page):
    page = open_page()
    begin(page)
    assert page.get_attribute("#place", "aria-valuetext") == "not placed yet"
    press(page, "Enter")
    assert page.inner_text("#said") == "Still to say: real or generated, the place, keep or reject."
    press(page, "r", "k", "Enter")
    assert page.inner_text("#said") == "Still to say: the place."
    page.click("#place")  # in the middle, where its value stands already
    assert page.inner_text("#placed") == "50 %"
    press(page, "x", "Escape", "Enter")
    assert page.inner_text("#said") == "Still to say: the reason."
    assert page.inner_text("#where") == f"Image 1 of {COUNT}"
    press(page, "k", "Enter", "b")
    assert page.inner_text("#where") == f"Image 1 of {COUNT}" and page.inner_text("#placed") == "50 %"


def test_a_reading_goes_on_from_a_file_on_another_computer(open_page, tmp_path):
    page = open_page()
    begin(page)
    press(page, "r", "9", "k", "Enter", "g", "5", "x")
    page.keyboard.type("blurred")
    press(page, "Enter")
    _, content = saved(page, lambda: page.click("#save-now"))
    other = open_page()  # a new context has a storage of its own
    for text, said in (("{", "no file of answers"), (json.dumps(content | {"reading": "x"}), "no file of answers"),
                       (json.dumps(content), f"There are 2 of {COUNT} answers")):
        (tmp_path / "answers.json").write_text(text, encoding="utf-8")
        other.set_input_files("#file", tmp_path / "answers.json")
        other.locator("#kept", has_text=said).wait_for(timeout=5000)
    assert other.input_value("#reader") == "A. B."
    other.click("#go")
    assert other.inner_text("#where") == f"Image 3 of {COUNT}"
    press(other, "r", "1", "k", "Enter")
    _, again = saved(other, lambda: press(other, "s"))
    assert [row["item"] for row in again["answers"]] == ["001", "002", "003"]
    assert again["answers"][:2] == content["answers"] and again["started"] == content["started"]


def test_grades_by_keys_to_the_end(open_page):
    page = open_page(grades=4)
    begin(page)
    for grade in "1249":  # 9 is none of them, and the last image stays open
        press(page, "r", grade, "k", "Enter")
    assert page.inner_text("#said") == "Still to say: the grade."
    press(page, "3", "Enter")
    assert page.is_visible("#end")
    _, content = saved(page, lambda: page.click("#save"))
    assert [row["place"] for row in content["answers"]] == [0, 0.333, 1, 0.667]


@pytest.mark.parametrize("width", [390, 900, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_every_width_and_is_read_in_the_dark(open_page, width, scheme):
    page = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if page.is_visible("#start"):
            begin(page)
    ink, ground = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
    brightness = [sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))) for colour in (ink, ground)]
    assert (brightness[0] < brightness[1]) == (scheme == "light") and abs(brightness[0] - brightness[1]) > 400
    assert page.is_visible("#next") and page.locator("#next").bounding_box()["y"] < 900


def test_small_images_are_enlarged_six_times_and_shown_pixel_by_pixel(open_page):
    page = open_page(viewport={"width": 1200, "height": 900})
    begin(page)
    for pixels in (48, 8, 48):
        assert page.locator("#picture").bounding_box()["width"] == pixels
        press(page, "z")


def test_every_control_has_a_name_for_screen_readers(open_page):
    page = open_page()
    begin(page)
    unnamed = page.evaluate("""() => [...document.querySelectorAll("#reading button, #reading input")].filter(
        (one) => !(one.getAttribute("aria-label") || one.labels?.length || one.textContent.trim())).length""")
    assert unnamed == 0 and page.get_attribute("#said", "role") == "status"
    assert page.evaluate("document.activeElement.id") == "picture"
