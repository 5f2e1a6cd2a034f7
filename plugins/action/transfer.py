# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the transfer agent move the data, and show how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.utils.display import Display
from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction

_POLL_SECONDS = 10
# Longer than a repository is waited for, so that its own error is told.
_PREPARE_SECONDS = 420.0
# A poll itself waits for a worker that cannot be reached.
_LOST_SECONDS = 300.0
_METHODS = {"full": "full", "changed": "changed blocks", "compared": "compared with the restore point before"}


class ActionModule(KeeperAction):
    """transfer"""

    NAME = "transfer"

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        self.ask("transfer.prepare", options, _PREPARE_SECONDS)
        while True:
            status = self.ask("transfer.poll", {"timeout": _POLL_SECONDS}, _LOST_SECONDS)
            if status["state"] != "running":
                lines = told_volumes(status["volumes"])
                for line in lines:
                    self._tell(line)
                return {**status, **({"msg": lines} if lines else {}), "changed": True}
            self._tell(_told(status))

    def _tell(self, line: str) -> None:
        Display().display(f"{self.variables['inventory_hostname']}: {line}")


def told_volumes(volumes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each volume that was backed up: how, why not in a shorter way, and how much of it."""
    return [
        f"{volume}: {_METHODS[each['method']]}{' (' + each['reason'] + ')' if each['reason'] else ''}, "
        f"{each['blocks_read']} blocks read, {each['blocks_stored']} stored ({each['bytes_stored'] / 2**20:.1f} MiB)"
        + (f", {each['blocks_resumed']} of an earlier attempt used again" if each.get("blocks_resumed") else "")
        for volume, each in volumes.items()
        if each.get("method")
    ]


def _told(status: dict[str, Any]) -> str:
    volumes = status["volumes"].values()
    if swept := status.get("swept"):
        done = f"{swept['resources_done']} of {swept['resources_total']} resources"
        deleted = f"{swept['points_deleted']} restore points and {swept['objects_deleted']} objects deleted"
        return f"{status['stage']}, {done}, {deleted}"
    if copying := status.get("copying"):
        done = f"{copying['points_done']} of {copying['points_total']} restore points"
        return f"{status['stage']}, {done}, {copying['bytes_stored'] / 2**20:.0f} MiB written"
    if checked := status.get("checked"):
        done = f"{checked['points_done']} of {checked['points_total']} restore points"
        return f"{status['stage']}, {done}, {checked['blocks_done']} blocks and {checked['nodes_done']} nodes read"
    if copied := status.get("copied"):
        done = f"{copied['points_done']} of {copied['points_total']} restore points"
        return f"{status['stage']}, {done}, {copied['blocks_done']} of {copied['blocks_total']} blocks"
    if not volumes:
        return str(status["stage"])
    done, total = (sum(volume[name] for volume in volumes) for name in ("blocks_done", "blocks_total"))
    read, seconds = sum(each["bytes_read"] for each in volumes), sum(each["seconds"] for each in volumes)
    speed = read / 2**20 / seconds if seconds else 0.0
    return f"{status['stage']}, {done} of {total} blocks, {read / 2**20:.0f} MiB read, {speed:.0f} MiB/s"
