"""The page in a real browser: Chromium, where there is one."""

import json
import shutil

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("selenium", reason="needs the extra browser")

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.serving.conftest import picture
from tests.serving.test_server import running
from yolov1.serving.service import Service
from yolov1.serving.uploads import Limits

pytestmark = pytest.mark.slow

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--window-size=1000,900",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("there is no chromium with its chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as browser:
        yield browser


@pytest.fixture
def page(browser, colours):
    """Opens the page of a server; what the browser complained of is an error at the end."""
    service = Service(colours, limits=Limits(body_bytes=100_000), batch_size=4, queue=8)
    with running(service) as (host, port):
        browser.get("about:blank")
        browser.get_log("performance")  # of the page with which it starts
        browser.get(f"http://{host}:{port}/")
        wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#classes label"))
        yield Page(browser)
        log = browser.get_log("browser")
        said = [one["message"] for one in log if one["level"] == "SEVERE"]
        # That an answer has the status 415 is no fault of the page.
        assert [text for text in said if "status of 4" not in text] == []
        events = [json.loads(one["message"])["message"] for one in browser.get_log("performance")]
        sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
        addresses = [one["request"]["url"] for one in sent]
        own = (f"http://{host}:{port}/", f"blob:http://{host}:{port}/", "data:")
        assert addresses and all(one.startswith(own) for one in addresses), addresses


def wait(browser, condition):
    return WebDriverWait(browser, 20, poll_frequency=0.05).until(lambda _: condition())


class Page:
    def __init__(self, browser):
        self.browser = browser

    def drop(self, *files):
        before = len(self.figures())
        self.browser.find_element(By.ID, "files").send_keys("\n".join(map(str, files)))
        wait(self.browser, lambda: len(self.figures()) == before + len(files))
        wait(self.browser, lambda: f"{before + len(files)} of" in self.text("#status"))
        return self.figures()[before:]

    def figures(self):
        return self.browser.find_elements(By.TAG_NAME, "figure")

    def text(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector).text

    def slide(self, value):
        self.browser.execute_script(
            "const s = document.getElementById('threshold'); s.value = arguments[0];"
            "s.dispatchEvent(new Event('input'));",
            value,
        )


def said(figure):
    return figure.find_element(By.CLASS_NAME, "said").text


def boxes(figure):
    """(label, colour, left, top, right, bottom) of those that are seen, in parts of the picture."""
    view = figure.find_element(By.TAG_NAME, "img").rect
    found = []
    for box in figure.find_elements(By.CLASS_NAME, "box"):
        if box.is_displayed():
            place = box.rect
            left, top = place["x"] - view["x"], place["y"] - view["y"]
            corners = (left, top, left + place["width"], top + place["height"])
            sides = (view["width"], view["height"]) * 2
            parts = [c / side for c, side in zip(corners, sides, strict=True)]
            found.append((box.text, box.value_of_css_property("border-top-color"), *parts))
    return found


def test_pictures_boxes_slider_classes_and_errors(page, tmp_path):
    (tmp_path / "a.png").write_bytes(picture(red=204, green=102, size=(200, 100)))
    (tmp_path / "b.jpg").write_bytes(picture(red=102, green=255, size=(300, 300), kind="JPEG"))
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "broken.png").write_bytes(b"words")
    (tmp_path / "large.bmp").write_bytes(picture(size=(200, 200), kind="BMP"))
    names = ["a.png", "b.jpg", "notes.txt", "broken.png", "large.bmp"]
    a, b, notes, broken, large = page.drop(*(tmp_path / name for name in names))

    (label, colour, *corners) = boxes(a)[0]
    assert len(boxes(a)) == 1 and label == "two 0.80" and colour.startswith("rgba(29, 57, 191")
    assert corners == pytest.approx([0, 0, 0.4, 0.5], abs=0.02)
    assert "1 two · 200 × 100" in said(a) and " ms, " in said(a)
    ((label, _, *corners),) = boxes(b)
    assert label == "one 0.40" and corners == pytest.approx([0, 0, 1, 0.5], abs=0.02)
    assert "text/plain" in said(notes) and "expected a picture" in said(notes)
    assert "not an image that can be read" in said(broken)
    assert "100,000" in said(large)
    for figure in (notes, broken, large):
        element = figure.find_element(By.CLASS_NAME, "said")
        assert element.get_attribute("role") == "alert"
        assert not figure.find_elements(By.CSS_SELECTOR, ".box, img")

    page.slide(0.5)
    assert page.text("#shown") == "0.50"
    assert (len(boxes(a)), len(boxes(b))) == (1, 0) and "nothing found" in said(b)
    page.slide(0.1)
    assert (len(boxes(a)), len(boxes(b))) == (1, 1)
    one, two, _ = page.browser.find_elements(By.CSS_SELECTOR, "#classes input")
    assert page.text("#classes").split()[1:] == ["one", "two", "<three>"]
    two.click()
    assert (len(boxes(a)), len(boxes(b))) == (0, 1)
    two.click()
    one.click()
    assert (len(boxes(a)), len(boxes(b))) == (1, 0)
    page.browser.find_element(By.ID, "clear").click()
    assert page.figures() == []


def test_everything_has_a_name_and_a_place_among_the_keys(page):
    script = "return [...document.querySelectorAll('input, button')].map(e => e.labels?.length)"
    labels = page.browser.execute_script(script)
    assert all(labels[:-1]) and page.text("button") == "Remove all pictures"
    reached = set()
    for _ in range(8):
        ActionChains(page.browser).send_keys(Keys.TAB).perform()
        reached.add(page.browser.switch_to.active_element.get_attribute("id"))
    assert {"files", "threshold", "class-1", "class-2", "class-3", "clear"} <= reached


def corner(browser, figure):
    """Where the picture as it is shown is red: (left, top)."""
    return browser.execute_script(
        """const image = arguments[0], canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        const context = canvas.getContext('2d');
        context.drawImage(image, 0, 0);
        const red = (x, y) => {
          const [r, g] = context.getImageData(x * (canvas.width - 1), y * (canvas.height - 1), 1, 1)
            .data;
          return r > 150 && g < 100; };
        const places = [[0, 0], [1, 0], [0, 1], [1, 1]].filter(([x, y]) => red(x, y));
        return places.length === 1 ? places[0] : places;""",
        figure.find_element(By.TAG_NAME, "img"),
    )


def test_what_is_shown_is_turned_as_the_boxes_are(page, colours, tmp_path):
    """Also where the browser cannot show a file, or does not turn it."""
    from yolov1.data import images

    red = Image.new("RGB", (40, 20), "white")
    red.paste((255, 0, 0), (0, 0, 12, 6))
    files = []
    for kind in ("jpg", "png", "webp", "avif", "tiff"):
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[274] = orientation
            files.append(tmp_path / f"{orientation}.{kind}")
            red.save(files[-1], exif=exif)
    colours.look = lambda image: type(colours).look(colours, image * [1, 1, 0])
    for file, figure in zip(files, page.drop(*files), strict=True):
        pixels = images.decode(file, upright=True)
        height, width = pixels.shape[:2]
        is_red = (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] * [1, -1, 0]).sum(axis=-1) > 100
        (where,) = is_red.nonzero()[0]
        assert corner(page.browser, figure) == [where % 2, where // 2], file.name
        assert f"{width} × {height}" in said(figure), file.name
