"""The page at `/`, in a headless Chromium if there is one."""

from __future__ import annotations

import json
import shutil

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.serving.saved_models import HEIGHT, PIXELS, WIDTH

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"
)


@pytest.fixture(scope="module")
def url(models):
    from serving.server.running import parse_flags, running_server

    flags = ["--port=0", "--rest_api_port=0", f"--model_config_file={models}/models.config"]
    options = parse_flags([*flags, "--allow_version_labels_for_unavailable_models"])
    with running_server(options) as addresses:
        yield addresses.rest + "/"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(flag)
    options.add_argument("--window-size=1000,900")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def browser(chromium, url):
    """A tab in which the page has been opened, as if for the first time."""
    for log in ("browser", "performance"):
        chromium.get_log(log)  # of the test before
    (first,) = chromium.window_handles
    chromium.switch_to.new_window("tab")
    try:
        chromium.get(url)
        yield chromium
        severe = [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
        assert not severe
    finally:
        chromium.execute_cdp_cmd(
            "Storage.clearDataForOrigin", {"origin": url.rstrip("/"), "storageTypes": "all"}
        )
        chromium.execute_cdp_cmd("Network.clearBrowserCache", {})
        chromium.close()
        chromium.switch_to.window(first)


def test_samples_are_the_warmup_images(url):
    [model] = httpx.get(url + "page/samples.json").json()
    assert (model["model"], model["height"], model["width"]) == ("denoiser", HEIGHT, WIDTH)
    assert model["sample_shape"] == [HEIGHT, WIDTH, 1]
    assert len(model["samples"]) == 3
    assert model["samples"][1] == [10 + column for column in range(PIXELS)]


def test_the_page_loads_nothing_from_elsewhere(url):
    page = httpx.get(url)
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert "http" not in page.text.replace("<!doctype html>", "")
    for name in ("page.js", "page.css"):
        assert httpx.get(f"{url}page/{name}").status_code == 200


def wait(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 20).until(condition)


def text(browser, name: str) -> str:
    from selenium.webdriver.common.by import By

    return browser.find_element(By.ID, name).text


def canvas(browser, name: str, channels: int | slice = 0) -> np.ndarray:
    """The red values of a canvas, or others."""
    values = browser.execute_script(
        "const c = document.getElementById(arguments[0]);"
        "return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)",
        name,
    )
    return np.array(values).reshape(-1, 4)[:, channels]


@needs_browser
def test_a_sample_is_denoised(browser):
    wait(browser, lambda b: "dB" in text(b, "denoised-psnr"))
    assert "dB" in text(browser, "noisy-psnr") or text(browser, "noisy-psnr") == "identical"
    assert "Denoised 6 × 4 pixels in" in text(browser, "status")
    noisy, denoised = canvas(browser, "noisy"), canvas(browser, "denoised")
    assert np.abs(denoised - noisy / 2).max() <= 1.01  # what the model does
    assert browser.execute_script("return document.title") == "Denoiser"


@needs_browser
def test_it_works_by_keyboard(browser):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    wait(browser, lambda b: "dB" in text(b, "denoised-psnr"))

    def focused():
        return browser.switch_to.active_element

    def press(key):
        ActionChains(browser).send_keys(key).perform()

    press(Keys.TAB)
    assert focused().get_attribute("aria-label") == "Sample 1"
    focused().send_keys(Keys.ARROW_RIGHT)
    assert focused().get_attribute("aria-label") == "Sample 2"
    assert focused().get_attribute("aria-checked") == "true"
    wait(browser, lambda b: canvas(b, "clean").tolist() == [10 + i for i in range(PIXELS)])
    order = []
    for _ in range(4):
        press(Keys.TAB)
        order.append(focused().get_attribute("id"))
    assert order == ["file", "noise", "level", "again"]
    level = browser.find_element(By.ID, "level")
    before = text(browser, "level-text")
    level.send_keys(Keys.ARROW_RIGHT)
    assert text(browser, "level-text") != before
    browser.find_element(By.ID, "noise").send_keys("None")
    wait(browser, lambda b: text(b, "noisy-psnr") == "identical")


def drop(browser, path):
    """A picture without noise of the page's, as large as it is."""
    from selenium.webdriver.common.by import By

    wait(browser, lambda b: "dB" in text(b, "denoised-psnr"))
    browser.find_element(By.ID, "noise").send_keys("None")
    browser.find_element(By.ID, "file").send_keys(str(path))
    width, height = Image.open(path).size
    wait(browser, lambda b: f"Denoised {width} × {height} pixels" in text(b, "status"))
    return tuple(
        canvas(browser, name, slice(0, 3)).reshape(height, width, 3)
        for name in ("clean", "denoised")
    )


@needs_browser
def test_a_picture_of_any_size_can_be_dropped(browser, tmp_path):
    """A model of 6x4 pixels of grey that halves each; the picture is in colour."""
    from selenium.webdriver.common.by import By

    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.png")
    clean, denoised = drop(browser, tmp_path / "large.png")
    np.testing.assert_array_equal(clean, pixels)
    assert np.abs(denoised - pixels / 2).max() <= 1.01
    assert "each channel was denoised by itself" in text(browser, "status")
    assert browser.find_element(By.ID, "save").is_displayed()
    Image.fromarray(pixels[:3, :5, 0]).save(tmp_path / "small.png")
    clean, denoised = drop(browser, tmp_path / "small.png")
    assert np.abs(denoised - pixels[:3, :5, :1] / 2).max() <= 1.01
    assert "channel" not in text(browser, "status")
    (tmp_path / "text.png").write_text("not an image")
    browser.find_element(By.ID, "file").send_keys(str(tmp_path / "text.png"))
    wait(browser, lambda b: "not an image" in text(b, "status"))
    browser.get_log("browser")


def saved(folder, name: str, value: int, width: int = 5):
    path = folder / name
    Image.fromarray(np.full((3, width), value, np.uint8)).save(path)
    return str(path)


def load(browser, url: str, script: str) -> None:
    """The page, where a script ran before its own."""
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    browser.get(url)
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


ECHO = """
    window.sent = [];
    const page = window.fetch;
    window.fetch = async (url, options) => {
      if (!options) return { ok: true, json: async () => MODELS };
      window.sent.push({ url, size: options.body.length });
      await new Promise((done) => setTimeout(done, 100));
      options.signal.throwIfAborted();
      return new Response(JSON.stringify({ outputs: JSON.parse(options.body).inputs }));
    };
"""
"""A server whose models give back what they are sent."""


def served_model(name: str, size: int, samples: bool = True) -> dict:
    return {
        **{"model": name, "height": size, "width": size, "channels": 1},
        **{"sample_shape": [size, size, 1], "samples": [[7] * size**2] if samples else []},
    }


def saved_name(browser) -> str:
    """What the picture would be called that is saved now."""
    return browser.execute_script(
        "let name; const click = HTMLAnchorElement.prototype.click;"
        "HTMLAnchorElement.prototype.click = function () { name = this.download; };"
        "const blob = HTMLCanvasElement.prototype.toBlob;"
        "HTMLCanvasElement.prototype.toBlob = (then) => then(new Blob());"
        "document.getElementById('save').dispatchEvent(new Event('click'));"
        "HTMLAnchorElement.prototype.click = click; HTMLCanvasElement.prototype.toBlob = blob;"
        "return name"
    )


@needs_browser
def test_what_was_chosen_last_is_shown_whichever_is_decoded_first(browser, tmp_path):
    from selenium.webdriver.common.by import By

    wait(browser, lambda b: "dB" in text(b, "denoised-psnr"))
    browser.execute_script(
        "const decode = window.createImageBitmap; let number = 0; window.decoded = 0;"
        "window.createImageBitmap = async (blob) => { const mine = number++;"
        " if (mine % 2 === 0) await new Promise((done) => setTimeout(done, 400));"
        " try { return await decode(blob); } finally { window.decoded++; } }"
    )
    file = browser.find_element(By.ID, "file")
    slow, fast = saved(tmp_path, "slow.png", 10), saved(tmp_path, "fast.png", 20)
    file.send_keys(slow)
    file.send_keys(fast)
    wait(browser, lambda b: b.execute_script("return window.decoded") == 2)
    wait(browser, lambda b: canvas(b, "clean").tolist() == [20] * 15)
    assert saved_name(browser) == "fast-denoised.png"
    # A file, then a sample: the sample stays.
    file.send_keys(slow)
    browser.find_element(By.CSS_SELECTOR, "[aria-label='Sample 2']").click()
    wait(browser, lambda b: b.execute_script("return window.decoded") == 3)
    browser.execute_async_script("setTimeout(arguments[0], 50)")
    assert canvas(browser, "clean").tolist() == [10 + i for i in range(PIXELS)]
    assert saved_name(browser) == "sample-denoised.png"
    # The same file once more.
    file.send_keys(fast)
    wait(browser, lambda b: canvas(b, "clean").tolist() == [20] * 15)


@needs_browser
def test_another_model_ends_what_is_under_way(browser, url, tmp_path):
    from selenium.webdriver.common.by import By

    models = [served_model("one", 8), served_model("other", 8, samples=False)]
    load(browser, url, f"const MODELS = {json.dumps(models)};{ECHO}")
    wait(browser, lambda b: "Denoised 8 × 8" in text(b, "status"))
    Image.fromarray(np.full((500, 500), 10, np.uint8)).save(tmp_path / "large.png")
    browser.find_element(By.ID, "file").send_keys(str(tmp_path / "large.png"))
    wait(browser, lambda b: "Denoising: " in text(b, "status"))
    browser.find_element(By.ID, "model").send_keys("other")
    wait(browser, lambda b: text(b, "status") == "Drop an image to begin.")
    browser.execute_async_script("setTimeout(arguments[0], 400)")
    assert text(browser, "status") == "Drop an image to begin."
    sent = browser.execute_script("return window.sent")
    assert {each["url"].rpartition("/")[2] for each in sent} == {"one:predict"}


@needs_browser
def test_no_request_is_too_large_for_the_server(browser, url, tmp_path):
    """Of a model of one large size, of grey, and a picture in colour."""
    load(browser, url, f"const MODELS = {json.dumps([served_model('large', 512)])};{ECHO}")
    pixels = np.random.default_rng(0).integers(100, 256, (300, 1600, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    _, denoised = drop(browser, tmp_path / "photo.png")
    assert np.abs(denoised.astype(int) - pixels).max() <= 1
    sizes = [sent["size"] for sent in browser.execute_script("return window.sent")]
    assert len(sizes) > 1
    assert 1 << 20 < max(sizes) < 8 << 20


@needs_browser
def test_a_server_that_refuses_the_page_is_heard(browser, url):
    refusal = 'window.fetch = async () => new Response(\'{"error": "busy"}\', { status: 503 });'
    load(browser, url, refusal)
    wait(browser, lambda b: text(b, "status") == "The server did not answer: busy")


@pytest.fixture(scope="module")
def any_size_url(tmp_path_factory):
    from serving.server.running import running_server, server_options
    from tests.any_size import export

    folder = tmp_path_factory.mktemp("any_size")
    model = export(folder / "1", (HEIGHT, WIDTH, 3), dilation=30)
    options = server_options(port=0, rest_api_port=0, model_name="denoiser", model_base_path=folder)
    with running_server(options) as addresses:
        yield model, addresses.rest + "/"


@needs_browser
@pytest.mark.parametrize(
    "size", [(37, 800), (530, 620), pytest.param((200, 1700), marks=pytest.mark.ci)]
)
def test_a_model_of_any_size_sees_the_picture_whole(browser, any_size_url, tmp_path, size):
    """In tiles, which makes no difference, though what it makes of a pixel depends on 121x121."""
    model, url = any_size_url
    browser.get(url)
    wait(browser, lambda b: "dB" in text(b, "denoised-psnr"))
    browser.execute_script(
        "window.asked = []; const send = window.fetch; window.fetch = (url, options) => {"
        "window.asked.push(JSON.parse(options.body).signature_name); return send(url, options); }"
    )
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    clean, denoised = drop(browser, tmp_path / "photo.png")
    np.testing.assert_array_equal(clean, pixels)
    expected = 255 * np.clip(model(pixels[None] / np.float32(255), training=False)[0], 0, 1)
    assert np.abs(denoised - expected).max() <= 1.01
    asked = browser.execute_script("return window.asked")
    # How far it sees is asked where there is more than one tile: of a probe, and of it cut off.
    assert asked.count("serving_default") == (2 if np.prod(size) > 1 << 18 else 0)


@needs_browser
def test_an_error_is_shown(browser):
    wait(browser, lambda b: "dB" in text(b, "denoised-psnr"))
    browser.execute_script(
        'window.fetch = async () => new Response(\'{"error": "overloaded"}\', {status: 503});'
        "document.getElementById('again').click()"
    )
    wait(browser, lambda b: "overloaded" in text(b, "status"))
