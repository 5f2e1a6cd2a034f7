# SPDX-License-Identifier: GPL-3.0-or-later
"""Spot takes an instance back two minutes after its notice, which its request's status tells: such a worker is lost."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from ..placement.types import SPOT
from . import aws
from .errors import KeeperError
from .workers import Worker

log = logging.getLogger(__name__)

# As often as AWS advises to look at the notice
# (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html).
_LOOK_SECONDS = 5.0
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html
_TAKEN = ("marked-for-termination", "instance-terminated-")
_BY_USER = "instance-terminated-by-user"


class Registry(Protocol):
    """What is asked of the registry of workers."""

    def all(self) -> list[Worker]:
        """All live workers."""

    def lose(self, host: str, why: str, instance_id: str = "") -> None:
        """The host's worker counts as lost."""


class SpotWatch:
    """Looks at the requests of all Spot workers at once, in one call for each account and Region."""

    def __init__(self, client: Callable[[str, str, str], Any], workers: Registry) -> None:
        """``client`` gives the client of a service for (account, Region, service)."""
        self._client = client
        self._workers = workers
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless it has begun: with the first Spot worker of the run."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="spot", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Look no more; returns at once."""
        self._stopped.set()

    def look(self) -> None:
        """Look once. What AWS does not tell now, or to this role, is told in the end by the instance's own state."""
        places: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for each in self._workers.all():
            if each.market == SPOT:
                places[each.account, each.region][each.instance_id] = each.host
        for (account, region), hosts in places.items():
            try:
                self._look_at(self._client(account, region, "ec2"), hosts)
            except (BotoCoreError, ClientError, KeeperError) as error:
                log.warning("the Spot requests in account %s, %s were not looked at: %s", account, region, error)

    def _look_at(self, ec2: Any, hosts: dict[str, str]) -> None:
        for chunk in aws.chunks(sorted(hosts)):
            filters = [{"Name": "instance-id", "Values": chunk}]
            for each in aws.pages(ec2, "describe_spot_instance_requests", "SpotInstanceRequests", Filters=filters):
                code = each["Status"]["Code"]
                if code.startswith(_TAKEN) and code != _BY_USER:
                    instance = each["InstanceId"]
                    why = f"Spot takes {instance} back ({code}: {each['Status'].get('Message', '')})"
                    self._workers.lose(hosts[instance], why, instance)

    def _loop(self) -> None:
        while not self._stopped.wait(_LOOK_SECONDS):
            try:
                self.look()
            except Exception:  # the thread must go on: the next look comes
                log.exception("the Spot requests were not looked at")
