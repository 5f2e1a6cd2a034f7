# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run's result says of itself."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mayfly.results import Failure, ResourceResult, RunResult, Status

NOW = datetime(2026, 11, 24, tzinfo=UTC)
WORKER = {"instance_id": "i-1"}


def resource(status: Status, *codes: str, worker: dict[str, str] | None = None) -> ResourceResult:
    return ResourceResult(status, worker=worker, errors=tuple(Failure(code, "It failed.") for code in codes))


@pytest.mark.parametrize(
    ("resources", "bad"),
    [
        ([], False),
        ([resource("Succeeded")], False),
        ([resource("Failed", "RepositoryMissing")], True),
        ([resource("Failed", "TaskFailed", "NoNetwork")], True),
        ([resource("Failed", "RepositoryMissing"), resource("Failed", "InstanceNotFound")], True),
        ([resource("Failed", "RepositoryMissing"), resource("Succeeded", worker=WORKER)], False),
        ([resource("Failed", "AccessDenied", worker=WORKER)], False),
        ([resource("Failed", "NoCapacity")], False),
        ([resource("Canceled")], False),
    ],
)
def test_bad_input_is_what_was_refused_before_anything_was_launched(resources: list[ResourceResult], bad: bool) -> None:
    named = {str(number): each for number, each in enumerate(resources)}
    assert RunResult("Failed", "run", "ec2_backup", NOW, NOW, named).bad_input is bad
