# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's Chromium, without a window, driven over WebDriver; it knows this machine alone, and one certificate."""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

WAIT = 20  # seconds


class Browser:
    """A window, and where its downloads go."""

    def __init__(self, driver: Any, downloads: Path) -> None:
        self.driver = driver
        self.downloads = downloads

    def see(self, selector: str, text: str = "") -> WebElement:
        """The first element that is seen, once it is, with the text in it."""

        def found(driver: Any) -> WebElement | None:
            seen = [each for each in driver.find_elements(By.CSS_SELECTOR, selector) if each.is_displayed()]
            return next((each for each in seen if text in each.text), None)

        message = f"{selector} with {text!r} is not seen"
        ignored = [Exception]  # the page may be drawing itself anew
        return WebDriverWait(self.driver, WAIT, 0.1, ignored).until(found, message)

    def gone(self, selector: str) -> None:
        """Wait until it is not seen any more."""

        def away(driver: Any) -> bool:
            return not any(each.is_displayed() for each in driver.find_elements(By.CSS_SELECTOR, selector))

        WebDriverWait(self.driver, WAIT, 0.1, [Exception]).until(away, f"{selector} is still seen")

    def click(self, selector: str, text: str = "") -> None:
        self.see(selector, text).click()

    def names(self) -> list[str]:
        """The names in the table, as they are seen."""
        cells = "document.querySelectorAll('#entries tbody td.name button span > bdi')"
        found: list[str] = self.driver.execute_script(f"return [...{cells}].map(each => each.textContent)")
        return found

    def saved(self, name: str) -> Path:
        """A download, once all of it is there."""
        path = self.downloads / name
        WebDriverWait(self.driver, WAIT, 0.1).until(lambda _: path.exists(), f"{name} was not saved")
        return path

    def problems(self) -> list[str]:
        """What the console tells: scripts that failed, and what the content policy has refused."""
        return [each["message"] for each in self.driver.get_log("browser")]

    def look(self, path: Path, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        """A screenshot of a screen of that size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": theme})
        self.driver.save_screenshot(str(path))


@contextmanager
def chromium(certificate: bytes, folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, which takes this certificate (PEM) for a good one."""
    public = x509.load_pem_x509_certificate(certificate).public_key()
    raw = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    pin = base64.b64encode(hashlib.sha256(raw).digest()).decode()
    downloads = folder / "downloads"
    downloads.mkdir(parents=True)
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for switch in (
        "headless=new",
        "no-sandbox",  # it runs as root here
        "disable-dev-shm-usage",
        "disable-gpu",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "no-first-run",
        "lang=en-GB",
        "window-size=1200,900",
        f"user-data-dir={folder / 'profile'}",
        f"ignore-certificate-errors-spki-list={pin}",
        "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",
    ):
        options.add_argument(f"--{switch}")
    preferences = {"download.default_directory": str(downloads), "download.prompt_for_download": False}
    options.add_experimental_option("prefs", preferences)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    driver.set_page_load_timeout(60)
    try:
        yield Browser(driver, downloads)
    finally:
        driver.quit()
