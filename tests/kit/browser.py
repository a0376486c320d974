"""A headless Chromium that tests drive, and pages that note all that they ask for and say."""

import shutil
from contextlib import contextmanager

from playwright.sync_api import sync_playwright

FLAGS = (
    "--no-sandbox",  # tests may run as root, and see nothing but their own pages
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.example 127.0.0.1",
)


def find_chromium():
    """Where Chromium is; an error that says what to install where it is not."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise FileNotFoundError(
        "Chromium is missing: apt-get install --no-install-recommends chromium fonts-dejavu-core"
    )


@contextmanager
def open_browser():
    """A browser, until the end of the block."""
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page in a context of its own, with what it asked for and what it complained of."""

    def __init__(self, browser, **options):
        self.requests = []
        self.complaints = []
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._refuse)

    def _note(self, message):
        if message.type in {"error", "warning", "assert"}:
            self.complaints.append(message.text)

    def _refuse(self, dialog):
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def foreign(self, *ours):
        """What it asked for elsewhere."""
        return [url for url in self.requests if not url.startswith((*ours, "data:"))]


@contextmanager
def visits(browser):
    """Opens pages; at the end, none of them may have had an error or a violation to tell."""
    begun = []

    def begin(**options):
        begun.append(Visit(browser, **options))
        return begun[-1]

    yield begin
    complaints = [complaint for one in begun for complaint in one.complaints]
    for one in begun:
        one.context.close()
    assert complaints == []
