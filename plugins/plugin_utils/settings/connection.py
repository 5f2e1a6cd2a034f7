# SPDX-License-Identifier: GPL-3.0-or-later
"""``mayfly_worker_connection`` and ``mayfly_bastion``: the way that SSH takes to workers."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from pydantic import AfterValidator, Field

from .model import SECRET, Setting
from .networks import Text

_HOST = r"^[A-Za-z0-9:][A-Za-z0-9.:-]*\Z"  # a name or an address; no option, and nothing that a shell takes apart
_USER = r"^[A-Za-z0-9_][A-Za-z0-9._@-]*\Z"


class Way(StrEnum):
    """How SSH reaches a worker; whichever it is, the host keys are pinned and the sessions are the same."""

    DIRECT = "direct"
    BASTION = "bastion"
    SESSION_MANAGER = "session_manager"


def fault_of_cidr(cidr: str) -> str:
    """Why SSH must not be opened to ``cidr``; empty when it may: a network with its prefix, and not everywhere."""
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError as error:
        return f"is no network: {error}"
    if "/" not in cidr:  # EC2 takes no bare address
        return "has no /32 or other prefix"
    return "is everywhere" if network.prefixlen == 0 else ""


def _cidr(value: str) -> str:
    fault = fault_of_cidr(value)
    if fault:
        raise ValueError(f"{value} {fault}")
    return value


@lru_cache(maxsize=64)
def _host_key(value: str) -> str:
    """A public key without whose it is; raises ValueError for what is none."""
    try:
        serialization.load_ssh_public_key(value.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"it is no public key such as ssh-ed25519 AAAA…: {error}") from error
    return " ".join(value.split()[:2])


@lru_cache(maxsize=64)
def _private_key(value: str) -> str:
    """A private key as ssh reads it, with the line's end that lookups take away; raises ValueError for what is none."""
    load: Any = serialization.load_ssh_private_key if "OPENSSH" in value else serialization.load_pem_private_key
    try:
        load(value.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # their texts may hold some of it
        raise ValueError("it is no private key without a passphrase, in the form of OpenSSH or PEM") from None
    return f"{value.strip()}\n"


class Bastion(Setting):
    """The host that SSH to workers jumps over. ``cidr`` and the groups are what workers' security groups see of it."""

    host: str = Field(pattern=_HOST, description="the name or the address of a host")
    port: int = Field(22, ge=1, le=65535, description="a TCP port")
    user: str = Field(pattern=_USER, description="the name of a user")
    private_key: Annotated[Text, AfterValidator(_private_key)] = Field(
        description="the text of a private key", json_schema_extra=SECRET
    )
    host_key: Annotated[Text, AfterValidator(_host_key)] = Field(description="a public key such as ssh-ed25519 AAAA…")
    cidr: Annotated[Text, AfterValidator(_cidr)] = Field(description="a network such as 10.20.0.5/32")
    security_group_ids: tuple[Text, ...] = Field((), description="a list of security groups' ids")

    @property
    def peers(self) -> tuple[str, ...]:
        """What a rule that lets it in to workers may call it."""
        return (self.cidr, *self.security_group_ids)
