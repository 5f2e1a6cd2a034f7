# SPDX-License-Identifier: GPL-3.0-or-later
"""Launches without an answer: what they may have made is looked for by the end of their host, and ended."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import workers as registry

from tests.unit.plugins.keeper.fakes import ACCOUNT, HOST, REGION, UNREACHABLE, Script, refused, says, tags
from tests.unit.plugins.keeper.test_workers import OTHER_ACCOUNT, RUN, Registry

pytestmark = pytest.mark.usefixtures("quick")


def launched_without_answer(**states: str) -> dict[str, list[dict[str, Any]]]:
    """Instances of a resource of the run, by name, in these states; two underscores stand for a dash."""
    ours = tags(mayfly__run=RUN, mayfly__resource="i-0001", mayfly__temporary="true")
    return {
        "describe_instances": [
            {"InstanceId": f"i-{name}", "State": {"Name": state.replace("__", "-")}, "Tags": ours}
            for name, state in states.items()
        ]
    }


class TestALaunchWithoutAnAnswer:
    def test_is_settled_by_the_end_of_its_host(self, tmp_path: Path) -> None:
        there = launched_without_answer(
            one="running", two="pending", three="stopped", four="terminated", five="shutting__down"
        )
        others = [
            {"InstanceId": "i-of-another-run", "Tags": tags(mayfly__run="x", mayfly__resource="i-0001")},
            {"InstanceId": "i-of-another-host", "Tags": tags(mayfly__run=RUN, mayfly__resource="i-0002")},
            {"InstanceId": "i-handed-over", "Tags": tags(mayfly__run=RUN, mayfly__resource="i-0001")},
        ]
        there["describe_instances"] += [{**each, "State": {"Name": "running"}} for each in others]
        it = Registry(tmp_path, things=there)
        it.workers.doubt(HOST, ACCOUNT, REGION, "i-0001")
        assert it.workers.terminate(HOST) is True
        assert it.ended == ["i-one", "i-two", "i-three"]
        assert it.workers.terminate(HOST) is False

    def test_that_has_made_nothing_is_no_failure(self, tmp_path: Path) -> None:
        it = Registry(tmp_path)
        it.workers.doubt(HOST, ACCOUNT, REGION, "i-0001")
        assert it.workers.terminate_all(30) == []
        assert it.ended == []

    def test_is_looked_for_in_each_account_once(self, tmp_path: Path) -> None:
        it = Registry(tmp_path)
        for account in (ACCOUNT, OTHER_ACCOUNT, ACCOUNT):
            it.workers.doubt(HOST, account, REGION, "i-0001")
        it.workers.terminate(HOST)
        asked = {account: len(ec2.asked) for (account, _), ec2 in it.clients.made.items()}
        assert asked == {ACCOUNT: 1, OTHER_ACCOUNT: 1}

    def test_is_looked_for_as_long_as_it_may_be_hidden(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An answer that cannot be had tells nothing either."""
        monkeypatch.setattr(registry, "_DOUBT_PAUSE", 0.05)
        there = launched_without_answer()
        count = Script(None)

        def look(**_filters: Any) -> None:
            count()
            if count.count == 2:
                raise UNREACHABLE
            if count.count == 4:
                there.update(launched_without_answer(late="pending"))

        it = Registry(tmp_path, things=there, describe_instances=look)
        it.workers.doubt(HOST, ACCOUNT, REGION, "i-0001", 1.0)
        began = time.monotonic()
        assert it.workers.terminate(HOST) is True
        assert 1.0 <= time.monotonic() - began < 10
        assert set(it.ended) == {"i-late"}
        assert it.workers.terminate(HOST) is False

    def test_that_is_a_doubt_still_when_time_is_over_is_looked_for_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(registry, "_DOUBT_PAUSE", 0.01)
        it = Registry(tmp_path)
        it.workers.doubt(HOST, ACCOUNT, REGION, "i-0001", 1.5)
        for _ in range(2):
            it.workers.terminate(HOST, timeout=0.02)
            looked = len(it.ec2.asked)
        time.sleep(1.5)
        it.workers.terminate(HOST, timeout=0.02)
        assert len(it.ec2.asked) == looked + 1
        assert it.workers.terminate(HOST) is False

    def test_that_could_not_be_looked_for_is_not_forgotten(self, tmp_path: Path) -> None:
        there = launched_without_answer(one="running")
        it = Registry(tmp_path, things=there, describe_instances=Script(refused("UnauthorizedOperation", 403), None))
        it.workers.doubt(HOST, ACCOUNT, REGION, "i-0001")
        assert len(it.workers.terminate_all(5)) == 1
        assert it.workers.terminate_all(5) == []
        assert it.ended == ["i-one"]

    def test_that_does_not_end_is_told(self, tmp_path: Path) -> None:
        it = Registry(tmp_path, things=launched_without_answer(one="running"), terminate_instances=says("running"))
        it.workers.doubt(HOST, ACCOUNT, REGION, "i-0001")
        [error] = it.workers.terminate_all(0.05)
        assert error.code == "TerminationFailed"
        assert "i-one" in error.message
