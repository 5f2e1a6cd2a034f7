# SPDX-License-Identifier: GPL-3.0-or-later
"""A check of what a worker reaches: services and ports, and the rights of its credentials. It moves no data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from ...operations import Service
from ...permissions import NO_SNAPSHOT
from ...placement.picture import Picture, Vpc
from ...placement.reach import has_private_name
from ...settings.repository import port_of
from ..context import Context
from ..errors import KeeperError
from ..policies import check_policy
from ..repositories import STORE
from .part import Part, Session, partition, repository_session

# The agent has a minute for all of it, and this is no time to wait for AWS.
_RETRY_SECONDS = 5


def build(context: Context, arguments: dict[str, Any]) -> Part:
    """See jobs.BUILD; raises KeeperError NoWorker, or NothingToCheck without services and ports."""
    worker = context.run.workers.get(context.host)
    if worker is None:
        raise KeeperError("NoWorker", f"{context.host} has no worker that could be checked.")
    named = [Service(each["name"], each["region"]) for each in arguments.get("services") or ()]
    ports = [{"host": each["host"], "port": each["port"]} for each in arguments.get("ports") or ()]
    if not named and not ports:
        raise KeeperError("NothingToCheck", f"Neither services nor ports are to be reached from {context.host}.")
    picture = context.run.pictures.picture(worker.account, worker.region)
    vpc = _vpc(picture, worker.subnet_id)
    services = [{**asdict(each), "host": each.host, "private": has_private_name(picture, vpc, each)} for each in named]
    services += _store(arguments["repository"])
    return Part(
        fields={
            "services": services,
            "ports": ports,
            "snapshot_id": NO_SNAPSHOT,
            "retry_timeout": _RETRY_SECONDS,
        },
        repository=repository_session(context, arguments, write=False),
        source=Session(worker.account, check_policy(partition(context, worker.account), worker.region)),
    )


def _store(setting: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The repository's store among the services, where it is not AWS's S3."""
    url = setting.get("endpoint_url")
    if not url:
        return []
    region = setting.get("signing_region") or setting["region"]
    return [{"name": STORE, "region": region, "host": urlsplit(url).hostname, "port": port_of(url)}]


def _vpc(picture: Picture, subnet_id: str) -> Vpc:
    """The VPC of the worker's subnet, which placement has taken from the same picture."""
    found = picture.vpc(next(each.vpc_id for each in picture.subnets if each.id == subnet_id))
    assert found is not None
    return found
