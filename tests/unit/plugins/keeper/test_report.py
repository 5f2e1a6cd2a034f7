# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run: a status for each resource and for the whole, in a file that is whole at every moment."""

from __future__ import annotations

import json
import stat
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report, ResourceReport

FULL = KeeperError("DiskFull", "The disk is full.", "Take a larger type.")


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """A report in a folder of its own."""
    return Report(tmp_path, "the-run")


def read(folder: Path) -> dict[str, Any]:
    """The report's file."""
    content: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return content


def one_of(resource: ResourceReport, *steps: Callable[[ResourceReport], None]) -> str:
    """The status after these steps."""
    for step in steps:
        step(resource)
    return resource.status


def fails(resource: ResourceReport) -> None:
    resource.error(FULL)


def succeeds(resource: ResourceReport) -> None:
    resource.ended("Succeeded")


def is_skipped(resource: ResourceReport) -> None:
    resource.ended("Skipped")


def warns(resource: ResourceReport) -> None:
    resource.ended("Warning")


def warned(resource: ResourceReport) -> None:
    resource.warning(FULL)


def goes_on(resource: ResourceReport) -> None:
    resource.begin("Transferring")


RESOURCES = [
    ((), "Running"),
    ((goes_on,), "Running"),
    ((succeeds,), "Succeeded"),
    ((is_skipped,), "Skipped"),
    ((fails,), "Failed"),
    ((fails, succeeds), "Failed"),
    ((fails, is_skipped), "Failed"),
    ((succeeds, fails), "Failed"),
    ((warned,), "Running"),
    ((warned, succeeds), "Warning"),
    ((warned, is_skipped), "Skipped"),
    ((warned, fails, succeeds), "Failed"),
]


@pytest.mark.parametrize(("steps", "status"), RESOURCES)
def test_a_resource_that_failed_stays_so(report: Report, steps: tuple[Any, ...], status: str) -> None:
    resource = report.resource("web-1")
    assert one_of(resource, *steps) == status
    assert resource.failed == (status == "Failed")


RUNS = [
    ("no resource", [], "Skipped"),
    ("all succeeded", [succeeds, succeeds], "Succeeded"),
    ("some skipped", [succeeds, is_skipped], "Succeeded"),
    ("all skipped", [is_skipped], "Skipped"),
    ("one warned", [succeeds, warns], "Warning"),
    ("one failed", [succeeds, warns, fails], "Failed"),
    ("one was going on", [succeeds, fails, goes_on], "Canceled"),
]


@pytest.mark.parametrize(("ends", "status"), [row[1:] for row in RUNS], ids=[row[0] for row in RUNS])
def test_the_run_is_as_good_as_its_worst_resource(report: Report, tmp_path: Path, ends: list[Any], status: str) -> None:
    for number, end in enumerate(ends):
        end(report.resource(f"web-{number}"))
    report.end()
    assert read(tmp_path)["status"] == status
    assert read(tmp_path)["ended"]


def test_an_error_of_the_run_itself_fails_it(report: Report, tmp_path: Path) -> None:
    report.resource("web-1").ended("Succeeded")
    report.error(FULL)
    report.end()
    assert read(tmp_path)["status"] == "Failed"
    assert read(tmp_path)["errors"] == [FULL.as_dict()]


def test_what_was_going_on_at_the_end_was_canceled(report: Report, tmp_path: Path) -> None:
    report.resource("web-1").begin("Transferring")
    report.end()
    resource = read(tmp_path)["resources"]["web-1"]
    assert resource["status"] == "Canceled"
    assert resource["stages"][0]["end"]


def test_the_file_holds_all_that_was_told(report: Report, tmp_path: Path) -> None:
    report.set_operation("ec2_backup")
    report.set_operation("another")
    resource = report.resource("web-1")
    resource.set(resource={"id": "i-1"}, volumes={"vol-1": {"blocks_done": 1}})
    resource.set(volumes={"vol-1": {"blocks_done": 2}}, restore_point="p-1")
    assert report.resource("web-1") is resource
    resource.error(FULL)
    report.end()
    content = read(tmp_path)
    assert (content["run"], content["operation"], content["errors"]) == ("the-run", "ec2_backup", [])
    told = content["resources"]["web-1"]
    assert told["resource"] == {"id": "i-1"}
    assert told["volumes"] == {"vol-1": {"blocks_done": 2}}
    assert told["restore_point"] == "p-1"
    assert told["errors"] == [FULL.as_dict()]
    assert set(report.resources()) == {"web-1"}


def test_the_same_error_is_told_once(report: Report) -> None:
    resource = report.resource("web-1")
    for error in (FULL, KeeperError(FULL.code, FULL.message, FULL.remedy), KeeperError("Other", "x")):
        resource.error(error)
    assert [each["code"] for each in resource.as_dict()["errors"]] == ["DiskFull", "Other"]


def test_every_attempt_is_told(report: Report) -> None:
    candidate = {
        "account": "1",
        "region": "r",
        "availability_zone": "ra",
        "subnet_id": "s",
        "instance_type": "c5.large",
    }
    resource = report.resource("web-1")
    for code in ("InsufficientInstanceCapacity", "VcpuLimitExceeded"):
        resource.attempt({**candidate, "market": "on-demand", "vpc_id": "v"}, code)
    attempts = resource.as_dict()["attempts"]
    assert [each["code"] for each in attempts] == ["InsufficientInstanceCapacity", "VcpuLimitExceeded"]
    assert {name: attempts[0][name] for name in candidate} == candidate
    assert datetime.fromisoformat(attempts[0]["time"]).tzinfo


class TestStages:
    def test_follow_one_another_without_a_gap_left_open(self, report: Report) -> None:
        resource = report.resource("web-1")
        with resource.stage("Placing"):
            assert resource.as_dict()["stages"] == [
                {"name": "Placing", "start": resource.as_dict()["stages"][0]["start"], "end": None}
            ]
        resource.begin("Transferring")
        resource.begin("Terminating")
        resource.ended("Succeeded")
        stages = resource.as_dict()["stages"]
        assert [each["name"] for each in stages] == ["Placing", "Transferring", "Terminating"]
        times = [datetime.fromisoformat(each[part]) for each in stages for part in ("start", "end")]
        assert times == sorted(times)
        assert datetime.now(UTC) - times[0] < timedelta(minutes=1)

    def test_end_when_what_was_done_in_them_fails(self, report: Report) -> None:
        resource = report.resource("web-1")
        with pytest.raises(ZeroDivisionError), resource.stage("Launching"):
            raise ZeroDivisionError
        assert resource.as_dict()["stages"][0]["end"]

    def test_are_not_ended_by_the_end_of_another(self, report: Report) -> None:
        resource = report.resource("web-1")
        resource.begin("Snapshotting")
        resource.end("Transferring")
        assert resource.as_dict()["stages"][0]["end"] is None
        resource.end("Snapshotting")
        assert resource.as_dict()["stages"][0]["end"]

    def test_keep_their_first_end(self, report: Report) -> None:
        resource = report.resource("web-1")
        resource.begin("Placing")
        resource.end("Placing")
        first = resource.as_dict()["stages"][0]["end"]
        time.sleep(0.005)
        resource.end("Placing")
        resource.ended("Succeeded")
        assert resource.as_dict()["stages"][0]["end"] == first

    def test_may_end_when_none_has_begun(self, report: Report) -> None:
        report.resource("web-1").end("Placing")
        assert report.resource("web-1").as_dict()["stages"] == []


def test_only_this_user_can_read_it(report: Report, tmp_path: Path) -> None:
    report.flush()
    assert stat.S_IMODE((tmp_path / "report.json").stat().st_mode) == 0o600


def test_a_change_reaches_the_file_within_about_a_second(report: Report, tmp_path: Path) -> None:
    report.resource("web-1").set(volumes=1)
    assert read(tmp_path)["resources"]["web-1"]["volumes"] == 1
    report.resource("web-1").set(volumes=2)
    ends = time.monotonic() + 10
    while read(tmp_path)["resources"]["web-1"]["volumes"] != 2:
        assert time.monotonic() < ends
        time.sleep(0.02)


CHANGES = [
    ("a stage that begins", lambda resource: resource.begin("Placing")),
    ("a stage that ends", lambda resource: resource.end("Placing")),
    ("a value", lambda resource: resource.set(volumes=1)),
    ("an attempt", lambda resource: resource.attempt({}, "InsufficientInstanceCapacity")),
    ("an error", lambda resource: resource.error(FULL)),
    ("a warning", lambda resource: resource.warning(FULL)),
    ("the end", lambda resource: resource.ended("Succeeded")),
]


@pytest.mark.parametrize("change", [row[1] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_every_change_is_written(report: Report, tmp_path: Path, change: Callable[[ResourceReport], None]) -> None:
    change(report.resource("web-1"))
    assert "web-1" in read(tmp_path)["resources"]


def test_many_changes_do_not_write_the_file_each_time(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, target: (written.append(path), replace(path, target))[1])
    for number in range(500):
        report.resource("web-1").set(volumes=number)
    report.end()
    assert len(written) < 50
    assert read(tmp_path)["resources"]["web-1"]["volumes"] == 499


def test_the_file_is_whole_at_every_moment(report: Report, tmp_path: Path) -> None:
    """Read without a pause while many hosts change it."""
    report.flush()
    stop = threading.Event()

    def change(host: str) -> None:
        while not stop.is_set():
            resource = report.resource(host)
            resource.set(volumes={f"vol-{number}": {"reason": "x" * 200} for number in range(20)})
            with resource.stage("Transferring"):
                report.flush()

    threads = [threading.Thread(target=change, args=(f"web-{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        seen, reads, ends = {0}, 0, time.monotonic() + 20
        while (reads < 200 or max(seen) < 1) and time.monotonic() < ends:
            seen.add(len(read(tmp_path)["resources"]))
            reads += 1
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    report.end()
    assert max(seen) >= 1
    assert read(tmp_path)["status"] == "Canceled"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "report.csv",
        "report.html",
        "report.json",
        "report.xml",
    ]


def test_another_keeper_goes_on_with_what_was_written(report: Report, tmp_path: Path) -> None:
    report.set_operation("ec2_backup")
    failed, running = report.resource("web-1"), report.resource("web-2")
    failed.set(resource={"id": "i-1"})
    failed.error(FULL)
    running.begin("Transferring")
    report.error(FULL)
    report.flush()
    before = read(tmp_path)
    after = Report(tmp_path, "the-run")
    after.resume()
    after.resource("web-1").ended("Succeeded")
    after.end()
    content = read(tmp_path)
    assert (content["operation"], content["started"]) == ("ec2_backup", before["started"])
    assert content["errors"] == [FULL.as_dict()]
    assert content["resources"]["web-1"] == before["resources"]["web-1"]
    assert content["resources"]["web-2"]["status"] == "Canceled"
    assert content["resources"]["web-2"]["stages"][0]["start"] == before["resources"]["web-2"]["stages"][0]["start"]


@pytest.mark.parametrize("written", [None, "", "{"], ids=["none", "empty", "cut off"])
def test_another_keeper_begins_anew_when_nothing_can_be_read(tmp_path: Path, written: str | None) -> None:
    if written is not None:
        (tmp_path / "report.json").write_text(written)
    report = Report(tmp_path, "the-run")
    report.resume()
    report.end()
    assert read(tmp_path)["run"] == "the-run"


def test_a_report_that_cannot_be_written_stops_nothing_and_is_written_later(report: Report, tmp_path: Path) -> None:
    (tmp_path / "report.new").mkdir()
    report.resource("web-1").set(volumes=1)
    report.flush()
    assert not (tmp_path / "report.json").exists()
    (tmp_path / "report.new").rmdir()
    report.end()
    assert read(tmp_path)["resources"]["web-1"]["volumes"] == 1
