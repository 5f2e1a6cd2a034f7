# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in for AWS: an EC2 that follows a script, and clients for any account and Region."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.workers import Worker
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.place import Candidate
from botocore.exceptions import ClientError, EndpointConnectionError

ACCOUNT, REGION = "111122223333", "eu-central-1"
HOST = "web-1_i-0001"
UNREACHABLE = EndpointConnectionError(endpoint_url="https://ec2.eu-central-1.amazonaws.com")
PAGE = 2


def refused(code: str, status: int = 400) -> ClientError:
    """AWS's answer with an error."""
    response: Any = {"Error": {"Code": code, "Message": "No."}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "Call")


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.005)


class Script:
    """Answers in turn: an exception is raised, a function is called, anything else returned. The last one stays."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.count = 0
        self._lock = threading.Lock()

    def __call__(self, **arguments: Any) -> Any:
        with self._lock:
            answer = self.answers[min(self.count, len(self.answers) - 1)]
            self.count += 1
        if isinstance(answer, Exception):
            raise answer
        return answer(**arguments) if callable(answer) else answer


def says(name: str) -> Callable[..., Any]:
    """An answer of TerminateInstances: the state of each instance."""

    def answer(*, InstanceIds: list[str]) -> Any:
        return {"TerminatingInstances": [{"InstanceId": each, "CurrentState": {"Name": name}} for each in InstanceIds]}

    return answer


class Ec2:
    """Answers each call as its script says, an end and a deletion with success unless told otherwise.

    ``things`` are the entries of each describe call, of which those that carry the tags of its filters are given.
    """

    def __init__(self, *, things: dict[str, list[dict[str, Any]]] | None = None, **scripts: Any) -> None:
        self.things = things or {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._scripts = {"terminate_instances": Script(says("shutting-down"))}
        self._scripts |= {name: each if isinstance(each, Script) else Script(each) for name, each in scripts.items()}

    def __getattr__(self, call: str) -> Callable[..., Any]:
        script = self._scripts.get(call) or Script({})

        def answer(**arguments: Any) -> Any:
            self.asked.append((call, arguments))
            return script(**arguments)

        return answer

    def get_paginator(self, call: str) -> Any:
        """Pages of what is there, PAGE to each, and an empty one between."""
        ec2 = self

        class Paginator:
            def paginate(self, **arguments: Any) -> list[dict[str, Any]]:
                ec2.asked.append((call, arguments))
                if call in ec2._scripts:
                    ec2._scripts[call](**arguments)
                key = {"describe_instances": "Reservations"}.get(call) or _listed(call)
                found = [each for each in ec2.things.get(call, []) if _carries(each, arguments["Filters"])]
                rows = [{"Instances": [each]} for each in found] if key == "Reservations" else found
                return [{key: rows[:PAGE]}, {key: []}, {key: rows[PAGE:]}]

        return Paginator()

    def ids(self, call: str) -> list[str]:
        """The ids that a call was made with, in order."""
        listed: list[str] = []
        for name, arguments in self.asked:
            if name == call:
                [value] = [each for key, each in arguments.items() if key.endswith(("Id", "Ids", "Resources"))]
                listed += [value] if isinstance(value, str) else value
        return listed


class Shown(Ec2):
    """Answers as Ec2 does, each call in one page, whatever it is asked for."""

    def get_paginator(self, call: str) -> Any:
        return SimpleNamespace(paginate=lambda **arguments: [getattr(self, call)(**arguments)])


def _listed(call: str) -> str:
    return "".join(word.capitalize() for word in call.removeprefix("describe_").split("_"))


def _carries(entry: dict[str, Any], filters: list[dict[str, Any]]) -> bool:
    tags = {tag["Key"]: tag["Value"] for tag in entry.get("Tags", entry.get("TagSet", ()))}
    return all(
        not tags.keys().isdisjoint(each["Values"])
        if each["Name"] == "tag-key"
        else tags.get(each["Name"].removeprefix("tag:")) in each["Values"]
        for each in filters
    )


def tags(**values: str) -> list[dict[str, str]]:
    """Tags as AWS describes them; two underscores stand for a colon."""
    return [{"Key": name.replace("__", ":"), "Value": value} for name, value in values.items()]


class Clients:
    """The same kind of client for every manner of asking, made by ``make`` for each account and Region."""

    def __init__(self, make: Callable[[], Any] = Ec2) -> None:
        self._make = make
        self.made: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def client(self, account_id: str, region: str, service: str = "ec2") -> Any:
        assert service == "ec2"
        with self._lock:
            if (account_id, region) not in self.made:
                self.made[account_id, region] = self._make()
            return self.made[account_id, region]

    ending_client = once_client = quick_client = client


def worker(host: str = HOST, instance_id: str = "i-worker", account: str = ACCOUNT, age: float = 0) -> Worker:
    """A worker that was launched so many seconds ago."""
    launched = datetime.now(UTC) - timedelta(seconds=age)
    return Worker(
        host=host,
        instance_id=instance_id,
        account=account,
        region=REGION,
        address="10.0.0.7",
        port=22,
        user="mayfly",
        control_path="/x.ssh",
        known_hosts="/x.known_hosts",
        key_file="/key",
        type="c6a.large",
        availability_zone=f"{REGION}a",
        subnet_id="subnet-1",
        market="on-demand",
        launched=launched.isoformat(),
    )


CANDIDATE = Candidate(
    account=ACCOUNT,
    region=REGION,
    availability_zone=f"{REGION}a",
    availability_zone_id="euc1-az2",
    subnet_id="subnet-0123456789abcdef0",
    vpc_id="vpc-1",
    security_group_ids=("sg-1",),
    instance_type="c6a.large",
    architecture="x86_64",
    image_id="ami-0123456789abcdef0",
    root_device_name="/dev/xvda",
    public_address=False,
)
