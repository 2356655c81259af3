"""A deployment's page in a real browser: moved by keyboard, readable, and it tells of clients
that send their columns in another order."""

from __future__ import annotations

import json
import random
import shutil

import httpx
import pytest
from platform_process import write_csv

pytestmark = pytest.mark.service

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
LOOP = """\
kind: Loop
name: grapes
data:
  dataset: grapes
  target: quality
train:
  automl: {budget: 2s, seed: 1}
"""
COLUMNS = ("sulfur", "density", "alcohol", "color")


@pytest.fixture(scope="module")
def platform(platforms):
    running = platforms().start()
    chance = random.Random(3)
    rows = []
    for _ in range(300):
        row = (chance.uniform(10, 270), chance.uniform(0.98, 1.01), chance.uniform(7, 15))
        color = chance.choice(("red", "white"))
        quality = row[2] / 2 + (1 if color == "red" else 0)
        rows.append([*(round(value, 4) for value in row), color, round(quality, 3)])
    running.apply(LOOP)
    file = write_csv(running.folder / "grapes.csv", rows, (*COLUMNS, "quality"))
    running.turn("grapes", "grapes", file)
    return running


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("There is no chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


def opened(platform, browser, **context):
    """The deployment's page, by a link of its own, once it has predicted."""
    from playwright.sync_api import expect

    page = browser.new_context(**context).new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda said: page.faults.append(said.text))
    page.goto(json.loads(platform.cli("app", "grapes", "--json").out)["url"])
    expect(page.locator("#prediction")).not_to_have_text("–", timeout=60_000)
    return page


def test_the_prediction_follows_the_keyboard(platform, browser):
    from playwright.sync_api import expect

    page = opened(platform, browser)
    before = float(page.inner_text("#prediction"))
    page.get_by_label("alcohol", exact=True).focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#prediction")).not_to_have_text(str(before))
    assert float(page.inner_text("#prediction")) > before
    page.get_by_label("color", exact=True).select_option("red")
    page.get_by_label("vary").select_option("color")
    expect(page.locator("#plot rect")).to_have_count(2)
    page.locator("#varied").select_option("alcohol")
    expect(page.locator("#plot polyline")).to_have_count(1)
    assert "alcohol" in page.locator("#plot svg").get_attribute("aria-label")
    assert page.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_fits_and_is_readable(platform, browser, scheme, width):
    page = opened(platform, browser, color_scheme=scheme, viewport={"width": width, "height": 800})
    for card in page.locator(".card:visible").all():
        box = card.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    # Every control has a name that a screen reader can say.
    for control in page.locator("input:visible, select:visible, textarea:visible").all():
        assert control.evaluate_handle("e => e.labels.length > 0 || e.ariaLabel").json_value()
    paper, ink = (
        page.locator("body")
        .evaluate_handle("e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]")
        .json_value()
    )
    assert contrast(paper, ink) > 7
    assert page.faults == []


def contrast(first, second):
    """WCAG 2.2's contrast ratio of two `rgb(r, g, b)`."""

    def luminance(color):
        parts = [int(part) / 255 for part in color[4:-1].split(",")]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_its_controls_show_what_the_model_was_trained_on(platform, browser):
    found = platform.get("/models/grapes/versions/1/statistics")
    page = opened(platform, browser)
    columns = {each["name"]: each for each in found["columns"]}
    numbers = columns["alcohol"]["numbers"]
    shown = page.get_by_label("alcohol", exact=True)
    assert float(shown.get_attribute("min")) <= numbers["min"]
    assert float(shown.get_attribute("max")) >= numbers["max"]
    assert float(shown.input_value()) == pytest.approx(numbers["quantiles"]["p50"], abs=0.1)
    usual = columns["color"]["values"][0]["value"]
    assert page.get_by_label("color", exact=True).input_value() == usual


def test_a_client_with_another_order_is_told_of(platform, browser):
    from playwright.sync_api import expect

    chance = random.Random(5)
    rows = [
        [chance.uniform(7, 15), chance.uniform(10, 270), chance.uniform(0.98, 1.01)]
        for _ in range(30)
    ]
    # Sent by position, as a matrix would be, with names in the wrong places.
    request = {
        "inputs": [
            {"name": name, "shape": [30], "datatype": "FP64", "data": [row[i] for row in rows]}
            for i, name in enumerate(COLUMNS[:3])
        ]
        + [{"name": "color", "shape": [30], "datatype": "BYTES", "data": ["red"] * 30}]
    }
    url = platform.get("/deployments/grapes")["infer_url"]
    assert httpx.post(url, json=request, trust_env=False).status_code == 200
    page = opened(platform, browser)
    expect(page.locator("#warning")).to_contain_text("another order", timeout=60_000)
    page.get_by_label("Request, as JSON").fill(json.dumps(request))
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#findings")).to_contain_text("another order")
    assert page.faults == []


def test_a_page_without_a_link_stays_closed(platform, browser):
    page = browser.new_context().new_page()
    answer = page.goto(f"{platform.url}/app/grapes")
    assert answer.status == 401
    assert "volant app grapes" in page.inner_text("main")
