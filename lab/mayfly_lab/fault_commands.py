# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands `lab fault …`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from mayfly_lab import faults, namespace, paths, rpc

# Sub-command → (call to the supervisor, what it does to a host).
HOSTS = {
    "kill-host": ("lose_host", "a host dies and never answers again; EC2 takes it for running"),
    "freeze-host": ("freeze_host", "a host stands still"),
    "thaw-host": ("thaw_host", "the end of freeze-host"),
    "cut-network": ("cut_network", "every packet from and to a host is lost, of connections that stand as well"),
    "mend-network": ("mend_network", "the end of cut-network"),
}
_BAD = 1


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


_OPTIONS: dict[str, dict[str, Any]] = {
    "code": {"help": "AWS's error code (default: the service's internal error)"},
    "status": {"type": int, "help": "HTTP status (default: the one that goes with the code)"},
    "message": {"help": "text of the error, or of the StateReason"},
    "reason": {"help": "code of the StateReason, or the reason of an error of EBS direct's"},
    "seconds": {"type": _seconds, "metavar": "N"},
    "before": {"action": "store_true", "default": None, "help": "wait before anything is done"},
    "rate": {"type": _rate, "metavar": "N", "help": "requests a second that pass (default: none)"},
    "snapshot": {"help": "of this snapshot"},
    "index": {"type": int, "help": "of this block"},
    "type": {"metavar": "PATTERN", "help": "launches of these instance types"},
    "zone": {"metavar": "PATTERN", "help": "launches in these Availability Zones"},
    "market": {"choices": faults.MARKETS, "help": "launches on this market"},
    "thing": {"choices": faults.THINGS, "help": "what is not found (default: all of them)"},
}
_FILTERS = {
    "service": "ec2, sts, iam, kms, ssm, servicequotas, pricing, s3 or ebs",
    "call": "a call by its name in AWS's API",
    "account": "requests of this account",
    "region": "requests in this Region",
    "resource": "requests that name such an id, name or key",
}


def add_parser(commands: Any) -> None:
    """Put `fault` among the lab's commands."""
    parser = commands.add_parser("fault", help="let something go wrong: lab fault add KIND …, list, clear; and hosts")
    actions = parser.add_subparsers(dest="action", required=True)
    kinds = actions.add_parser("add", help="ask for a fault; prints its id").add_subparsers(dest="fault", required=True)
    for name, kind in faults.KINDS.items():
        each = kinds.add_parser(name, help=kind.purpose, description=kind.purpose.capitalize() + ".")
        each.add_argument("--times", type=int, metavar="N", help="spoil N answers (default: all)")
        for option in kind.options:
            flag = "--kind" if option == "thing" else f"--{option}"
            each.add_argument(flag, dest=option, required=option in kind.required, **_OPTIONS[option])
        for option, purpose in _FILTERS.items():
            each.add_argument(f"--{option}", metavar="PATTERN", help=purpose)
    actions.add_parser("list", help="every fault, with what is left of its count")
    clear = actions.add_parser("clear", help="take faults back, all of them without an id")
    clear.add_argument("ids", nargs="*", metavar="ID")
    for name, (_, purpose) in HOSTS.items():
        actions.add_parser(name, help=purpose).add_argument("instance", metavar="INSTANCE")


def run(where: paths.Paths, options: argparse.Namespace) -> int:
    """Carry one command out; raises LabDown, or RpcError for a host that there is not."""
    namespace.first_process(where)
    known = faults.Faults(where.run)
    try:
        if options.action == "add":
            names = (*faults.FILTERS, *faults.KINDS[options.fault].options)
            print(known.add(options.fault, options.times, **{name: getattr(options, name) for name in names}).identity)
        elif options.action == "list":
            for fault in known.all():
                print(fault)
        elif options.action == "clear":
            known.clear(*options.ids)
        else:
            rpc.Client(where.supervisor_socket).call(HOSTS[options.action][0], instance_id=options.instance)
    except faults.FaultError as error:
        print(f"lab: {error}", file=sys.stderr)
        return _BAD
    return 0
