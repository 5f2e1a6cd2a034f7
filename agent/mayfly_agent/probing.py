# SPDX-License-Identifier: GPL-3.0-or-later
"""A check of what a worker reaches, from inside: names, TLS, and rights with the worker's own credentials.

All services and ports are probed at once, the steps of each one after the other, up to one that fails. Each step has a
time limit, and those of a service together less than a minute.
"""

from __future__ import annotations

import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NoReturn, Protocol, TypeVar

from .errors import AgentError
from .job import STORE, CheckJob, Port, Service
from .objects import ObjectNotFound, Stored
from .repository.layout import REPOSITORY
from .signed import Answer

T = TypeVar("T")

_STEPS = ("name", "tls", "rights")
# Of one step each. The C library gives a silent name server up after 10 seconds (resolv.conf(5)).
_NAME_SECONDS, _TLS_SECONDS, _RIGHT_SECONDS, _PORT_SECONDS = 12.0, 15.0, 25.0, 10.0
_CONNECT_SECONDS = 5.0
_AT_ONCE = 64
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_WHO_AM_I = b"Action=GetCallerIdentity&Version=2011-06-15"
# EBS says these of a snapshot that there is not, to whoever may ask.
_NO_SNAPSHOT = ("ResourceNotFoundException", "ValidationException")

_NAMES = (
    "The VPC's enableDnsSupport must be on, and the name servers of its DHCP options must know AWS's names; with name"
    " servers of your own, the security groups must let UDP 53 out to them."
)
_PRIVATE_NAMES = (
    "Switch private DNS names on for the VPC's endpoint, and enableDnsHostnames for the VPC; name servers of your own"
    " must ask the VPC's resolver for AWS's names."
)
_WAY = (
    "Let TCP 443 out in the worker's security groups and in the subnet's network ACL, and in at the endpoint's groups;"
    " without an endpoint, the subnet's route table must lead to a NAT gateway."
)
_TRUST = (
    "Something between the worker and AWS answers in its place: exempt AWS's names from inspection, or use an image"
    " (mayfly_worker_image) that trusts its authority."
)
_TRUST_OF_STORE = (
    "Set ca_file of mayfly_repository to the authority that the store's certificate comes from; the certificate must"
    " name the host of endpoint_url."
)
_RIGHTS = (
    "Give worker_role_arn of mayfly_accounts the rights of docs/permissions.md; the policy of a VPC endpoint or of the"
    " organization can deny it as well."
)
# KMS does nothing for a worker but through S3 and EBS, and of the others nothing can be asked without effect.
_NOT_ASKED = "workers do not ask it with rights of their own"
_OPEN = "Let it out in the worker's security groups and network ACL, and in at the host's; see mayfly_check_ports."


@dataclass(frozen=True)
class Finding:
    """What came of one step: ``check`` is name, tls, rights or tcp; ``ok`` is None when it was not tried.

    ``reason`` is a sentence about what was seen, ``remedy`` one about what would mend it, empty where nothing is wrong.
    """

    service: str
    check: str
    ok: bool | None
    seconds: float
    reason: str
    remedy: str = ""


class Store(Protocol):
    """The part of an ObjectStore that is asked here."""

    def list(self, prefix: str) -> Iterator[object]:
        """Objects whose keys begin with the prefix."""

    def get(self, key: str) -> Stored:
        """The whole object."""


class Snapshots(Protocol):
    """The part of ebs.DirectSnapshots that is asked here."""

    def list_blocks(self, snapshot_id: str) -> Iterator[tuple[int, str]]:
        """(index, token) of every block."""


class Requests(Protocol):
    """See signed.SignedRequests."""

    def once(self, method: str, path: str, query: dict[str, str], body: bytes, headers: dict[str, str]) -> Answer:
        """One request."""


@dataclass(frozen=True)
class Rights:
    """How services are asked with the worker's credentials.

    ``snapshots`` takes a Region, ``sts`` a URL and a Region. Each may raise AgentError.
    """

    store: Callable[[], Store]
    snapshots: Callable[[str], Snapshots]
    sts: Callable[[str, str], Requests]


class Probe:
    """One check."""

    def __init__(self, job: CheckJob, rights: Rights) -> None:
        self._job = job
        self._rights = rights
        self._trusted = ssl.create_default_context()

    def run(self) -> list[Finding]:
        """Every finding, in the order of the job; raises nothing for what it finds."""
        parts: list[Callable[[], list[Finding]]] = [partial(self._service, each) for each in self._job.services]
        parts += [partial(self._tcp, each) for each in self._job.ports]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="probe") as pool:
            return [each for found in pool.map(lambda part: part(), parts) for each in found]

    def _service(self, service: Service) -> list[Finding]:
        asked: dict[str, Callable[[Service], str]] = {
            "s3": self._ask_s3,
            STORE: self._ask_s3,
            "ebs": self._ask_ebs,
            "sts": self._ask_sts,
        }
        name, ask = service.name, asked.get(service.name)
        found = [step(name, "name", _NAME_SECONDS, _NAMES, lambda: self._resolve(service))]
        if found[-1].ok:
            found.append(step(name, "tls", _TLS_SECONDS, _WAY, lambda: self._greet(service)))
        if found[-1].ok and ask is not None:
            found.append(step(name, "rights", _RIGHT_SECONDS, _RIGHTS, lambda: ask(service)))
        tried = {each.check for each in found}
        why = _NOT_ASKED if found[-1].ok else "the step before it has failed"
        return [*found, *(_untried(name, each, why) for each in _STEPS if each not in tried)]

    def _resolve(self, service: Service) -> str:
        try:
            found = socket.getaddrinfo(service.host, service.port, type=socket.SOCK_STREAM)
        except OSError as error:
            message = f"{service.host} is not resolved: {error.strerror or error}."
            raise AgentError("NameNotResolved", message, _NAMES) from error
        addresses = sorted({str(each[4][0]) for each in found})
        shown = f"{service.host} is {', '.join(addresses)}"
        if service.private and any(ipaddress.ip_address(each).is_global for each in addresses):
            message = f"{shown}: not the private addresses of the VPC's endpoint."
            raise AgentError("PublicAddress", message, _PRIVATE_NAMES)
        return f"{shown}."

    def _greet(self, service: Service) -> str:
        place, trusted, whose = f"{service.host}, TCP {service.port}", self._trusted, "AWS's"
        if service.name == STORE:
            endpoint, whose = self._job.repository.endpoint, "one that is trusted"
            trusted = ssl.create_default_context(cadata=(endpoint.authorities if endpoint else "") or None)
        try:
            with (
                socket.create_connection((service.host, service.port), _CONNECT_SECONDS) as plain,
                trusted.wrap_socket(plain, server_hostname=service.host) as secure,
            ):
                return f"{secure.version()} with {place}; its certificate is right."
        except ssl.SSLCertVerificationError as error:
            message = f"The certificate at {place} is not {whose}: {error.verify_message}."
            remedy = _TRUST_OF_STORE if service.name == STORE else _TRUST
            raise AgentError("CertificateNotTrusted", message, remedy) from error
        except OSError as error:
            raise AgentError("NotReached", f"{place} is not reached: {error.strerror or error}.", _WAY) from error

    def _ask_s3(self, _service: Service) -> str:
        """What a transfer does first: look for the resource's objects, and read what the repository is."""
        store, place = self._rights.store(), self._job.repository
        next(iter(store.list(f"{self._job.name.path}/")), None)
        try:
            store.get(REPOSITORY)
        except ObjectNotFound as error:
            message = f"The bucket {place.bucket} has no {REPOSITORY} below {place.prefix or 'its root'}."
            remedy = "Run the playbook repository_create, or correct mayfly_repository."
            raise AgentError("RepositoryMissing", message, remedy) from error
        return f"The repository in {place.bucket} may be listed and read."

    def _ask_ebs(self, service: Service) -> str:
        snapshot_id = self._job.snapshot_id
        try:
            next(iter(self._rights.snapshots(service.region).list_blocks(snapshot_id)), None)
        except AgentError as error:
            if error.code not in _NO_SNAPSHOT:
                raise
        return "Blocks of snapshots may be listed."

    def _ask_sts(self, service: Service) -> str:
        requests = self._rights.sts(f"https://{service.host}:{service.port}", service.region)
        answer = requests.once("POST", "/", {}, _WHO_AM_I, _FORM)
        text = answer.body.decode(errors="replace")
        if answer.status != 200:
            code, said = _element(text, "Code") or f"status {answer.status}", _element(text, "Message") or text[:200]
            raise AgentError(code, f"STS refused GetCallerIdentity: {said} ({code}).")
        return f"The worker is {_element(text, 'Arn')}."

    def _tcp(self, port: Port) -> list[Finding]:
        place = f"{port.host}:{port.port}"

        def connect() -> str:
            try:
                with socket.create_connection((port.host, port.port), _CONNECT_SECONDS):
                    return f"{place} answers."
            except OSError as error:
                raise AgentError("NotReached", f"{place} is not reached: {error.strerror or error}.") from error

        return [step(place, "tcp", _PORT_SECONDS, _OPEN, connect)]


def step(service: str, check: str, seconds: float, remedy: str, call: Callable[[], str]) -> Finding:
    """What came of ``call``, which returns what it saw. ``remedy`` is for errors that bring none of their own."""
    began = time.monotonic()

    def finding(ok: bool, reason: str, remedy: str = "") -> Finding:
        return Finding(service, check, ok, round(time.monotonic() - began, 3), reason, remedy)

    try:
        return finding(True, _within(seconds, call))
    except AgentError as error:
        return finding(False, error.message, error.remedy or remedy)
    except Exception as error:  # whatever it is, the other services are to be told of as well
        return finding(False, f"{type(error).__name__}: {error}", remedy)


def _within(seconds: float, call: Callable[[], T]) -> T:
    """What ``call`` gives; raises TimeoutError after so many seconds, and leaves it to the process's end.

    Not every step can be given a limit of its own: the resolver of the C library takes none.
    """
    ended: queue.SimpleQueue[Callable[[], T]] = queue.SimpleQueue()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:
            raised = error
            ended.put(lambda: _raise(raised))
        else:
            ended.put(lambda: result)

    threading.Thread(target=run, name="step", daemon=True).start()
    try:
        outcome = ended.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:.0f} seconds") from None
    return outcome()


def _raise(error: BaseException) -> NoReturn:
    raise error


def _untried(service: str, check: str, why: str) -> Finding:
    return Finding(service, check, None, 0.0, f"Not tried: {why}.")


def _element(text: str, name: str) -> str:
    """What stands in the first XML element of that name; "" without one."""
    found = re.search(f"<{name}>([^<]*)</{name}>", text)
    return found[1] if found else ""
