# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms of a run's report: the page, the rows, JUnit and the timeline, each from plain values."""

from __future__ import annotations

import csv
import io
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.reports import costs, writing
from ansible_collections.mayfly.workers.plugins.plugin_utils.reports.junit import as_junit
from ansible_collections.mayfly.workers.plugins.plugin_utils.reports.page import as_page, duration, size
from ansible_collections.mayfly.workers.plugins.plugin_utils.reports.rows import COLUMNS, as_csv, rows
from ansible_collections.mayfly.workers.plugins.plugin_utils.reports.timeline import timeline

from tests.reports import HOSTILE, at, report, stage


def parsed(text: str) -> Element:
    return fromstring(text)  # noqa: S314 - our own making


class Seen(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.targets: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.targets += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_all_escapes_it_and_needs_nothing_else() -> None:
    seen = Seen(as_page(report()))
    assert "script" not in seen.tags
    assert all(target.startswith("#") for target in seen.targets)
    for text in (HOSTILE, "NoNetwork", "Open it.", "i-9", "point-1", "the only one", "4.0 MiB", "1.0 MiB/s"):
        assert text in seen.text
    assert "1 Failed, 1 Skipped, 1 Succeeded" in seen.text


@pytest.mark.parametrize("entry", [{}, {"status": "Running", "stages": [], "errors": [], "volumes": {"vol-1": {}}}])
def test_every_form_is_made_of_a_run_that_got_nowhere(entry: dict[str, Any]) -> None:
    poor = report(resources={"web": entry} if entry else {}, ended=None, status=None)
    assert as_page(poor)
    assert parsed(as_junit(poor)).get("tests") == str(len(poor["resources"]))
    assert as_csv(poor)
    assert timeline(poor) is None


def test_a_row_sums_the_volumes_and_tells_speed_and_cost() -> None:
    row = next(each for each in rows(report()) if each["host"] == "web")
    assert (row["bytes_read"], row["bytes_stored"], row["bytes_per_second"]) == (4 << 20, 1 << 20, 1 << 20)
    assert row["seconds"] == 180
    assert row["cost_usd"] == pytest.approx(0.0765 * 180 / 3600, abs=1e-5)
    assert tuple(row) == COLUMNS


def test_csv_gives_no_formula_to_a_spreadsheet() -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(report()))))
    assert [line["host"] for line in lines] == [f"'{HOSTILE}", "rest", "web"]
    assert [line["errors"] for line in lines] == ["NoNetwork", "", ""]


def test_junit_counts_what_failed_and_what_was_skipped() -> None:
    suite = parsed(as_junit(report(errors=[{"code": "CleanupFailed", "message": "i-9 \x00 is left."}])))
    assert {name: suite.get(name) for name in ("tests", "failures", "skipped", "errors")} == {
        "tests": "3", "failures": "1", "skipped": "1", "errors": "1",
    }  # fmt: skip
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.text == f"NoNetwork: Nothing leads out of {HOSTILE}. Open it."


def test_bars_lie_within_the_run_and_an_open_stage_goes_to_its_end() -> None:
    found = timeline(report())
    assert found is not None
    launching, transferring, _ = found.lanes["web"]
    assert (launching.left, launching.width) == (5.0, 5.0)
    assert (transferring.left, transferring.seconds) == (10.0, 4.0)
    (placing,) = found.lanes[HOSTILE]
    assert (placing.left, placing.width) == (0.0, 100.0)
    assert found.names == ["Placing", "Launching", "Transferring", "Terminating"]
    assert found.ticks[:2] == [(0.0, "0:00:00"), (30.0, "0:01:00")]


@pytest.mark.parametrize(
    ("name", "price"), [("c5.2xlarge", 0.34), ("c5.4xlarge", 0.68), ("t3.medium", 0.0416), ("x9.large", None)]
)
def test_prices_follow_the_size(name: str, price: float | None) -> None:
    assert costs.hourly(name) == (None if price is None else pytest.approx(price))


def test_less_than_a_minute_costs_a_minute_and_what_is_not_known_costs_none() -> None:
    worker = {"type": "c5.large", "launched": at(0)}
    assert costs.worker_cost({"worker": worker, "stages": [stage("Launching", 0, 5)]}) == pytest.approx(0.085 / 60)
    assert costs.worker_cost({"worker": worker, "stages": [stage("Launching", 0, None)]}) is None
    assert costs.worker_cost({"stages": [stage("Launching", 0, 5)]}) is None


@pytest.mark.parametrize(("count", "text"), [(None, ""), (0, "0 B"), (1536, "1.5 KiB"), (200 << 20, "200 MiB")])
def test_sizes_for_people(count: int | None, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(None, ""), (1.25, "1.2 s"), (3725, "1:02:05")])
def test_durations_for_people(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_files_are_for_this_user_alone(tmp_path: Path) -> None:
    writing.write(tmp_path, report())
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert found == {"report.html": 0o600, "report.csv": 0o600, "report.xml": 0o600}
