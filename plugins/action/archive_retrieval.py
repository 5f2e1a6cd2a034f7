# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask S3 for archived sets, and wait for them."""

from __future__ import annotations

import time
from typing import Any

from ansible.utils.display import Display
from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction


class ActionModule(KeeperAction):
    """archive_retrieval"""

    NAME = "archive_retrieval"
    SUPPORTS_CHECK_MODE = True
    TIMEOUT = 300.0  # of one question: S3 may throttle it

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        ends = time.monotonic() + options["wait"]
        changed = False
        while True:
            left = max(0.0, ends - time.monotonic())
            found = self.ask("archive.retrieve", {**options, "wait": left})
            changed = changed or found["changed"]
            done = not found["unasked"] and not found["waiting"]
            if done or (not found["unasked"] and not left):
                return {"changed": changed, "needed": found["needed"], "waiting": found["waiting"]}
            host = self.variables["inventory_hostname"]
            Display().display(f"{host}: S3 retrieves {found['waiting']} objects, {found['unasked']} not asked for yet")
