# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the run's keeper before the first task, and tell it how every host ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible import context
from ansible.errors import AnsibleError
from ansible.inventory.host import Host
from ansible.playbook import Playbook
from ansible.playbook.play import Play
from ansible.playbook.task import Task
from ansible.plugins.callback import CallbackBase
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import client, start
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper_watch import KeeperWatch
from ansible_collections.mayfly.workers.plugins.plugin_utils.last_word import LastWord
from ansible_collections.mayfly.workers.plugins.plugin_utils.task_processes import TaskProcesses

DOCUMENTATION = """
name: guard
type: notification
short_description: Start the keeper that ends every worker of the run
version_added: 0.1.0
author: The mayfly project
description:
  - Starts the keeper of the run before its first task. The keeper is a process in a session of its own that alone
    talks to AWS and that outlives the playbook, so that no worker is left behind however the playbook ends.
  - The module P(mayfly.workers.worker#module) refuses to launch anything without it.
  - The environment variable E(MAYFLY_RUN_ID) names the run; otherwise it is made here. Reports of runs are kept below
    E(MAYFLY_RUNS_DIR), by default C(~/.local/state/mayfly/runs).
  - When something of the run is left in the end, or nobody knows, C(ansible-playbook) ends with 1 instead of 0.
requirements:
  - enabled in C(callbacks_enabled) by its full name
"""

_TELL_SECONDS = 60.0
_CLOSE_SECONDS = 420.0
_NOTHING_TO_DO = 2


class CallbackModule(CallbackBase):
    """The guard."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "mayfly.workers.guard"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._keeper: start.Keeper | None = None
        self._last_word: LastWord | None = None
        self._failures: dict[str, dict[str, str]] = {}
        self._watch: KeeperWatch | None = None
        self._processes = TaskProcesses(self._display.error, self._look)

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        """Start the keeper, before any host is known; one for all playbooks of a command."""
        del playbook
        if self._last_word is not None:
            self._last_word.go_on()
            return
        try:
            self._keeper = start.start()
            self._watch = KeeperWatch(self._keeper, self._display.error)
        except (KeeperError, OSError) as error:
            self._display.error(f"The run has no keeper, so no worker can be launched: {error}")
        self._last_word = LastWord(self._close)
        self._processes.start()

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """A run over nothing must not look like one that went well."""
        self._display.error("No host of the inventory matches: there is no resource to work on.")
        raise SystemExit(_NOTHING_TO_DO)

    def v2_playbook_on_play_start(self, play: Play) -> None:
        """Tell the keeper which resources the play's hosts stand for, so that two of the same are known at once."""
        if self._keeper is None:
            return
        try:
            self._ask("run.resources", {"resources": _resources(play)}, _TELL_SECONDS)
        except KeeperError as error:
            self._display.warning(f"Hosts that are the same resource may go unnoticed: {error}")

    def v2_runner_on_start(self, host: Host, task: Task) -> None:
        """Watch the task's process."""
        self._processes.begun(host, task)

    def v2_runner_on_ok(self, result: Any) -> None:
        """Its result has come."""
        self._processes.ended(result._host, result._task)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Its result has come."""
        self._processes.ended(result._host, result._task)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Remember the last failure of each host: what counts is only known at the end."""
        self._processes.ended(result._host, result._task)
        if not ignore_errors:
            self._remember(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Remember that the host was lost."""
        self._processes.ended(result._host, result._task)
        self._remember(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Tell the keeper which hosts failed, with the last message of each."""
        if self._last_word is not None:
            self._last_word.await_exit()
        if self._keeper is None:
            return
        failed = set(stats.failures) | set(stats.dark)
        hosts = {host: self._failures.get(host) if host in failed else None for host in stats.processed}
        ends = {host: {"failed": host in failed, "error": failure} for host, failure in hosts.items()}
        try:
            self._ask("run.ended", {"hosts": ends}, _TELL_SECONDS)
        except KeeperError as error:
            self._display.warning(f"The report of the run lacks how its hosts ended: {error}")

    def _close(self) -> bool:
        """Wait for the keeper's word that everything of the run has ended; whether it has said so.

        In a container, the playbook's end is the keeper's.
        """
        keeper, self._keeper = self._keeper, None
        self._processes.stop()
        if self._watch is not None:
            self._watch.stop()
        if keeper is None:
            return True
        try:
            left = self._ask("run.close", {}, _CLOSE_SECONDS)["left"]
        except KeeperError as error:
            self._display.error(f"What is left of the run {keeper.run} is not known: {error.text}")
            return False
        except KeyboardInterrupt:
            self._display.error(f"The keeper of the run {keeper.run} goes on to end what is left, without you.")
            return False
        for failure in left:
            self._display.error(f"{failure['message']} {failure['remedy']}")
        if (keeper.folder / "report.json").exists():
            self._display.display(f"Report of run {keeper.run}: {keeper.folder}/report.json")
        return not left

    def _look(self) -> None:
        if self._watch is not None:
            self._watch.look()

    def _ask(self, operation: str, arguments: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Call the keeper; when it has died, another one, which ends the run."""
        check = bool(context.CLIARGS.get("check"))
        try:
            return client.call(operation, arguments, timeout, check=check)
        except KeeperError as error:
            if error.code != "KeeperGone":
                raise
        start.replace()
        return client.call(operation, arguments, timeout, check=check)

    def _remember(self, result: Any) -> None:
        values = result._result
        message = str(values.get("msg") or values.get("stderr") or "no message")
        host = str(result._host.get_name())
        task = str(result._task.get_name())
        code = str(values.get("error_code") or "TaskFailed")
        known = self._failures.get(host)
        if known is not None and known["message"].endswith(f": {message}"):
            return  # told once more by the rescue that mends other failures; the task that failed is the first one
        self._failures[host] = {"code": code, "message": f"{task}: {message}", "remedy": ""}


def _resources(play: Play) -> dict[str, dict[str, Any]]:
    """The ``mayfly_resource`` of each host that the play targets and has one."""
    variables = play.get_variable_manager().get_vars(play=play)
    found = {}
    for host in variables["ansible_play_hosts_all"]:
        try:
            resource = variables["hostvars"][host].get("mayfly_resource")
        except AnsibleError:  # shown by the first task that uses it
            continue
        if isinstance(resource, Mapping):
            found[str(host)] = dict(resource)
    return found
