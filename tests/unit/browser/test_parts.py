# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, rates, the life of a page, and its description: what needs no volume."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mayfly_agent.browser.description import read_description
from mayfly_agent.browser.life import Life
from mayfly_agent.browser.listing import natural
from mayfly_agent.browser.names import parse, portable, shown, wire
from mayfly_agent.browser.refusals import Refused
from mayfly_agent.browser.requests_log import RequestsLog
from mayfly_agent.browser.search import matcher
from mayfly_agent.browser.sessions import MOST_SESSIONS, Rates, Sessions

NAMES = st.binary(min_size=1, max_size=255).map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"_"))
PATHS = st.lists(NAMES.filter(lambda name: name not in (b".", b"..")), max_size=5).map(tuple)


class Clock:
    """Goes on when it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(PATHS)
def test_every_path_has_one_form_on_the_wire(parts: tuple[bytes, ...]) -> None:
    text = wire(parts)
    assert text.isascii()
    assert parse(text) == parts


@given(st.text(max_size=60))
def test_no_other_text_is_a_path(text: str) -> None:
    try:
        parts = parse(text)
    except Refused:
        return
    assert wire(parts) == text
    assert not {b"", b".", b".."} & {*parts}


@given(NAMES)
def test_a_name_is_seen_as_a_text_of_one_line(name: bytes) -> None:
    assert not any(each in shown(name) for each in "\n\r\t\0\x1b\u202e\u2028")


@given(st.sets(NAMES, min_size=2, max_size=2))
def test_two_names_stay_two_in_a_zip(names: set[bytes]) -> None:
    first, second = (portable((name,)) for name in names)
    assert first != second
    for each in (first, second):
        assert not any(character in each for character in '\\:*?"<>|/')
        assert not each.endswith((".", " "))


def test_names_are_sorted_as_people_do() -> None:
    names = [b"a10", b"A2", b"a1", b"b", b"a02", b"10", b"9", b"\xff", b"a" + b"9" * 5000]
    assert sorted(names, key=natural) == [
        b"9", b"10", b"a1", b"A2", b"a02", b"a10", b"a" + b"9" * 5000, b"b", b"\xff",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "name", "found"),
    [
        ("Report", b"old-report.txt", True),
        ("*.TXT", b"report.txt", True),
        ("*.txt", b"report.txt.gz", False),
        ("r?port*", b"report", True),
        ("[a]*", b"[a]b", True),
        ("[a]*", b"ab", False),
        ("é", "É".encode(), True),
    ],
)
def test_a_search_is_for_a_part_or_a_pattern(words: str, name: bytes, *, found: bool) -> None:
    assert matcher(words)(name) is found


def test_rates_are_of_each_and_of_all() -> None:
    clock = Clock()
    rates = Rates(2, 5, clock)
    for who in ("a", "a", "b", "b"):
        assert rates.wait(who) == 0
        rates.count(who)
    assert rates.wait("a") == 61 - 0
    assert rates.wait("c") == 0
    rates.count("c")
    assert rates.wait("d") > 0  # five in all
    clock.now += 61
    assert [rates.wait(who) for who in "abcd"] == [0, 0, 0, 0]
    for number in range(5000):
        rates.count(str(number))
    assert len(rates._by) <= 1024


def test_sessions_are_not_without_end() -> None:
    sessions = Sessions(hashlib.sha256(b"token").digest(), Clock())
    cookies = [sessions.open("token", "address")[0] for _ in range(MOST_SESSIONS + 1)]
    assert sessions.find(cookies[0]) is None
    assert all(sessions.find(cookie) for cookie in cookies[1:])
    assert sessions.find("") is None


def test_a_life_goes_on_when_the_page_is_started_again(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()

    async def live() -> None:
        clock = Clock()
        first = Life(tmp_path, 100, 1000, clock)
        assert first.began == 1000.0
        clock.now += 600
        second = Life(tmp_path, 100, 1000, clock)
        assert (second.time_left, second.idle_left) == (400, 100)
        clock.now += 101
        second.busy = lambda: True  # a download runs
        living = asyncio.ensure_future(second.live())
        await asyncio.sleep(0)
        assert not second.reason
        second.busy = bool
        clock.now += 101
        await asyncio.wait_for(living, 10)
        assert second.reason == "idle"
        third = Life(tmp_path / "other", 100, 1000, clock)
        third.end("stopped")
        third.write()
        assert not Life(tmp_path / "other", 100, 1000, clock).over.is_set()
        third = Life(tmp_path, 100, 1000, clock)
        assert third.over.is_set()
        assert json.loads((tmp_path / "state.json").read_text())["reason"] == "idle"

    asyncio.run(live())


def test_the_log_is_full_one_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mayfly_agent.browser.requests_log.LONGEST_LOG", 500)
    log = RequestsLog(tmp_path, Clock())
    for _ in range(20):
        log.write("browser-1", "10.0.0.1", {"action": "list"})
    assert log.full
    assert (tmp_path / "requests.log").stat().st_size < 700
    log.close()


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"token_sha256": "00"},
        {"hosts": []},
        {"idle_seconds": 0},
        {"lifetime_seconds": 604_801},
        {"put_back": ["replace"]},
        {"volumes": [{"id": "../v", "name": "v"}]},
        {"volumes": [{"id": "v", "name": "v", "path": "relative"}]},
        {"volumes": [{"id": "v", "name": "v"}, {"id": "v", "name": "w"}]},
        {"volumes": [{"id": "v", "name": "v", "colour": "red"}]},
        {"source": {}},
    ],
)
def test_what_describes_no_recovery_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    value = {
        "version": 1,
        "source": {"name": "web-1", "id": "i-0"},
        "hosts": ["10.0.0.7"],
        "token_sha256": "00" * 32,
        "idle_seconds": 1800,
        "lifetime_seconds": 86400,
        "volumes": [{"id": "v", "name": "v", "path": "/mnt/v"}],
    }
    path = tmp_path / "description.json"
    path.write_text(json.dumps(value))
    assert read_description(path).volumes[0].path == "/mnt/v"
    path.write_text(json.dumps({**value, **change}))
    with pytest.raises(ValueError, match="describes no file recovery"):
        read_description(path)
