# SPDX-License-Identifier: GPL-3.0-or-later
"""Launch a host's worker, and end it."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from ...placement import failover
from ...placement.place import Candidate
from ...placement.types import SPOT, quota_class
from ...settings.connection import Way
from ...settings.model import read
from ...settings.tags import OwnTags
from .. import launch, ways
from ..context import Context
from ..errors import KeeperError
from ..losses import why_lost
from ..ready import await_ready
from ..ssh import Connection, Route, SshError
from ..turns import await_turn, live_workers
from ..workers import DOUBT_SECONDS, Launching, Worker
from . import operation

_SWEPT_SECONDS = 240.0
_QUOTA_SECONDS = 15.0
_MAKE_SPOT_ROLE = (
    "Spot was left out. Make its role once in that account:"
    " aws iam create-service-linked-role --aws-service-name spot.amazonaws.com."
)


@operation("worker.keys")
def keys(context: Context, _arguments: dict[str, Any]) -> dict[str, Any]:
    """What user data needs: the run's public key, the host's first key, the lease, and the seconds left to the run."""
    left = context.deadline.timestamp() - time.time()
    if left < context.settings.lease:
        raise KeeperError(
            "DeadlinePassed", "The run's deadline is near: no worker is launched.", "See mayfly_deadline."
        )
    key = context.run.workers.host_key(context.host)
    return {
        "authorized_key": context.run.workers.user_key().public,
        "host_key": key.private,
        "host_key_public": key.public,
        "lease_seconds": context.settings.lease,
        "deadline_seconds": int(left),
    }


@operation("worker.present")
def present(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed, worker}: the host's worker, reachable, with a key of its own and its lease being renewed."""
    known = context.run.workers.get(context.host)
    if known is not None:
        return {"changed": False, "worker": known.as_dict()}
    user_tags: dict[str, str] = read(OwnTags, "mayfly_worker_tags", arguments.get("tags"))
    with context.report.stage("Launching"), context.run.workers.launching(context.host) as launching:
        worker = _launch(context, arguments, user_tags, launching)
    context.report.set(worker=_reported(worker))
    context.report.begin("Configuring")
    return {"changed": True, "worker": worker.as_dict()}


@operation("worker.absent")
def absent(context: Context, _arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed}: whether there was a worker, which is going now."""
    if context.run.replaced:
        context.run.swept.wait(_SWEPT_SECONDS)
        return {"changed": True}
    if context.run.workers.get(context.host) is None:
        return {"changed": context.run.workers.terminate(context.host)}
    with context.report.stage("Terminating"):
        return {"changed": context.run.workers.terminate(context.host)}


@operation("worker.lost")
def lost(context: Context, _arguments: dict[str, Any]) -> dict[str, Any]:
    """{lost: reason, empty when the host's worker was not lost}: one that was is ended, and another may be launched.

    One that was never ready is a launch that has failed. A transfer that has ended well fails for nothing that another
    worker would mend.
    """
    worker = context.run.workers.get_ready(context.host)
    if context.run.is_closing or worker is None or context.state.status.get("result"):
        return {"lost": ""}
    why = why_lost(context)
    if why:
        with context.report.stage("Terminating"):
            context.run.workers.terminate(context.host)
        context.report.lost(_reported(worker), why)
        context.state.lost = worker
    return {"lost": why}


@operation("worker.connected")
def connected(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """Nothing, once the connection that tasks share is there; of a host's worker that cannot be dialled from here."""
    connection = context.run.workers.connection(str(arguments["host"]))
    try:
        connection.open()
    except SshError as error:
        raise KeeperError("WorkerUnreachable", f"The worker {connection.alias} cannot be reached: {error}") from error
    return {}


@operation("worker.info")
def info(context: Context, _arguments: dict[str, Any]) -> dict[str, Any]:
    """{workers}: all that live."""
    return {"workers": [each.as_dict() for each in context.run.workers.all()]}


def _launch(context: Context, arguments: dict[str, Any], user_tags: dict[str, str], launching: Launching) -> Worker:
    """The worker of the first candidate that can have it; raises KeeperError when none can."""
    everything = [Candidate(**each) for each in arguments["placement"]["candidates"]]
    if (gone := context.state.lost) is not None:
        everything = failover.after_loss(everything, gone.type, gone.availability_zone)
        if not everything:
            message = f"{context.host}: its worker was lost, and no candidate is on demand."
            raise KeeperError("NoCapacity", message, "Have the quota of vCPUs on demand raised.")
    context.prepare_way()  # what fails here must not fail beside a new instance
    refused: dict[str, None] = {}
    ends = time.monotonic() + arguments["capacity_timeout"]
    left = everything
    while left:
        launching.check()
        candidate = left[0]
        try:
            return _try(context, arguments, user_tags, launching, (candidate, ends))
        except launch.CandidateFailed as error:
            what = f"{candidate.instance_type} in {candidate.availability_zone} ({candidate.market})"
            refused[f"{what}: {error.code}"] = None
            context.report.attempt(asdict(candidate), error.code)
            if error.code == failover.NO_SPOT_ROLE:
                context.report.warning(KeeperError(error.code, error.message, _MAKE_SPOT_ROLE))
            context.run.workers.discard(context.host)
            left = failover.remaining(left, candidate, error.code)
            waits = not left and failover.is_quota(error.code) and time.monotonic() < ends
            if waits and _own_workers(context, candidate):
                launching.pause(_QUOTA_SECONDS)
                left = everything
    message = f"No candidate could have the worker of {context.host} ({'; '.join(refused)})."
    raise KeeperError("NoCapacity", message, "Name more types in mayfly_instance_types or subnets in mayfly_networks.")


def _try(
    context: Context,
    arguments: dict[str, Any],
    user_tags: dict[str, str],
    launching: Launching,
    wanted: tuple[Candidate, float],
) -> Worker:
    """The candidate's worker, once it is this host's turn, which is waited for until a time of the monotonic clock."""
    candidate = wanted[0]
    if arguments["max_workers"]:
        return _in_turn(context, arguments, user_tags, launching, wanted)
    instance = _run(context, arguments, user_tags, launching, candidate)
    worker = _register(context, arguments, candidate, instance)
    await_ready(context, worker, launching)
    return worker


def _in_turn(
    context: Context,
    arguments: dict[str, Any],
    user_tags: dict[str, str],
    launching: Launching,
    wanted: tuple[Candidate, float],
) -> Worker:
    """A new worker that is among the oldest that the cap allows; one that is not has given way.

    EC2 may show two runs each other's launches late, so it is asked at once, and again when the worker has booted.
    """
    candidate, ends = wanted
    place, cap = (candidate.account, candidate.region), arguments["max_workers"]
    turns, deployment = context.run.turns, context.settings.deployment
    ec2 = context.ec2(*place)
    full = f"{context.host}: {cap} workers (mayfly_max_workers) run in account {place[0]}, {place[1]}"
    while True:
        await_turn(lambda: turns.reserve(ec2, place, context.host, deployment, cap), launching.pause, ends, full)
        instance_id = ""
        try:
            instance = _run(context, arguments, user_tags, launching, candidate)
            instance_id = instance["InstanceId"]
        finally:
            turns.settle(place, context.host, instance_id)
        worker = _register(context, arguments, candidate, instance)
        if turns.keeps(ec2, deployment, cap, worker.instance_id):
            await_ready(context, worker, launching)
            if turns.keeps(ec2, deployment, cap, worker.instance_id):
                return worker
        context.run.workers.discard(context.host)


def _own_workers(context: Context, candidate: Candidate) -> bool:
    """Whether workers of ours use up the quota that the candidate was refused for."""
    ec2 = context.ec2(candidate.account, candidate.region)
    family = quota_class(candidate.instance_type)
    return any(quota_class(each["InstanceType"]) == family for each in live_workers(ec2, context.settings.deployment))


def _run(
    context: Context,
    arguments: dict[str, Any],
    user_tags: dict[str, str],
    launching: Launching,
    candidate: Candidate,
) -> dict[str, Any]:
    """RunInstances for one candidate."""
    account, region = candidate.account, candidate.region
    ec2 = context.making(account, region)
    tags = context.tags(user={"Name": f"mayfly worker {context.settings.operation}", **user_tags})
    groups = list(candidate.security_group_ids) or [
        context.run.workers.groups.ensure(
            context.ec2(account, region),
            candidate.vpc_id,
            port=arguments["ssh_port"],
            cidr=_ssh_from(context, arguments),
            tags=context.tags(user=user_tags),
            made=lambda group: context.run.temporaries.add(account, region, group, "security-group"),
            ports_out=candidate.ports_out,
            name_servers=candidate.name_servers,
        )
    ]
    resource = arguments["resource"]
    token = launch.client_token(context.run.id, resource, launching.attempt, launching.next_try())
    parameters = launch.request(
        candidate, groups, arguments["user_data"], tags, token, profile=_profile(context, account)
    )
    try:
        return launch.run_instances(ec2, parameters, launching.pause)
    except launch.CandidateFailed:
        raise
    except Exception as error:
        # Whatever it was, a try before it may have come through: the host's end looks for what carries its tags, once
        # after a clear answer, and for a while after none.
        clear = isinstance(error, KeeperError) and not isinstance(error, launch.LaunchDoubtful)
        seconds = 0.0 if clear else DOUBT_SECONDS
        context.run.workers.doubt(context.host, account, region, str(resource["id"]), seconds)
        raise


def _register(context: Context, arguments: dict[str, Any], candidate: Candidate, instance: dict[str, Any]) -> Worker:
    """Put the new instance under the keeper's care at once; raises KeeperError when AWS tells no address of it."""
    workers = context.run.workers
    address = str(instance.get("PrivateIpAddress") or "")
    route = _route(context, candidate, instance["InstanceId"], (address, arguments["ssh_port"]))
    connection = Connection(
        address=address,
        port=arguments["ssh_port"],
        user=arguments["ssh_user"],
        alias=instance["InstanceId"],
        folder=workers.folder,
        key_file=workers.key_file,
        route=route,
    )
    worker = Worker(
        host=context.host,
        instance_id=instance["InstanceId"],
        account=candidate.account,
        region=candidate.region,
        address=address,
        port=arguments["ssh_port"],
        user=arguments["ssh_user"],
        control_path=str(connection.control_path),
        known_hosts=str(connection.known_hosts),
        key_file=str(connection.key_file),
        type=candidate.instance_type,
        availability_zone=candidate.availability_zone,
        subnet_id=candidate.subnet_id,
        market=candidate.market,
        launched=instance["LaunchTime"].isoformat(),
        way=route.way,
    )
    workers.add(worker, connection)
    if candidate.market == SPOT:
        context.run.spot.start()
    if not address:
        message = f"AWS tells no private address of the worker {worker.instance_id}."
        raise KeeperError("WorkerUnreachable", message, "Start the operation again for this resource.")
    connection.pin(workers.host_key(context.host).public)
    context.report.set(worker=_reported(worker))
    return worker


def _route(context: Context, candidate: Candidate, instance_id: str, end: tuple[str, int]) -> Route:
    """The way to a new worker, whose address and port are its ``end``."""
    if context.settings.worker_connection is Way.SESSION_MANAGER:
        place = (candidate.account, candidate.region)
        return ways.over_session_manager(context.run.clients, *place, instance_id, end[1])
    words = context.prepare_way()
    return ways.over_bastion(words, *end) if words else Route()


def _ssh_from(context: Context, arguments: dict[str, Any]) -> str | None:
    """Where SSH comes from, for the run's own security group; None for nowhere."""
    way, bastion = context.settings.worker_connection, context.settings.bastion
    if way is Way.SESSION_MANAGER:
        return None
    if way is Way.BASTION and bastion is not None:
        return bastion.cidr
    return str(arguments["control_node_cidr"] or "")


def _profile(context: Context, account: str) -> str | None:
    """The instance profile of a worker, which Session Manager alone needs."""
    if context.settings.worker_connection is not Way.SESSION_MANAGER:
        return None
    return context.owner(account).worker_instance_profile


def _reported(worker: Worker) -> dict[str, Any]:
    names = (
        "instance_id",
        "type",
        "market",
        "account",
        "region",
        "availability_zone",
        "subnet_id",
        "address",
        "launched",
    )
    return {name: getattr(worker, name) for name in names}
