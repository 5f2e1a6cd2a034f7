# SPDX-License-Identifier: GPL-3.0-or-later
"""The transfer of a resource's data: the job and its credentials go to the worker, the agent's status comes back."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from ..context import Context
from ..credentials import Make
from ..errors import KeeperError
from ..jobs import BUILD
from ..jobs.part import Keys, Session
from ..losses import lost, reach
from ..repositories import place_of
from ..watchdog import Watchdog
from . import operation

_JOB = "/run/mayfly/transfer/job.json"
_STATUS = "/run/mayfly/transfer/status.json"
_UNIT = "mayfly-transfer.service"
_START = (
    f"umask 077; rm -f {_STATUS}; cat >{_JOB} && chown mayfly-agent: {_JOB} && "
    f"{{ systemctl reset-failed {_UNIT} 2>/dev/null; systemctl start {_UNIT}; }}"
)
# Prints what systemd says of the agent's unit, then the agent's status: at once when it has ended, else after a while.
# In this order: an agent that ends between the two has written its last word by then.
_POLL = """for n in $(seq {seconds}); do
  systemctl is-active -q {unit} || break
  sleep 1
done
systemctl show -p ActiveState -p Result -p ExecMainStatus {unit}
echo
cat {status} 2>/dev/null || echo '{{}}'
"""
_LAST_WORDS = f"journalctl -u {_UNIT} -n 5 -o cat --no-pager 2>/dev/null | tail -c 500"
# What the report tells of an agent's result.
_REPORTED = (
    "digests",
    "restore_point",
    "locked_until",
    "checks",
    "retention",
    "health_check",
    "copied",
    "archive",
)
# Longer than any run: keys of settings do not end by themselves.
_KEYS_LAST = timedelta(days=30)
_ALIVE = ("active", "activating", "deactivating", "reloading")


@operation("transfer.prepare")
def prepare(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """Send credentials and job to the worker and start the agent: {started: true}."""
    resource, setting = arguments["resource"], arguments["repository"]
    part = BUILD[arguments["operation"]](context, arguments)
    job = {
        "version": 1,
        "operation": arguments["operation"],
        "run": context.run.id,
        "resource": {**resource, "host": context.host},
        "repository": place_of(setting),
        "retry_timeout": arguments["retry_timeout"],
        **part.fields,
    }
    context.report.begin("Transferring")
    for name, session in (("repository", part.repository), ("source", part.source), ("target", part.target)):
        if session is not None:
            context.run.credentials.keep(context.host, name, _maker(context, session, str(setting["region"])))
    context.run.check_open()
    # The worker counts them from the job's arrival: its clock may be another one.
    job["seconds_left"] = max(0.0, (context.deadline - datetime.now(UTC)).total_seconds())
    context.run.workers.run(context.host, _START, json.dumps(job).encode(), timeout=60)
    context.state.status = {}
    context.state.watchdog = Watchdog(context.host, float(arguments["stall_timeout"]), time.monotonic())
    return {"started": True}


def _maker(context: Context, session: Session | Keys, region: str) -> Make:
    """What makes a session, again and again until the worker is gone."""
    clients = context.run.clients
    if isinstance(session, Keys):
        keys = {"access_key": session.access_key, "secret_key": session.secret_key, "token": None}
        return lambda: {**keys, "expiry_time": (datetime.now(UTC) + _KEYS_LAST).isoformat()}
    return lambda: clients.session_credentials(session.account, region, session.policy)


@operation("transfer.poll")
def poll(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{state, stage, volumes, …}: at once when the agent has ended, else after ``timeout`` seconds.

    ``swept``, ``checked`` and ``copied`` are how far a retention, a health check and an archive are.
    In the end it has its result. That of a backup is {restore_point, locked_until, manifest_sha256, digests}, and of
    each volume the method and its reason; of a restore {snapshots, digests}, of a check {checks}, of a retention
    {retention}, of a health check {health_check}, of a copy {copied}, of an archive and of the way back {archive}. What
    its ``warnings`` say, the report tells.
    Raises KeeperError with the agent's own error, and when the agent or its worker is lost, or hangs.
    """
    seconds = int(arguments["timeout"])
    answer = reach(context, _POLL.format(seconds=seconds, unit=_UNIT, status=_STATUS), seconds + 20).decode()
    shown, _, text = answer.partition("\n\n")
    properties = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    status: dict[str, Any] = json.loads(text) or {"state": "running"}
    context.state.status = status
    units = dict(status.get("units") or {})
    checked, copied = units.pop("restore points", None), units.pop("archive", None)
    volumes = {name: counted for name, counted in units.items() if "blocks_total" in counted}
    context.report.set(volumes=volumes)
    _register_snapshots(context, status)
    result = {"state": status["state"], "stage": status.get("stage", ""), "volumes": volumes}
    if swept := units.get("repository"):
        result["swept"] = swept
    if copying := units.get("copy"):
        result["copying"] = copying
    if checked:
        result["checked"] = checked
    if copied:
        result["copied"] = copied
    if status["state"] == "running":
        if why := context.run.workers.why_lost(context.host):
            raise lost(context, why)
        if properties.get("ActiveState") not in _ALIVE:
            raise _agent_died(context, properties)
        if context.state.watchdog is not None:
            context.state.watchdog.look(status, time.monotonic())
        return result
    context.report.end("Transferring")
    if status.get("error"):
        error = status["error"]
        raise KeeperError(error["code"], f"{context.host}: {error['message']}", error.get("remedy", ""))
    made: dict[str, Any] = status["result"]
    if "checks" in made:
        made["checks"] = [*context.state.checks, *made["checks"]]
    methods = made.pop("methods", {})
    for each in made.pop("warnings", ()):
        context.report.warning(KeeperError(each["code"], f"{context.host}: {each['message']}", each["remedy"]))
    result["volumes"] = {volume: {**counted, **methods.get(volume, {})} for volume, counted in volumes.items()}
    context.report.set(volumes=result["volumes"], **{name: made[name] for name in _REPORTED if name in made})
    return {**result, **made}


def _register_snapshots(context: Context, status: dict[str, Any]) -> None:
    """The snapshots that a restore's agent has started are the run's, with all that it does for them."""
    place = context.state.restore_place
    if place is not None:
        for snapshot in (status.get("snapshots") or {}).values():
            context.run.temporaries.add(*place, snapshot, "snapshot")


def _agent_died(context: Context, properties: dict[str, str]) -> KeeperError:
    said = reach(context, _LAST_WORDS, 30).decode(errors="replace").strip()
    how = f"{properties.get('Result', 'unknown')}, {properties.get('ExecMainStatus', '?')}"
    message = f"{context.host}: the transfer agent died on its worker ({how}). {said}"
    remedy = "oom-kill: take a larger type in mayfly_instance_types." if properties.get("Result") == "oom-kill" else ""
    return KeeperError("AgentDied", message, remedy)
