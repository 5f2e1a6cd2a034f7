# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.faults``: the campaign from the command line. ``make test`` runs its fast part."""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from . import cases, promises, table
from .campaign import Campaign, Order

_SAYING = threading.Lock()


def main() -> int:
    """0 when every promise was kept."""
    options = _parser().parse_args()
    if os.geteuid() != 0:
        print("the campaign needs root: its labs do", file=sys.stderr)
        return 2
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    with tempfile.TemporaryDirectory(prefix="mayfly-faults-") as folder:
        state = options.state or Path(folder) / "lab"
        order = Order(
            seed, options.labs, options.random, options.only, options.fast, state
        )  # fmt: skip
        return _conduct(order, options.table)


def _conduct(order: Order, page: Path | None) -> int:
    _say(f"seed {order.seed}: --seed {order.seed} gives the same cases again")
    for case in cases.chosen(order.seed, order.random, only=order.only, fast=order.fast):
        _say(f"  {case.name}" + (f" at {case.seconds} s" if case.seconds is not None else ""))
    campaign, began = Campaign(order, _say), time.monotonic()
    signal.signal(signal.SIGTERM, _interrupt)
    # A shell that starts this in the background ignores SIGINT, and every operation would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        results = campaign.run()
    except BaseException:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _say("the labs are taken down")
        campaign.down()
        for each in campaign.results():
            if not each.good:
                _say(table.line(each))
        raise
    campaign.down()
    lines = promises.judge(results, 0 if order.only or order.fast else order.random)
    minutes = (time.monotonic() - began) / 60
    about = (
        f"Seed {order.seed}; {len(results)} results of {campaign.count} jobs in {order.labs} labs at once, "
        f"{minutes:.0f} minutes; leases of {promises.LEASE_SECONDS} s."
    )
    if page is not None:
        content = table.markdown(results, lines, about)
        page.write_text(table.replaced(page.read_text() if page.exists() else "", content))
    _say("")
    _say(table.text(results))
    _say(f"\n{about}")
    for line in lines:
        _say(str(line))
    return int(not all(line.met for line in lines))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    with _SAYING:
        print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    arguments: dict[str, dict[str, Any]] = {
        "--seed": {"type": int, "help": "of the random kills (default: a new one)"},
        "--labs": {"type": int, "default": 4, "help": "labs at once"},
        "--random": {"type": int, "default": cases.RANDOM_KILLS, "help": "kills at random moments"},
        "--only": {"default": "", "metavar": "PATTERN", "help": "cases with this in their names"},
        "--fast": {"action": "store_true", "help": "a fixed part of it, in three minutes"},
        "--table": {"type": Path, "metavar": "FILE.md", "help": "write the table there, between its marks"},
        "--state": {"type": Path, "metavar": "PREFIX", "help": "state directories of the labs: PREFIX-1, PREFIX-2, …"},
    }
    for name, words in arguments.items():
        parser.add_argument(name, **words)
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
