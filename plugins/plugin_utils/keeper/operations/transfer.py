# SPDX-License-Identifier: GPL-3.0-or-later
"""The transfer agent's job on a worker: sent, started, watched, and its result taken over."""

from __future__ import annotations

import base64
import json
import logging
import time
from datetime import UTC
from typing import Any

from ..context import Context
from ..errors import KeeperError
from ..policies import partition_of, read_policy, repository_policy, write_policy
from ..repositories import ResourceName, open_repository
from . import operation

log = logging.getLogger(__name__)

_JOB = "/run/mayfly/transfer/job.json"
_STATUS = "/run/mayfly/transfer/status.json"
_UNIT = "mayfly-transfer.service"
_START = (
    f"umask 077; rm -f {_STATUS}; cat >{_JOB} && chown mayfly-agent: {_JOB} && "
    f"{{ systemctl reset-failed {_UNIT} 2>/dev/null; systemctl start {_UNIT}; }}"
)
# Prints the agent's status, then what systemd says of its unit: at once when that has ended, else after a while.
_POLL = """for n in $(seq {seconds}); do
  systemctl is-active -q {unit} || break
  sleep 1
done
cat {status} 2>/dev/null || echo '{{}}'
echo
systemctl show -p ActiveState -p Result -p ExecMainStatus {unit}
"""
_LAST_WORDS = f"journalctl -u {_UNIT} -n 5 -o cat --no-pager 2>/dev/null | tail -c 500"
_REPORT_SECONDS = 5
_LOST_SECONDS = 60.0


@operation("transfer.prepare")
def prepare(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """Send credentials and job to the worker and start the agent: {started: true}."""
    resource, setting = arguments["resource"], arguments["repository"]
    opened = open_repository(context, setting)
    name = ResourceName.from_dict(resource)
    backup = arguments["operation"] == "backup"
    job = {
        "version": 1,
        "operation": arguments["operation"],
        "run": context.run.id,
        "deadline": context.deadline.isoformat(),
        "resource": resource,
        "repository": {
            "bucket": setting["bucket"],
            "prefix": setting.get("prefix") or "",
            "region": setting["region"],
            "owner": str(setting["account"]),
        },
        "resource_key": base64.b64encode(opened.resource_key(name)).decode(),
        "concurrency": arguments["concurrency"],
        **(_backup_part(context, resource) if backup else _restore_part(context, arguments)),
    }
    context.report.begin("Transferring")
    clients = context.run.clients
    account = context.account("backup")
    policy = repository_policy(
        partition_of(account.worker_role_arn), setting["bucket"], setting.get("prefix") or "", name.path, write=backup
    )
    source_account, source_policy = _source(context, arguments, job)
    keep = context.run.credentials.keep
    keep(context.host, "repository", lambda: clients.session_credentials(account.id, policy))
    keep(context.host, "source", lambda: clients.session_credentials(source_account, source_policy))
    context.run.workers.run(context.host, _START, json.dumps(job).encode(), timeout=60)
    context.run.remember(context.host, "status", {})
    return {"started": True}


@operation("transfer.poll")
def poll(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{state, stage, volumes}: at once when the agent has ended. Raises KeeperError when it or its worker is lost."""
    seconds = max(1, min(int(arguments.get("timeout", _REPORT_SECONDS)), _REPORT_SECONDS))
    command = _POLL.format(seconds=seconds, unit=_UNIT, status=_STATUS)
    answer = _reach(context, command, seconds + 20).decode()
    text, *lines = answer.splitlines()
    status: dict[str, Any] = json.loads(text) or {"state": "running", "volumes": {}}
    properties = dict(line.split("=", 1) for line in lines if "=" in line)
    context.run.remember(context.host, "status", status)
    context.report.set(volumes=status.get("volumes") or {})
    if status["state"] == "running" and properties.get("ActiveState") not in ("active", "activating"):
        raise _agent_died(context, properties)
    return {"state": status["state"], "stage": status.get("stage", ""), "volumes": status.get("volumes") or {}}


@operation("transfer.finish")
def finish(context: Context, _arguments: dict[str, Any]) -> dict[str, Any]:
    """What the agent has made: {restore_point | snapshots, digests, volumes}; raises KeeperError with its error."""
    status = context.run.recall(context.host, "status") or {}
    context.report.end("Transferring")
    error = status.get("error")
    if error:
        raise KeeperError(error["code"], f"{context.host}: {error['message']}", error.get("remedy", ""))
    if status.get("state") != "succeeded":
        raise KeeperError("TransferUnfinished", f"{context.host}: the transfer has not ended.")
    result: dict[str, Any] = status["result"]
    context.report.set(digests=result["digests"])
    if "restore_point" in result:
        context.report.set(restore_point=result["restore_point"])
    return {"changed": True, "volumes": status["volumes"], **result}


def _backup_part(context: Context, resource: dict[str, Any]) -> dict[str, Any]:
    volumes = context.run.recall(context.host, "volumes")
    if not volumes or "snapshot_id" not in volumes[0]:
        raise KeeperError("NoSnapshotSet", f"No snapshots of {context.host} have been taken in this run.")
    ec2 = context.ec2(resource["account"], resource["region"])
    answer = ec2.describe_snapshots(SnapshotIds=[each["snapshot_id"] for each in volumes])
    taken = min(each["StartTime"] for each in answer["Snapshots"])
    return {
        "source_region": resource["region"],
        "restore_point_time": taken.astimezone(UTC).isoformat(),
        "volumes": volumes,
        "settings": context.run.recall(context.host, "instance"),
    }


def _restore_part(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    target = arguments["target"]
    context.run.temporaries.watch(str(target["account"]), str(target["region"]))
    return {
        "source_region": target["region"],
        "restore_point": arguments["restore_point"],
        "target": {"region": target["region"], "tags": context.tags()},
    }


def _source(context: Context, arguments: dict[str, Any], job: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """(account, policy) of the credentials that read or write snapshots."""
    resource = arguments["resource"]
    if arguments["operation"] != "backup":
        account, region = str(arguments["target"]["account"]), str(arguments["target"]["region"])
        return account, write_policy(_partition(context, account), region, context.run.id)
    ids = [each["snapshot_id"] for each in job["volumes"]]
    keys = sorted({key for each in job["volumes"] if (key := each["attributes"].get("kms_key_id"))})
    account = str(resource["account"])
    return account, read_policy(_partition(context, account), resource["region"], ids, keys)


def _partition(context: Context, account_id: str) -> str:
    accounts = context.settings.accounts.values()
    return partition_of(next((each.worker_role_arn for each in accounts if each.id == account_id), None))


def _reach(context: Context, command: str, timeout: float) -> bytes:
    """Ask the worker, and wait for a connection that was cut off to come back."""
    ends = time.monotonic() + _LOST_SECONDS
    while True:
        try:
            return context.run.workers.run(context.host, command, timeout=timeout)
        except KeeperError as error:
            if error.code not in ("WorkerUnreachable", "WorkerCommandTimeout"):
                raise
            if time.monotonic() > ends:
                message = f"{context.host}: its worker was lost during the transfer: {error.message}"
                raise KeeperError("WorkerLost", message, "Start the operation again for this resource.") from error
            log.warning("%s: %s", context.host, error.message)
            time.sleep(1)


def _agent_died(context: Context, properties: dict[str, str]) -> KeeperError:
    said = _reach(context, _LAST_WORDS, 30).decode(errors="replace").strip()
    how = f"{properties.get('Result', 'unknown')}, {properties.get('ExecMainStatus', '?')}"
    message = f"{context.host}: the transfer agent died on its worker ({how}). {said}"
    remedy = "oom-kill: take a larger type in mayfly_instance_types." if properties.get("Result") == "oom-kill" else ""
    return KeeperError("AgentDied", message, remedy)
