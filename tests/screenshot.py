"""The picture of the page in the documentation: a server with both small hosts, a browser, a chair, a question.

python tests/screenshot.py docs/page.png
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
import urllib.request

from playwright.sync_api import Page, sync_playwright

PORT = 8765
WAIT = 120_000  # milliseconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("picture", help="the .png file to write")
    picture = parser.parse_args().picture
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("error: there is no chromium on this machine; install it, as with: apt install chromium")
    serving = [sys.executable, "-m", "lens_plugins", "serve", "--port", str(PORT)]
    server = subprocess.Popen([*serving, "--host", "pocket-instructblip", "--host", "pocket-seed-llama"])
    try:
        wait_until_ready()
        with sync_playwright() as driver:
            started = driver.chromium.launch(
                executable_path=browser,
                args=["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
            )
            page = started.new_page(viewport={"width": 1180, "height": 860})
            page.set_default_timeout(WAIT)
            ask(page)
            page.screenshot(path=picture)
            started.close()
    finally:
        server.terminate()
        server.wait(60)


def wait_until_ready() -> None:
    """Return once the server takes requests."""
    for _ in range(240):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    sys.exit("error: the server did not start within two minutes.")


def ask(page: Page) -> None:
    """Show a chair and ask two questions about it."""
    page.goto(f"http://127.0.0.1:{PORT}/")
    page.get_by_role("button", name="Point cloud").click()
    page.locator("canvas").first.wait_for()
    for question in ("What is it?", "What is it used for?"):
        before = page.locator("#lp-chat .message.bot").count()
        page.get_by_label("Question").fill(question)
        page.get_by_label("Question").press("Enter")
        page.locator("#lp-chat .message.bot").nth(before).wait_for()
        page.wait_for_timeout(4000)  # the answer grows, and the chair is drawn


if __name__ == "__main__":
    main()
