# SPDX-License-Identifier: GPL-3.0-or-later
"""Launch a worker, or end it; let another one follow one that was lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.template import trust_as_template
from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import client
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError

_CONNECTION = "mayfly.workers.worker"
_LAUNCH_SECONDS = 1800.0
_REMEDY = (
    "Take playbooks/vars/worker_connection.yml into the play's vars_files, and no ansible_connection from outside."
)


_NEEDED = ("resource", "placement")


class ActionModule(KeeperAction):
    """worker"""

    NAME = "worker"
    SUPPORTS_CHECK_MODE = True
    TIMEOUT = 300.0

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        state = options.pop("state")
        if state == "lost":
            return self._lost(options["failure"] or {})
        if self._task.check_mode:
            return {"changed": state == "present"}
        if state == "absent":
            return self.ask("worker.absent", {}) if client.address() else {"changed": False}
        self._check_connection()
        missing = [name for name in _NEEDED if not options.get(name)]
        if missing:
            raise KeeperError("BadOptions", f"A worker is launched with {' and '.join(missing)}.")
        options["user_data"] = self._user_data(options)
        seconds = _LAUNCH_SECONDS + 2 * options["capacity_timeout"]  # for a turn, and for a quota
        result = self.ask("worker.present", options, seconds)
        return {"changed": result["changed"], "worker": result["worker"]}

    def _lost(self, failure: dict[str, Any]) -> dict[str, Any]:
        """A failure that is none of the worker's loss is told as it was."""
        asked = client.address() and not self._task.check_mode
        reason = self.ask("worker.lost", {})["lost"] if asked else ""
        if reason:
            return {"changed": True, "reason": reason}
        message = str(failure.get("msg") or failure.get("stderr") or "no message")
        return {"failed": True, "msg": message, "error_code": str(failure.get("error_code") or "TaskFailed")}

    def _check_connection(self) -> None:
        """Tasks meant for the worker must not reach the production machine."""
        name = self._connection.ansible_name
        if name != _CONNECTION:
            host = self.variables["inventory_hostname"]
            message = f"The connection of {host} is {name}, not {_CONNECTION}: no worker is launched."
            raise KeeperError("WrongConnection", message, _REMEDY)

    def _user_data(self, options: dict[str, Any]) -> str:
        """The template with the task's variables and the run's keys."""
        keys = self.ask("worker.keys", {})
        path = self._find_needle("templates", options.pop("user_data_template"))
        text = Path(path).read_text()
        words = {**keys, "ssh_port": options["ssh_port"], "ssh_user": options["ssh_user"]}
        values = {**self.variables, **{f"user_data_{name}": value for name, value in words.items()}}
        templar = self._templar.copy_with_new_env(available_variables=values)
        return str(templar.template(trust_as_template(text)))
