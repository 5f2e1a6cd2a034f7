# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to a run beside killing its processes: to its worker, its transfer agent, or its sessions with AWS."""

from __future__ import annotations

import time

from .cases import HARMS, Case
from .site import Site, SiteError

_HOSTS = {"kill-host": "lose_host", "freeze-host": "freeze_host", "cut-network": "cut_network"}
_AGENT = "mayfly-transfer.service"
_UP = ("pending", "running")


def harm(site: Site, case: Case, run: str) -> None:
    """Do it, and take it back after ``case.mend_after`` seconds. Raises SiteError when it cannot be done."""
    assert case.action in HARMS
    if case.action == "expire-sessions":
        fault = site.faults.add("expired-credentials")
        time.sleep(case.mend_after or 0.0)
        site.faults.clear(fault.identity)
        return
    worker = living(site, run)
    if case.action == "stop-agent":
        site.on_host(worker, "systemctl", "kill", "--kill-whom=main", "--signal=SIGSTOP", _AGENT)
    elif case.action == "reboot-worker":
        site.ask("reboot", instance=worker)
    else:
        site.supervisor(_HOSTS[case.action], instance_id=worker)
        if case.mend_after is not None:
            time.sleep(case.mend_after)
            site.supervisor("mend_network", instance_id=worker)


def living(site: Site, run: str) -> str:
    """A run's worker that lives. Raises SiteError when it has none."""
    for each in site.ask("workers", run=run):
        if each["state"] in _UP:
            return str(each["id"])
    raise SiteError(f"{run} has no worker to be hurt")
