# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guard tells of the run as a whole."""

from __future__ import annotations

from typing import Any

from ..context import Context
from ..errors import KeeperError
from . import operation

_CLOSE_SECONDS = 400.0


@operation("run.ping")
def ping(_context: Context, _arguments: dict[str, Any]) -> dict[str, Any]:
    """{}: the keeper lives."""
    return {}


@operation("run.close")
def close(context: Context, _arguments: dict[str, Any]) -> dict[str, Any]:
    """{left: [error]}: the run has ended, but for these."""
    return {"left": context.run.closing.wait(_CLOSE_SECONDS)}


@operation("run.resources")
def resources(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{resources: {host: resource}}: what the hosts of a play stand for, told before its first task."""
    context.run.expect(arguments["resources"])
    return {}


@operation("run.ended")
def ended(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{hosts: {host: {failed, error}}}: how Ansible saw every host end. What failed outside the keeper counts too."""
    known = context.run.report.resources()
    for host, end in arguments["hosts"].items():
        if host not in known:
            continue
        report = known[host]
        if end["failed"] and not report.failed and end["error"]:
            report.error(KeeperError.from_dict(end["error"]))
        report.ended("Failed" if end["failed"] else "Skipped" if context.check else "Succeeded")
    # The path of the report is shown next: its stages and results are in it from now on.
    context.run.report.flush()
    return {}
