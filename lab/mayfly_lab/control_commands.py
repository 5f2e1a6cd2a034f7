# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands `lab spot …` and `lab quota …`: what the control plane is told outside AWS's own calls."""

from __future__ import annotations

import argparse
from typing import Any

from mayfly_lab import namespace, paths, rpc

_NOTICE_SECONDS = 120.0  # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def add_parsers(commands: Any) -> None:
    """Put `spot` and `quota` among the lab's commands."""
    spot = commands.add_parser("spot", help="take a Spot Instance back: lab spot interrupt INSTANCE")
    interrupt = spot.add_subparsers(dest="action", required=True).add_parser(
        "interrupt", help="its metadata tell so at once, and it is terminated after the notice"
    )
    interrupt.add_argument("instance", metavar="INSTANCE")
    interrupt.add_argument("--notice", type=_seconds, default=_NOTICE_SECONDS, metavar="SECONDS", help="default: 120")
    quota = commands.add_parser("quota", help="change a service quota of EC2's: lab quota L-1216C47A 32")
    quota.add_argument("code", metavar="CODE", help="L-1216C47A (vCPUs on demand) or L-34B43A08 (vCPUs of Spot)")
    quota.add_argument("value", type=int, metavar="VALUE")
    quota.add_argument("--account", help="of this account (default: of all)")
    quota.add_argument("--region", help="in this Region (default: in all)")


def run(where: paths.Paths, options: argparse.Namespace) -> int:
    """Carry one command out; raises LabDown, or RpcError for what there is not."""
    namespace.first_process(where)
    client = rpc.Client(where.control_socket)
    if options.command == "spot":
        client.call("interrupt", instance_id=options.instance, notice=options.notice)
    else:
        place = {"account": options.account, "region": options.region}
        client.call("set_quota", code=options.code, value=options.value, **place)
    return 0
