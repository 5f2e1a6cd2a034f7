# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands `lab iam …`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

from mayfly_lab import namespace, paths, rpc
from mayfly_lab.iam.decisions import Decisions

_WAIT_SECONDS = 60.0


def add_parser(commands: Any) -> None:
    """Tell the parser of `lab` about them."""
    iam = commands.add_parser("iam", help="let IAM's policies count, and see what they refuse")
    actions = iam.add_subparsers(dest="action", required=True)
    actions.add_parser("enforce", help="from now on every request is decided by the policies of its caller")
    actions.add_parser("off", help="from now on everything is allowed again")
    denied = actions.add_parser("denied", help="recent denials, the newest last, and what was in the way")
    denied.add_argument("--last", type=int, default=20, metavar="N", help="the newest N (20)")
    denied.add_argument("--all", action="store_true", help="what was allowed as well")


def run(where: paths.Paths, options: argparse.Namespace) -> int:
    """Carry one command out; raises LabDown, or RpcError where there is nothing that evaluates policies."""
    namespace.first_process(where)
    if options.action == "denied":
        for entry in Decisions(where.iam).recent(options.last, denied=not options.all):
            print("\n".join(told(entry)))
    else:
        turn(where, on=options.action == "enforce")
    return 0


def turn(where: paths.Paths, *, on: bool) -> None:
    """Let policies count or not; raises RpcError where there is nothing that evaluates them."""
    rpc.Client(where.supervisor_socket).call("enforce_iam", wait=_WAIT_SECONDS, on=on)


def state(where: paths.Paths) -> str:
    """What `lab status` says."""
    if not (where.iam / "enforced").exists():
        return "not enforced"
    return "enforced"


def told(entry: dict[str, Any]) -> Iterator[str]:
    """The lines for one decision."""
    moment = time.strftime("%H:%M:%S", time.localtime(entry["time"]))
    verdict = "allowed" if entry["allowed"] else "denied "
    yield f"{moment} {verdict} {entry['action']} on {entry['resource']} to {entry['caller']} ({entry['call']})"
    if entry["allowed"]:
        return
    yield f"    {entry['why']}"
    for statement in entry["denying"]:
        yield f"    denied by {statement}"
    for near in entry["near"]:
        yield f"    {near['statement']} {'; '.join(near['obstacles']) or 'does not apply'}"
    for name, value in sorted(entry["conditions"].items()):
        yield f"    {name} = {', '.join(value) if isinstance(value, list) else value}"
    if entry["ignored"]:
        yield f"    not known to the action: {', '.join(entry['ignored'])}"
