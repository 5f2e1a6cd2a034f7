# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: ``python runner.py OPERATION``, or ``mayfly OPERATION`` where the package is installed."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from mayfly import project, reporting
from mayfly.execution import run
from mayfly.progress import Event
from mayfly.results import ResourceResult, RunResult

SUCCEEDED = 0
SOME_FAILED = 1
BAD_INPUT = 2
#: As of a program that SIGINT has ended.
INTERRUPTED = 130
_BYTES_SECONDS = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Run one operation; exit code 0: all succeeded, 1: some failed, 2: bad input, with nothing launched.

    130: a second Ctrl-C has given up waiting; the keeper of the run goes on.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if words and words[0] in reporting.COMMANDS:
        return reporting.main(words[0], words[1:])
    options = _parser().parse_args(words)
    # With --json standard output is the result and nothing else.
    stream = sys.stderr if options.json else sys.stdout
    try:
        result = run(
            options.operation,
            inventory=options.inventory or default_inventory(options.operation),
            limit=options.limit,
            extra_vars=read_variables(options.extra_vars),
            on_event=None if options.quiet else printer(lambda line: print(line, file=stream, flush=True)),
            timeout=options.timeout,
            check=options.check,
        )
    except project.BadInput as error:
        if options.json:
            print(json.dumps({"status": "BadInput", "error": str(error)}))
        print(f"mayfly: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt as given_up:
        if options.json:
            print(json.dumps({"status": "Canceled", "error": str(given_up)}))
        print(f"mayfly: {given_up}", file=sys.stderr)
        return INTERRUPTED
    print(json.dumps(result.to_dict(), indent=2) if options.json else summary(result))
    if result.succeeded:
        return SUCCEEDED
    return BAD_INPUT if result.bad_input else SOME_FAILED


def default_inventory(operation: str) -> Path:
    """The lab's own inventory for an operation: what was lost is found in the repository, all else in the accounts."""
    files = {
        "archive": "repositories.yml",
        "archive_sets": "repositories.yml",
        "health_check": "repositories.yml",
        "repository_create": "repositories.yml",
        "repository_copy": "repositories.yml",
        "repository_keys": "repositories.yml",
        "retention": "repositories.yml",
        "ec2_restore": "restore_points.yml",
        "volume_restore": "restore_points.yml",
        "worker_check": "worker_networks.yml",
        "worker_image": "worker_images.yml",
    }
    return project.root() / "inventories/lab" / files.get(operation, "ec2.aws_ec2.yml")


def read_variables(given: list[str]) -> dict[str, Any]:
    """Settings from ``key=value``, JSON or ``@file``, later ones over earlier ones. Raises BadInput."""
    variables: dict[str, Any] = {}
    for text in given:
        if text.startswith("@"):
            try:
                values = yaml.safe_load(Path(text[1:]).read_text())
            except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
                raise project.BadInput(f"--extra-vars {text}: {error}") from error
        elif text.lstrip().startswith("{"):
            try:
                values = json.loads(text)
            except json.JSONDecodeError as error:
                raise project.BadInput(f"--extra-vars: {error}") from None  # the text may hold a secret
        else:
            name, equals, value = text.partition("=")
            values = {name: value} if equals and name.isidentifier() else None
        if not isinstance(values, dict):
            raise project.BadInput("--extra-vars takes key=value, a JSON object or @file, and one of them is neither.")
        variables.update(values)
    return variables


def printer(write: Callable[[str], None]) -> Callable[[Event], None]:
    """Prints events as lines with the time since the start; a transfer's bytes at most every five seconds a host."""
    began = time.monotonic()
    told: dict[str | None, float] = {}

    def tell(event: Event) -> None:
        now = time.monotonic()
        if event.kind == "bytes":
            complete = event.data["blocks_done"] == event.data["blocks_total"]
            if not complete and now - told.get(event.host, -_BYTES_SECONDS) < _BYTES_SECONDS:
                return
            told[event.host] = now
        mark = {"failed": "FAILED ", "warning": "warning ", "task": "· "}.get(event.kind, "")
        where = f"{event.host}: " if event.host else ""
        write(f"{now - began:7.1f} s  {where}{mark}{event.text}")

    return tell


def summary(result: RunResult) -> str:
    """The end of a run for people: a line for each resource, and its errors."""
    lines = [""]
    for host, resource in result.resources.items():
        lines.append(f"{host}: {resource.status}{_details(resource)}")
        lines.extend(
            f"  {volume}: {each['method']}, for {each['reason']}"
            for volume, each in resource.volumes.items()
            if each.get("reason")
        )
        lines.extend(f"  {failure.code}: {failure}" for failure in resource.errors)
    lines.extend(f"{failure.code}: {failure}" for failure in result.errors)
    seconds = (result.ended - result.started).total_seconds()
    lines.append(f"{result.operation} {result.run}: {result.status} after {seconds:.1f} s")
    return "\n".join(lines)


def _details(resource: ResourceResult) -> str:
    parts = []
    if resource.worker:
        parts.append(f"worker {resource.worker.get('instance_id')} ({resource.worker.get('type')})")
    if resource.volumes:
        read, stored = (resource.bytes[name] / 2**20 for name in ("read", "stored"))
        parts.append(f"{len(resource.volumes)} volumes, {read:.0f} MiB read, {stored:.0f} MiB stored")
    if resource.restore_point:
        parts.append(f"restore point {resource.restore_point}")
    if done := resource.retention:
        freed, later = (done[name] / 2**20 for name in ("bytes_deleted", "bytes_condemned"))
        parts.append(f"{done['points_deleted']} restore points deleted, {freed:.0f} MiB freed, {later:.0f} MiB later")
        parts.append(f"{done['locked']} objects locked")
    if done := resource.copied:
        parts.append(f"{done['points_copied']} restore points copied, {done['bytes_stored'] / 2**20:.0f} MiB stored")
    if found := resource.health_check:
        parts.append(f"{found['points']} restore points checked, {found['damaged_points']} damaged")
        parts.append(f"{found['new_damaged_points']} of them newly")
    if copied := resource.archive:
        made = len(copied["points"]) - copied["failed"]
        parts.append(f"{made} restore points copied, {copied['bytes_stored'] / 2**20:.0f} MiB stored")
    parts.extend(f"{old} → {new}" for old, new in resource.restored_volumes.items())
    parts += [f"instance {resource.restored_instance}"] if resource.restored_instance else []
    return "".join(f", {part}" for part in parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mayfly",
        description="Run one operation over the protected resources of an inventory.",
        epilog="`mayfly runs` lists what was run, `mayfly report` shows it. "
        "Exit code: 0 all succeeded, 1 some failed, 2 bad input (nothing was launched), 130 interrupted twice. "
        "Ctrl-C cancels the run and waits for its end; a second one leaves that to the run's keeper.",
    )
    parser.add_argument("operation", help=", ".join(project.operations()))
    parser.add_argument(
        "-i", "--inventory", action="append", help="file or folder; may be given again (default: the lab's)"
    )
    parser.add_argument("-l", "--limit", metavar="PATTERN", help="only these hosts: names, groups, patterns of Ansible")
    parser.add_argument("-C", "--check", action="store_true", help="show what would be done; launch nothing")
    parser.add_argument(
        "-e", "--extra-vars", action="append", default=[], metavar="VARS", help="key=value, a JSON object, or @file"
    )
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="cancel the run after this time")
    parser.add_argument("--json", action="store_true", help="the result as JSON on standard output")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress lines")
    return parser
