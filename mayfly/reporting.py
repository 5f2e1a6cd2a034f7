# SPDX-License-Identifier: GPL-3.0-or-later
"""``runs`` and ``report`` on the command line."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mayfly import project, records

COMMANDS = ("runs", "report")


def main(command: str, arguments: list[str]) -> int:
    """Show runs or a report. Exit code 2 for what is not there, 1 when a resource has no fresh restore point."""
    try:
        return _runs(arguments) if command == "runs" else _report(arguments)
    except project.BadInput as error:
        print(f"mayfly: {error}", file=sys.stderr)
        return 2


def _runs(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="mayfly runs", description="List the runs of this machine, oldest first.")
    parser.add_argument("--since", type=_days, metavar="DAYS", help="only those that began within so many days")
    parser.add_argument("--json", action="store_true", help="their reports as a JSON list")
    parser.add_argument(
        "--remove-older-than", type=_days, metavar="DAYS", help="remove the reports of runs that ended longer ago"
    )
    options = parser.parse_args(arguments)
    if options.remove_older_than is not None:
        for run in records.remove_old(options.remove_older_than):
            print(f"removed {run}")
        return 0
    found = records.load_all(options.since)
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for report in found:
        statuses = [each.get("status") for each in (report.get("resources") or {}).values()]
        counts = ", ".join(f"{statuses.count(each)} {each}" for each in dict.fromkeys(statuses))
        status = report.get("status") or "Running"
        print(f"{report['run']}  {report.get('operation') or '-':18} {status:10} {counts}")
    return 0


def _report(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="mayfly report",
        description="Show the report of a run, or with --all an overview of many: what was protected when, how often "
        "operations succeed, how long they take, and what has no fresh restore point.",
        epilog="Exit code: 2 when there is no such run; with --all, 1 when a resource has no fresh restore point.",
    )
    parser.add_argument("run", nargs="?", help="the run's id; `mayfly runs` lists them")
    parser.add_argument("--all", action="store_true", help="an overview of all runs")
    parser.add_argument("--since", type=_days, metavar="DAYS", help="with --all: runs that began within so many days")
    parser.add_argument(
        "--objective", type=float, default=24.0, metavar="HOURS", help="a restore point is fresh for so long (24)"
    )
    parser.add_argument("--format", choices=("html", "json", "csv", "junit"), default="html", help="html by default")
    parser.add_argument("--output", type=Path, metavar="FILE", help="standard output by default")
    options = parser.parse_args(arguments)
    if options.all == bool(options.run):
        parser.error("name a run, or give --all")
    code = 0
    if options.run:
        text = _of_one(records.load(options.run), options.format)
    else:
        if options.format not in ("html", "json"):
            parser.error("an overview comes as html or json")
        now = datetime.now(UTC)
        seen = records.overview(records.load_all(options.since), timedelta(hours=options.objective), now)
        code = int(not all(each["fresh"] for each in seen["resources"].values()))
        text = json.dumps(seen, indent=2) + "\n" if options.format == "json" else _page(seen)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return code


def _of_one(report: dict[str, Any], form: str) -> str:
    if form == "json":
        return json.dumps(report, indent=2) + "\n"
    text: str = records.reports_of_collection("writing").FORMS[form][1](report)
    return text


def _page(seen: dict[str, Any]) -> str:
    environment = records.reports_of_collection("page").environment()
    text: str = environment.get_template("overview.html.j2").render(seen=seen)
    return text


def _days(text: str) -> timedelta:
    return timedelta(days=float(text))
