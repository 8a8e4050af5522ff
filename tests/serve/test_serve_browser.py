"""The page in a real browser: Debian's chromium, driven by Playwright; nothing is downloaded."""

import shutil
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

pytest.importorskip("gradio")
pytest.importorskip("playwright.sync_api")

from serving import cloud, picture, until

from lens_plugins.serve import Engine, ServeSettings, build_app
from lens_plugins.serve.page import mount
from lens_plugins.serve.running import Server, listen

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
WAIT = 120_000  # milliseconds: a loaded machine draws slowly
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="NO BROWSER: the page is not tested (apt install chromium)")


@contextmanager
def served(hosts):
    engine, settings = Engine(hosts), ServeSettings()
    sock = listen("127.0.0.1", 0)
    server = Server(mount(build_app(engine, settings), engine, settings), engine)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    with engine:
        thread.start()
        until(lambda: server.started)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        server.should_exit = True
        server.force_exit = True  # the browser holds its line open
        thread.join(30)


@pytest.fixture(scope="module")
def url(hosts):
    with served(hosts) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking", "--use-angle=swiftshader",
                  "--enable-unsafe-swiftshader"],
        )  # fmt: skip
        yield started
        started.close()


@pytest.fixture
def page(browser, url):
    """A page that is there, and on which nothing went wrong or to another server when the test is over."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    shown = context.new_page()
    shown.set_default_timeout(WAIT)
    foreign, wrong = [], []
    shown.on("request", lambda asked: foreign.append(asked.url) if _is_foreign(asked.url, url) else None)
    shown.on("pageerror", lambda error: wrong.append(str(error)))
    shown.goto(url)
    shown.get_by_role("button", name="Point cloud").wait_for()
    yield shown
    context.close()
    assert foreign == []
    assert wrong == []


def _is_foreign(asked, own):
    return urlsplit(asked).scheme in ("http", "https", "ws", "wss") and urlsplit(asked).netloc != urlsplit(own).netloc


def add(page, name, content):
    page.locator("#lp-files input[type=file]").set_input_files(
        [{"name": name, "mimeType": "application/octet-stream", "buffer": content}]
    )
    page.get_by_text(f"{name} ·").wait_for()


def answered(page):
    """The last line of the conversation once it has stopped growing."""
    replies = page.locator("#lp-chat .bot .prose, #lp-chat .message.bot")
    replies.last.wait_for()
    seen = [""]

    def still():
        seen.append(replies.last.inner_text().strip())
        return seen[-1] and seen[-1] == seen[-2]

    for _ in range(240):
        if still():
            return seen[-1]
        page.wait_for_timeout(500)
    raise AssertionError(f"the answer goes on: {seen[-1]!r}")


def test_a_cloud_is_seen_and_captioned(page, hosts, tmp_path):
    add(page, "chair.npy", cloud(4))
    page.locator("canvas").first.wait_for()  # the view that can be turned
    page.get_by_role("button", name="Ask", exact=True).click()
    said = answered(page)
    (tmp_path / "chair.npy").write_bytes(cloud(4))
    small = hosts["small"]
    assert said == small.generate(f"point_cloud:{tmp_path / 'chair.npy'}", num_beams=1).text
    page.screenshot(path=tmp_path / "asked.png")
    assert (tmp_path / "asked.png").stat().st_size > 10_000


def test_a_conversation_by_keyboard_alone(page):
    page.keyboard.press("Tab")  # something is focused, and shows it
    page.get_by_role("button", name="Picture", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_text("lamp.jpg ·").wait_for()
    page.get_by_label("Question").focus()
    page.keyboard.type("what is it")
    page.keyboard.press("Enter")
    first = answered(page)
    assert first
    page.get_by_label("Question").focus()
    page.keyboard.type("and where")
    page.keyboard.press("Enter")
    page.locator("#lp-chat").get_by_text("and where").wait_for()
    answered(page)
    assert page.locator("#lp-chat").get_by_text("what is it", exact=True).count() >= 1


def test_a_picture_is_edited_and_its_codes_are_shown(page):
    add(page, "beach.png", picture(5))
    page.get_by_role("tab", name="Imagine").click()
    page.get_by_label("Change").fill("Make it red.")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.locator("#lp-drawn img").first.wait_for()
    page.get_by_role("button", name="Seeds and codes").click()
    page.get_by_text('"codes"').first.wait_for()


def test_things_are_found_and_labelled(page):
    add(page, "beach.png", picture(6))
    add(page, "chair.npy", cloud(6))
    page.get_by_role("tab", name="Find").click()
    page.get_by_label("Look for").fill("something to sit on")
    page.get_by_role("button", name="Search", exact=True).click()
    page.locator("#lp-ranked .lp-bar").nth(1).wait_for()
    page.get_by_label("Labels, with commas").fill("chair, beach")
    page.get_by_role("button", name="Label", exact=True).click()
    page.locator("#lp-shares .lp-bar").nth(1).wait_for()


def test_nothing_has_changed(page):
    page.get_by_role("tab", name="Lenses").click()
    page.get_by_role("button", name="Check that nothing").click()
    page.locator("#lp-digests").get_by_text("unchanged").nth(3).wait_for()


def test_a_broken_file_is_one_sentence(page):
    page.locator("#lp-files input[type=file]").set_input_files(
        [{"name": "chair.ply", "mimeType": "application/octet-stream", "buffer": b"hello"}]
    )
    told = page.get_by_text("chair.ply", exact=False).filter(has_text="chair.ply").last
    told.wait_for()
    assert "Traceback" not in page.content()
    assert page.get_by_text("chair.ply ·").count() == 0


def test_a_phone_and_the_dark(browser, url):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    shown = context.new_page()
    shown.set_default_timeout(WAIT)
    shown.goto(url)
    shown.get_by_role("button", name="Point cloud").wait_for()
    for tab in ("Ask", "Imagine", "Find", "Lenses"):
        shown.get_by_role("tab", name=tab).click()
        assert shown.evaluate("document.documentElement.scrollWidth") <= 390
    dark = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(int(part) for part in dark.strip("rgba()").split(",")[:3]) < 150, dark
    context.close()


def test_a_visitor_who_leaves_ends_the_answer(browser, url, hosts):
    context = browser.new_context()
    shown = context.new_page()
    shown.goto(url)
    shown.get_by_role("button", name="Picture", exact=True).click(timeout=WAIT)
    shown.get_by_text("lamp.jpg ·").wait_for(timeout=WAIT)
    shown.get_by_role("button", name="Ask", exact=True).click()
    context.close()  # and the server answers the next one
