"""A real browser, and what a person sees and does in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.common import exceptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=zh-CN",
    "--accept-lang=zh-CN",
)

NOT_YET = (
    exceptions.NoSuchElementException,
    exceptions.StaleElementReferenceException,
    exceptions.ElementNotInteractableException,
    exceptions.ElementClickInterceptedException,
)
"""What a page answers while it gives way to another."""


@contextmanager
def browsing(folder: Path, size: tuple[int, int], *more: str) -> Iterator[webdriver.Chrome]:
    """A browser that keeps what it knows in that folder; `size` of its window, in pixels. `more`: further
    options of its command line."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for option in (*OPTIONS, *more, f"--user-data-dir={folder}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    driver.set_window_size(*size)
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """What a person sees and does."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def text(self, selector: str = "main") -> str:
        return " ".join(self.driver.find_element(By.CSS_SELECTOR, selector).text.split())

    def shows(self, text: str, selector: str = "body") -> None:
        self.until(lambda: text in self.text(selector), f"{text!r} in {selector}")

    def until(self, true: Callable[[], object], what: str = "", seconds: float = 20) -> None:
        WebDriverWait(self.driver, seconds, 0.1, NOT_YET).until(lambda _: true(), what)

    def click(self, selector: str) -> None:
        def clicked() -> bool:
            element = self.driver.find_element(By.CSS_SELECTOR, selector)
            # As a person scrolls, away from bars that lie over the page.
            self.driver.execute_script(
                "arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })", element
            )
            element.click()
            return True

        self.until(clicked, selector)

    def has(self, selector: str) -> bool:
        return bool(self.driver.find_elements(By.CSS_SELECTOR, selector))


def fill(page: Page, selector: str, **fields: str) -> None:
    """Fill in a form and send it."""
    form = page.driver.find_element(By.CSS_SELECTOR, selector)
    for name, text in fields.items():
        form.find_element(By.NAME, name).send_keys(text)
    page.click(f"{selector} [type=submit]")
