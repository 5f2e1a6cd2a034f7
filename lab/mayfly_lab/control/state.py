# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of the control plane share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend, ec2_backends

from mayfly_lab import rpc
from mayfly_lab.accounts import ACCOUNTS
from mayfly_lab.addresses import REGIONS
from mayfly_lab.blocks.store import BlockStore
from mayfly_lab.faults import Faults, Request
from mayfly_lab.iam.guard import Guard
from mayfly_lab.paths import Paths
from mayfly_lab.refusals import Refusal
from mayfly_lab.sessions import Sessions

LOCK = threading.RLock()


@dataclass
class Now:
    """The one request that is being answered under the lock, and how far behind its answer is."""

    request: Request = field(default_factory=Request)
    refusal: Refusal | None = None
    hidden: set[str] = field(default_factory=set)  # ids of snapshots
    tags: dict[str, dict[str, str]] = field(default_factory=dict)  # of snapshots, as they were
    key_refused: bool = False  # KMS does not do for the caller what a volume needs


class Lab:
    """What the process's main function sets once, and the request of the moment."""

    store: BlockStore
    supervisor: rpc.Client
    paths: Paths
    faults: Faults
    sessions: Sessions
    guard: Guard
    now: Now = Now()


def refuse(refusal: Refusal) -> EC2ClientError:
    """What to raise for an error with its own HTTP status: moto gives every error of EC2's the same."""
    Lab.now.refusal = refusal
    return EC2ClientError(refusal.code, refusal.message)


def replace(owner: Any, **functions: Any) -> None:
    """Put the lab's functions in the place of moto's: ``owner`` is a module or a class."""
    for name, function in functions.items():
        if not hasattr(owner, name):
            raise AttributeError(f"{owner} of this version of moto has no {name}")
        setattr(owner, name, function)


def backends() -> Iterator[EC2Backend]:
    """EC2 of every account and Region."""
    for account in ACCOUNTS.values():
        for region in REGIONS:
            yield ec2_backends[account][region]


def backend_of(instance_id: str) -> tuple[EC2Backend, Any]:
    """(backend, instance) of an instance id; raises KeyError."""
    for backend in backends():
        instance = backend.get_instance_by_id(instance_id)
        if instance is not None:
            return backend, instance
    raise KeyError(instance_id)
