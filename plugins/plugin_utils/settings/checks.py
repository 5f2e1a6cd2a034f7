# SPDX-License-Identifier: GPL-3.0-or-later
"""``mayfly_check_operations`` and ``mayfly_check_ports``: what a check of worker networks is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ..operations import USE_A_NETWORK
from .model import Setting, is_blank
from .networks import Text

# Those that have a playbook and take their networks from mayfly_networks.
DEFAULT_OPERATIONS = ("ec2_backup", "volume_restore")
_PORTS = 32


def check_operations(value: Any) -> tuple[str, ...]:
    """Names of operations, blank for the default; raises ValueError for one that uses no network of workers."""
    if is_blank(value):
        return DEFAULT_OPERATIONS
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"it is {value!r}, not a list of operations")
    for each in value:
        if each not in USE_A_NETWORK:
            raise ValueError(f"{each!r} is no operation that has a worker; known are {', '.join(USE_A_NETWORK)}")
    return tuple(dict.fromkeys(str(each) for each in value))


CheckOperations = Annotated[tuple[str, ...], BeforeValidator(check_operations)]


class Port(Setting):
    """One of ``mayfly_check_ports``."""

    host: Text = Field(description="a host's name or address")
    port: int = Field(ge=1, le=65535, description="a TCP port")


CheckPorts = Annotated[tuple[Port, ...], Field(max_length=_PORTS)]
