"""The results page in a real browser: what the slider, the large view, the search and the pages show."""
import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from add.results.report_page import write_page
from add.results.translation_series import read_series, write_labels
from tests.results.series import make_run, make_translation

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH: apt-get install chromium")
STOPPED = "net::ERR_ABORTED"  # of a picture that is no longer wanted
SOURCES = ["<b>1</b>.png", "größe 100%.png", "it's \"2\".png", *(f"tile_{i:02d}.png" for i in range(27))]


@pytest.fixture(scope="module")
def browser():
    options = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # chromium refuses it to root
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield found
        found.close()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return the path of a page with two directions, of 30 and of 2 source images."""
    root = tmp_path_factory.mktemp("out of 1 & 2")
    folder = make_translation(root / "translation_0_1", SOURCES,
                              weights=[[[1 - w, w] for w in (0.25, 0.5, 0.75, 1.0)]] * 30).path
    shares = np.linspace(0, 1, 120)
    write_labels(folder / "labels_classifier.csv", read_series(folder), np.stack([1 - shares, shares], axis=1))
    make_translation(root / "translation_1_0", ["a.png", "b.png"], ends=(1, 0))
    return write_page([root])


@pytest.fixture
def page(browser, results):
    """Return the page, opened from the disk; nothing may fail or be asked of a network."""
    page = browser.new_page(viewport={"width": 900, "height": 900})
    page.set_default_timeout(15_000)
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: request.failure == STOPPED or wrong.append(request.url))
    page.on("request", lambda request: request.url.startswith("file:") or wrong.append(request.url))
    page.goto(results.as_uri())
    yield page
    page.close()
    assert wrong == []


def shown(page, number):
    """Return (src, alt) of the picture of a card once it has been loaded."""
    image = page.locator(".card img").nth(number)
    page.wait_for_function("image => image.complete && image.naturalWidth === 4", arg=image.element_handle())
    return image.get_attribute("src"), image.get_attribute("alt")


def names(page):
    return page.locator(".card .name").all_text_contents()


def test_the_slider_turns_every_picture_by_keyboard(page):
    assert shown(page, 0) == ("translation_0_1/sources/%3Cb%3E1%3C_b%3E.png", "<b>1</b>.png, step 0 of 4: 100 % mild")
    page.focus(".step")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert shown(page, 1)[0] == "translation_0_1/images/gr%C3%B6%C3%9Fe%20100%25_m03.png"
    assert shown(page, 1)[1] == "größe 100%.png, step 3 of 4: 75 % severe"
    assert shown(page, 2)[0] == "translation_0_1/images/it's%20%222%22_m03.png"
    assert page.locator(".step").get_attribute("aria-valuetext") == "step 3 of 4, 75 % severe"
    assert page.locator(".label").text_content() == "75 % severe"
    assert page.locator(".place").text_content() == "Step 3 of 4 · weight 0.75"
    page.keyboard.press("Home")
    assert shown(page, 1)[0] == "translation_0_1/sources/gr%C3%B6%C3%9Fe%20100%25.png"


def test_names_are_text(page):
    assert names(page)[:3] == SOURCES[:3] and page.locator(".card b").count() == 0


def test_the_other_direction_is_chosen(page):
    page.locator(".directions label").nth(1).click()
    assert names(page) == ["a.png", "b.png"]
    page.locator(".step").fill("1")
    assert shown(page, 0) == ("translation_1_0/images/a_m01.png", "a.png, step 1 of 4: 25 % mild")


def test_playing_goes_on_and_pauses(page):
    page.click(".play")
    page.wait_for_function("Number(document.querySelector('.step').value) >= 2")
    page.click(".play")
    assert page.locator(".play").get_attribute("aria-label") == "Play"
    before = page.locator(".step").input_value()
    page.wait_for_timeout(600)
    assert page.locator(".step").input_value() == before


def test_pages_are_turned(page):
    assert len(names(page)) == 24 and page.locator(".previous").is_disabled()
    page.click(".next")
    assert names(page) == SOURCES[24:] and page.locator(".next").is_disabled()
    assert page.locator(".count").text_content() == "25 to 30 of 30 source images, page 2 of 2"
    page.select_option(".per-page", "12")
    assert names(page) == SOURCES[:12]


def test_images_are_sought_and_sorted(page):
    page.fill(".find", "TILE_1")
    assert names(page) == [f"tile_{i}.png" for i in range(10, 20)]
    page.select_option(".sort", "name")
    page.check(".descending")
    assert names(page)[0] == "tile_19.png"
    page.fill(".find", "")
    page.select_option(".sort", "classifier, last step")
    assert names(page)[0] == SOURCES[-1]
    page.fill(".most", "0.1")
    assert names(page) == [SOURCES[2], SOURCES[1], SOURCES[0]]
    page.fill(".find", "nothing")
    assert "No source image fits" in page.locator(".cards").text_content()


def test_labels_of_another_rule_are_shown(page):
    page.locator(".step").fill("4")
    page.select_option(".rules", "classifier")
    assert page.locator(".card .more").nth(0).text_content() == "3 % severe"  # 3 of 119


def test_the_large_view_compares_steps(page):
    page.locator(".step").fill("2")
    page.locator(".card button").nth(4).click()
    one, two = page.locator(".stage .one"), page.locator(".stage .two")
    assert page.locator(".large-name").text_content() == "tile_01.png"
    assert one.get_attribute("src").endswith("sources/tile_01.png") and two.get_attribute("src").endswith("_m02.png")
    page.locator(".close").focus()
    page.keyboard.press("ArrowRight")
    assert two.get_attribute("src").endswith("tile_01_m03.png")
    page.locator(".against").fill("1")
    assert one.get_attribute("src").endswith("tile_01_m01.png")
    page.get_by_text("Swipe").click()
    box = page.locator(".frames").bounding_box()
    page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 20)
    assert page.locator(".divider").input_value() == "25"
    assert "25" in two.evaluate("image => getComputedStyle(image).clipPath")
    page.get_by_text("Difference").click()
    assert two.evaluate("image => getComputedStyle(image).mixBlendMode") == "difference"
    page.locator(".strip button").nth(1).click()  # two equal pictures: nothing but black
    pixels = np.asarray(Image.open(io.BytesIO(page.locator(".frames").screenshot())))[20:-20, 20:-20, :3]
    assert not pixels.any()
    page.locator(".strip button").nth(3).click()
    pixels = np.asarray(Image.open(io.BytesIO(page.locator(".frames").screenshot())))[20:-20, 20:-20, :3]
    assert np.abs(pixels.astype(int) - 3 * 20).max() <= 3  # two steps of 10, made three times as bright
    page.click(".image-after")
    assert page.locator(".large-name").text_content() == "tile_02.png"
    page.keyboard.press("Escape")
    assert page.locator("dialog").is_hidden()


def test_the_slider_turns_through_the_previews_of_a_training(browser, tmp_path):
    page = browser.new_page()
    page.goto(write_page([make_run(tmp_path / "run")]).as_uri())
    image = page.locator(".previews img")
    assert image.get_attribute("src") == "samples/samples000080.png"
    page.focus(".previews .step")
    page.keyboard.press("ArrowLeft")
    assert (image.get_attribute("src"), image.get_attribute("alt")) == ("samples/samples000040.png",
                                                                        "Samples at step 40")
    assert page.locator(".previews .told").text_content() == "Step 40"
    box = page.locator(".plot svg polyline").first.bounding_box()
    assert box["width"] > 200 and box["height"] > 50
    page.close()


def test_a_chain_tells_the_share_of_each_domain(browser, tmp_path):
    folder = make_translation(tmp_path / "chain_0_1_2", ["a.png"], ends=(0, 2), domains=("calm", "mild", "bad")).path
    labels = np.array([[0.5, 0.5, 0], [0, 1, 0], [0, 0.25, 0.75], [0, 0, 1]])
    write_labels(folder / "labels.csv", read_series(folder), labels)
    page = browser.new_page()
    page.goto(write_page([tmp_path]).as_uri())
    page.locator(".step").fill("3")
    assert page.locator(".label").text_content() == "75 % bad"
    assert page.locator(".parts").text_content() == "25 % mild, 75 % bad"
    widths = page.locator(".shares i").evaluate_all("parts => parts.map(part => part.style.width)")
    assert widths == ["0%", "25%", "75%"] and page.locator(".shares").is_visible()
    page.close()


def test_colors_follow_the_system_and_the_button(browser, results):
    page = browser.new_page(color_scheme="dark")
    page.goto(results.as_uri())
    color = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(color)
    page.click(".theme")  # light, whatever the system has
    light = page.evaluate(color)
    page.click(".theme")
    assert page.evaluate(color) == dark != light
    page.close()


@pytest.mark.parametrize("width", [390, 900, 1600])
def test_nothing_is_wider_than_the_window(browser, results, width):
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto(results.as_uri())
    page.locator("summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator(".card button").nth(0).click()
    box = page.locator(".stage").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width
    page.close()
