# SPDX-License-Identifier: GPL-3.0-or-later
"""The instance metadata service, version 2 (version 1 where an instance allows it)."""

from __future__ import annotations

import base64
import json
import logging
import secrets
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from mayfly_lab.addresses import METADATA
from mayfly_lab.control.state import LOCK, backends

log = logging.getLogger(__name__)
_VERSIONS = ("2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest")
_HEADER = "X-aws-ec2-metadata-token"
_MAXIMUM_TTL = 21600
_KEPT_TOKENS = 10_000
Tree = dict[str, Any]


class Server(ThreadingHTTPServer):
    """Serves every host; knows each by its address."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.tokens: dict[str, tuple[str, float]] = {}
        super().__init__((METADATA, 80), _Handler)

    def new_token(self, instance_id: str, seconds: int) -> str:
        token = base64.urlsafe_b64encode(secrets.token_bytes(40)).decode()
        self.tokens[token] = (instance_id, time.monotonic() + seconds)
        while len(self.tokens) > _KEPT_TOKENS:
            del self.tokens[next(iter(self.tokens))]
        return token

    def token_is_good(self, token: str, instance_id: str) -> bool:
        owner, ends = self.tokens.get(token, ("", 0.0))
        return owner == instance_id and time.monotonic() < ends


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "EC2ws"
    sys_version = ""
    timeout = 30

    def do_PUT(self) -> None:
        instance = self._instance()
        if instance is None or self.path != "/latest/api/token":
            return self._answer(404, b"")
        if self.headers.get("X-Forwarded-For"):
            return self._answer(403, b"")
        try:
            seconds = int(self.headers.get(_HEADER + "-ttl-seconds", ""))
        except ValueError:
            return self._answer(400, b"")
        if not 1 <= seconds <= _MAXIMUM_TTL:
            return self._answer(400, b"")
        hops = instance.metadata_options.http_put_response_hop_limit
        self.connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(hops))
        headers = {_HEADER + "-ttl-seconds": str(seconds)}
        return self._answer(200, self.server.new_token(instance.id, seconds).encode(), headers)

    def do_GET(self) -> None:
        instance = self._instance()
        if instance is None or instance.metadata_options.http_endpoint == "disabled":
            return self._answer(404, b"")
        token = self.headers.get(_HEADER)
        if token is None and instance.metadata_options.http_tokens == "required":
            return self._answer(401, b"")
        if token is not None and not self.server.token_is_good(token, instance.id):
            return self._answer(401, b"")
        version, _, path = self.path.lstrip("/").partition("/")
        if not version:
            return self._answer(200, "\n".join(_VERSIONS).encode())
        if version not in _VERSIONS:
            return self._answer(404, b"")
        with LOCK:
            found = look_up(tree(instance), path)
        return self._answer(404, b"") if found is None else self._answer(200, found)

    def _instance(self) -> Any:
        address = self.client_address[0]
        with LOCK:
            for backend in backends():
                for instance in backend.all_instances():
                    if instance.private_ip == address and instance.state_code not in (48, 80):
                        return instance
        return None

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form: str, *arguments: Any) -> None:
        log.debug(form, *arguments)


def look_up(node: Tree | bytes, path: str) -> bytes | None:
    """What a path of the tree answers: a value, or the list of what is below it; None where nothing is."""
    for part in (part for part in path.split("/") if part):
        if not isinstance(node, dict) or part not in node:
            return None
        node = node[part]
    if isinstance(node, bytes):
        return node
    return "\n".join(f"{name}/" if isinstance(child, dict) else name for name, child in node.items()).encode()


def tree(instance: Any) -> Tree:
    """Everything that an instance can read of itself."""
    nic = instance.nics[0]
    subnet = nic.subnet
    groups = [group.name for group in nic.group_set]
    interface = {
        "device-number": b"0",
        "interface-id": nic.id.encode(),
        "local-ipv4s": instance.private_ip.encode(),
        "mac": nic.mac_address.encode(),
        "owner-id": instance.owner_id.encode(),
        "security-group-ids": "\n".join(group.id for group in nic.group_set).encode(),
        "security-groups": "\n".join(groups).encode(),
        "subnet-id": subnet.id.encode(),
        "subnet-ipv4-cidr-block": subnet.cidr_block.encode(),
        "vpc-id": subnet.vpc_id.encode(),
    }
    zone, region = instance.availability_zone, instance.region_name
    metadata: Tree = {
        "ami-id": instance.image_id.encode(),
        "ami-launch-index": str(instance.ami_launch_index).encode(),
        "block-device-mapping": {"ami": b"xvda", "root": instance.root_device_name.encode()},
        "hostname": instance.private_dns_name.encode(),
        "instance-id": instance.id.encode(),
        "instance-life-cycle": (instance.lifecycle or "on-demand").encode(),
        "instance-type": instance.instance_type.encode(),
        "local-hostname": instance.private_dns_name.encode(),
        "local-ipv4": instance.private_ip.encode(),
        "mac": nic.mac_address.encode(),
        "network": {"interfaces": {"macs": {nic.mac_address: interface}}},
        "placement": {
            "availability-zone": zone.encode(),
            "availability-zone-id": subnet.availability_zone_id.encode(),
            "region": region.encode(),
        },
        "security-groups": "\n".join(groups).encode(),
        "services": {"domain": b"amazonaws.com", "partition": b"aws"},
    }
    if instance.public_ip:
        metadata["public-ipv4"] = instance.public_ip.encode()
    ends = getattr(instance, "lab_interruption", None)
    if ends:
        moment = f"{ends:%Y-%m-%dT%H:%M:%SZ}"
        action = json.dumps({"action": "terminate", "time": moment}).encode()
        metadata["spot"] = {"instance-action": action, "termination-time": moment.encode()}
    if instance.metadata_options.instance_metadata_tags == "enabled":
        metadata["tags"] = {"instance": {tag["key"]: tag["value"].encode() for tag in instance.get_tags()}}
    document = {
        "accountId": instance.owner_id,
        "architecture": instance.architecture,
        "availabilityZone": zone,
        "imageId": instance.image_id,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "privateIp": instance.private_ip,
        "region": region,
        "version": "2017-09-30",
    }
    whole: Tree = {"meta-data": metadata, "dynamic": {"instance-identity": {"document": json.dumps(document).encode()}}}
    if instance.user_data:
        whole["user-data"] = base64.b64decode(str(instance.user_data))
    return whole
