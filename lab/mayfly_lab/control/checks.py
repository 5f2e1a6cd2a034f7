# SPDX-License-Identifier: GPL-3.0-or-later
"""What EC2 tells of the host behind an instance: status checks, and what it printed on its console."""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import Any

from moto.core.responses import ActionResult
from moto.core.types import Base64EncodedString
from moto.core.utils import utcnow
from moto.ec2.models.instances import Instance
from moto.ec2.responses.general import General

from mayfly_lab import addresses
from mayfly_lab.control import lifecycle
from mayfly_lab.control.state import Lab, replace
from mayfly_lab.firewall import interface

_INITIALIZING_SECONDS = 1.0  # minutes on AWS; enough to catch code that does not wait
_ANSWER_SECONDS = 0.2
_CONSOLE_BYTES = 64 * 1024  # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html
# linux/if_ether.h, linux/if_arp.h
_ETH_P_ARP, _ETH_P_IP, _ARPHRD_ETHER, _REQUEST, _REPLY = 0x0806, 0x0800, 1, 1, 2
_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")


def install() -> None:
    """Put these functions into moto."""
    replace(Instance, instance_status=property(instance_status))
    replace(General, get_console_output=get_console_output)


def instance_status(self: Any) -> dict[str, Any]:
    """As EC2's reachability check: whether the host answers to ARP."""
    if self.state_code != lifecycle.RUNNING:
        return {"Status": "not-applicable"}
    if getattr(self, "lab_died", False):
        return _status("impaired", "failed")
    answered = getattr(self, "lab_answered", False)
    if not answered and time.monotonic() > self.lab_since + _INITIALIZING_SECONDS:
        self.lab_answered = answered = _answers(interface(self.id), self.private_ip)
    return _status("ok", "passed") if answered else _status("initializing", "initializing")


def get_console_output(self: Any) -> ActionResult:
    """The last 64 KiB of it."""
    instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    try:
        with (Lab.paths.run / "hosts" / instance.id / "console.log").open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _CONSOLE_BYTES))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:  # no host has run yet
        text = ""
    output = Base64EncodedString.from_raw_string(text)
    return ActionResult({"InstanceId": instance.id, "Timestamp": utcnow(), "Output": output})


def _status(status: str, reachability: str) -> dict[str, Any]:
    return {"Details": [{"Name": "reachability", "Status": reachability}], "Status": status}


def _answers(link: str, address: str) -> bool:
    """Whether ``address`` answers to ARP on a link, which no security group forbids."""
    wanted = socket.inet_aton(address)
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ARP)) as asking:
            asking.bind((link, _ETH_P_ARP))
            own = asking.getsockname()[4]
            asked = (own, socket.inet_aton(addresses.GATEWAY), bytes(6), wanted)
            head = (b"\xff" * 6, own, _ETH_P_ARP, _ARPHRD_ETHER, _ETH_P_IP, 6, 4, _REQUEST)
            asking.send(_FRAME.pack(*head, *asked))
            ends = time.monotonic() + _ANSWER_SECONDS
            while (left := ends - time.monotonic()) > 0:
                asking.settimeout(left)
                frame = asking.recv(_FRAME.size)
                if len(frame) == _FRAME.size and _FRAME.unpack(frame)[7] == _REPLY and frame[28:32] == wanted:
                    return True
    except OSError:  # no answer in time, or no link yet
        return False
    return False
