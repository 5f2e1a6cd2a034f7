# SPDX-License-Identifier: GPL-3.0-or-later
"""The page in a browser: in by the link, look around, take files along, end it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.reports.page import as_page
from selenium.webdriver.common.keys import Keys

from tests.reports import report
from tests.unit.browser.chromium import Browser, chromium
from tests.unit.browser.conftest import HOSTILE
from tests.unit.browser.site import Site, served, until

# A word about each file that is not as wide as its screen would be a fault of the page
_WIDE = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
_UNLABELLED = """
return [...document.querySelectorAll("button, a, input, select")].filter((each) => each.offsetParent).filter((each) =>
  !(each.textContent.trim() || each.ariaLabel || each.labels?.length)).map((each) => each.outerHTML)
"""


@pytest.fixture(scope="module")
def shown(volume: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(volume, tmp_path_factory.mktemp("site"), put_back=["keep", "overwrite"]) as site:
        yield site


@pytest.fixture(scope="module")
def browser(shown: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(shown.certificate, tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.mark.timeout(300)
def test_a_recovery_from_the_link_to_the_end(shown: Site, browser: Browser, volume: Path) -> None:
    """One after another, as somebody would: starting a browser is what costs time."""
    driver = browser.driver
    driver.get(shown.address)
    browser.see("#locked")
    browser.see("#token").send_keys("wrong", Keys.ENTER)
    browser.see("#locked-why.wrong", "does not open")

    driver.get("about:blank")
    driver.get(shown.link)
    browser.see("#entries td.name", "srv")
    assert driver.current_url == f"{shown.address}/"  # the token is gone from the address
    assert driver.get_cookies()[0]["value"] not in driver.execute_script("return document.cookie")

    browser.click("td.name button", "odd")
    browser.see("#crumbs [aria-current]", "odd")
    browser.see("#entries td.name", "<img src=x onerror=alert(1)>.txt")
    assert len(browser.names()) == len(HOSTILE)
    driver.back()
    browser.see("#entries td.name", "srv")

    # By keyboard: down to srv, open it, select report.txt and photos
    browser.see("#entries td.name button", "srv").send_keys(Keys.ENTER)
    browser.see("#crumbs [aria-current]", "srv")
    browser.see("#entries td.name", "report.txt")
    names = browser.names()
    active = driver.switch_to.active_element
    for _ in range(names.index("report.txt")):
        driver.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    driver.switch_to.active_element.send_keys(Keys.SPACE)
    driver.switch_to.active_element.send_keys(Keys.HOME)
    driver.switch_to.active_element.send_keys(Keys.SPACE)
    assert active.is_displayed()
    browser.see("#selection p", "2 selected")
    browser.click("#zip")
    packed = zipfile.ZipFile(io.BytesIO(browser.saved("srv.zip").read_bytes()))
    assert packed.read("report.txt") == (volume / "srv/report.txt").read_bytes()
    assert packed.read("photos/sunset.png") == (volume / "srv/photos/sunset.png").read_bytes()
    browser.see("#transfers", "Downloaded")

    browser.click("td.name button", "report.txt")
    browser.see("#preview pre", "Quarterly figures")
    browser.click("#preview-download")
    assert browser.saved("report.txt").read_bytes() == (volume / "srv/report.txt").read_bytes()
    browser.click("#preview [data-close]")
    browser.click("td.name button", "photos")
    browser.click("td.name button", "sunset.png")
    image = browser.see("#preview img")
    assert driver.execute_script("return arguments[0].naturalWidth", image) == 640
    browser.click("#preview [data-close]")

    driver.switch_to.active_element.send_keys(Keys.BACKSPACE)
    browser.see("#crumbs [aria-current]", "srv")
    browser.click("#crumbs button", "sda1")
    browser.see("#words").send_keys("sunset", Keys.ENTER)
    browser.see("#status", "1 found")
    browser.see("#entries td.name small", "/srv/photos")

    browser.click("#crumbs button", "sda1")
    browser.see("#entries td.name", "etc")
    browser.see("#entries td.name button", "etc").send_keys(Keys.SPACE)
    browser.click("#put-back")
    browser.click("#put-back-now")
    browser.see("#transfers", "waits for the playbook")
    until(lambda: shown.told()["put_back"] != [])
    assert shown.told()["put_back"][0]["first"] == "/etc"

    for width, phone in ((1200, False), (390, True)):
        browser.look(shown.state / "screen.png", width, 844, phone=phone)
        assert not driver.execute_script(_WIDE)
        assert driver.execute_script(_UNLABELLED) == []
    browser.look(shown.state / "screen.png", 1200, 900)

    assert shown.enter().status == 200  # a second browser
    assert shown.entries().status == 200
    browser.click("#end")
    browser.click("#end-now")
    browser.see("#ended", "has ended")
    assert shown.entries().status == 410
    assert shown.told()["reason"] == "asked"
    # What was refused on purpose is all that the console tells: nothing of scripts, nothing of the content policy.
    told = [each for each in browser.problems() if "status of 401" not in each and "status of 410" not in each]
    assert told == []


@pytest.mark.parametrize(("width", "phone"), [(1200, False), (360, True)])
def test_the_report_of_a_run_fits_its_screen(browser: Browser, tmp_path: Path, width: int, phone: bool) -> None:
    page = tmp_path / "report.html"
    page.write_text(as_page(report()), encoding="utf-8")
    browser.driver.get(page.as_uri())
    browser.look(tmp_path / "seen.png", width, 800, dark=phone, phone=phone)
    browser.see("td.Failed", "Failed")
    assert browser.driver.execute_script("return document.querySelectorAll('.bars i').length") == 4
    assert not browser.driver.execute_script(_WIDE)
    assert browser.problems() == []
