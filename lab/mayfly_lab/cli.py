# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `lab`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from mayfly_lab import (
    addresses,
    certificates,
    cgroups,
    control_commands,
    fault_commands,
    faults,
    limits,
    locks,
    namespace,
    paths,
    rpc,
)
from mayfly_lab.iam import commands as iam_commands
from mayfly_lab.image import ensure_image
from mayfly_lab.own_kernel import image as own_kernel_image

_DOWN = 2
_START_LIMIT = 60.0
_ELSEWHERE: dict[str, Callable[[paths.Paths, argparse.Namespace], int]] = {
    "fault": fault_commands.run,
    "iam": iam_commands.run,
    "quota": control_commands.run,
    "spot": control_commands.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="lab", description="An embedded AWS with real hosts, disks and networks.")
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("up", help="start the lab (what a crash left is cleaned up first)")
    starting.add_argument("--enforce-iam", action="store_true", help="let IAM's policies count (see: lab iam)")
    purpose = "have the machine image with a kernel of its own (built once; afterwards every lab has it)"
    starting.add_argument("--own-kernel", action="store_true", help=purpose)
    commands.add_parser("down", help="end the lab; nothing of it stays but the cached machine image")
    commands.add_parser("status", help="what runs; exit code 1 when something does not")
    seeding = commands.add_parser("seed", help="make accounts' networks, a bucket and two source instances")
    ways = {"nat": "a NAT gateway", "endpoints": "VPC endpoints alone"}
    purpose = f"how private subnets reach AWS (default: {ways['nat']})"
    seeding.add_argument("--network", choices=list(ways), default="nat", help=purpose)
    purpose = "add a source instance with a kernel of its own: LVM, FAT and NTFS"
    seeding.add_argument("--own-kernel", action="store_true", help=purpose)
    for name, purpose in (("digest", "one digest over all blocks of each"), ("files", "the files of a file system")):
        contents = commands.add_parser(name, help=f"{purpose}, of volumes and snapshots")
        contents.add_argument("ids", nargs="+", metavar="ID", help="a volume or a snapshot")
    fault_commands.add_parser(commands)
    control_commands.add_parsers(commands)
    iam_commands.add_parser(commands)
    execute = commands.add_parser("exec", help="run a command in the lab's network: lab exec -- COMMAND")
    execute.add_argument("--host", metavar="INSTANCE", help="run it as root on a host of the lab instead")
    execute.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    options = parser.parse_args()
    where = paths.current()
    if os.geteuid() != 0:
        print("lab: needs root: it makes namespaces, mounts and loop devices", file=sys.stderr)
        return 1
    try:
        if options.command == "exec":
            words = options.words[1:] if options.words[:1] == ["--"] else options.words
            if not words:
                parser.error("exec needs a command")
            if options.host:
                words = ["nsenter", "--target", str(leader(where, options.host)), "--all", *words]
            return namespace.execute(where, words, environment(where))
        if options.command in ("digest", "files"):
            looking = [sys.executable, "-m", "mayfly_lab.contents", options.command, *options.ids]
            return namespace.execute(where, looking, environment(where))
        if options.command in _ELSEWHERE:
            return _ELSEWHERE[options.command](where, options)
        if options.command == "status":
            return status(where)
        with locks.held(where.lock, lambda: print(f"waiting for another command in {where.state}", file=sys.stderr)):
            if options.command == "seed":
                return seed(where, options.network, own_kernel=options.own_kernel)
            if options.command == "up":
                return up(where, enforce_iam=options.enforce_iam, own_kernel=options.own_kernel)
            return down(where)
    except (namespace.LabDown, rpc.RpcError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return _DOWN
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def seed(where: paths.Paths, network: str, *, own_kernel: bool) -> int:
    """Fill the lab; ``network``: how its private subnets reach AWS."""
    if own_kernel:
        namespace.first_process(where)
        _have_own_kernel(where)
    words = [network, *(["own-kernel"] if own_kernel else [])]
    return namespace.execute(where, [sys.executable, "-m", "mayfly_lab.seed", *words], environment(where))


def up(where: paths.Paths, *, enforce_iam: bool, own_kernel: bool) -> int:
    """Start the lab, or say that it runs."""
    try:
        namespace.first_process(where)
    except namespace.LabDown:
        down(where)
    else:
        if own_kernel:
            _have_own_kernel(where)
        if enforce_iam:
            iam_commands.turn(where, on=True)
        print("the lab is up")
        return 0
    where.logs.mkdir(parents=True)
    where.run.chmod(0o700)
    limits.allow_many_hosts()
    with _cache(where):
        certificates.ensure_authority(where.cache)
        image = ensure_image(where.cache)
    certificates.issue_server_certificate(where.cache, where.server_certificate)
    system = Path("/etc/ssl/certs/ca-certificates.crt").read_text()
    where.trust_bundle.write_text(system + where.ca_certificate.read_text())
    (where.run / "image").symlink_to(image)
    where.own_kernel.symlink_to(own_kernel_image.place(where.cache))  # built or not
    if own_kernel:
        _have_own_kernel(where)
    started = time.monotonic()
    namespace.create(where)
    try:
        _wait_for_services(where)
        if enforce_iam:
            iam_commands.turn(where, on=True)
    except BaseException:
        namespace.destroy(where)
        raise
    print(f"the lab is up after {time.monotonic() - started:.1f} s")
    return 0


def _cache(where: paths.Paths) -> AbstractContextManager[None]:
    """The cache, for whoever makes something in it."""
    return locks.held(where.cache_lock, lambda: print(f"waiting for another lab in {where.cache}", file=sys.stderr))


def _have_own_kernel(where: paths.Paths) -> None:
    with _cache(where):
        own_kernel_image.ensure_own_kernel(where.cache)


def down(where: paths.Paths) -> int:
    """End the lab and remove what it kept."""
    namespace.destroy(where)
    cgroups.remove(where.name)
    if where.run.exists():
        shutil.rmtree(where.run)
    return 0


def status(where: paths.Paths) -> int:
    """Print services, hosts and faults."""
    namespace.first_process(where)
    client = rpc.Client(where.supervisor_socket)
    services: dict[str, int | None] = client.call("services")
    for name, code in services.items():
        print(f"service {name:10} {'runs' if code is None else f'ended with exit code {code}'}")
    for host in client.call("hosts"):
        network = " network cut" if host["cut"] else ""
        print(f"host    {host['instance_id']} {host['state']}{network} disks {' '.join(host['disks']) or '-'}")
    print(f"iam     {iam_commands.state(where)}")
    for fault in faults.Faults(where.run).all():
        print(f"fault   {fault}")
    return int(any(code is not None for code in services.values()))


def leader(where: paths.Paths, instance_id: str) -> int:
    """Process 1 of a host, by its number inside the lab."""
    namespace.first_process(where)
    number: int = rpc.Client(where.supervisor_socket).call("leader", instance_id=instance_id)
    return number


def environment(where: paths.Paths) -> dict[str, str]:
    """What AWS clients in the lab need to be told."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    kept = {name: value for name, value in kept.items() if not name.startswith("AWS_")}
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    return {
        **kept,
        "MAYFLY_LAB_STATE": str(where.state),
        "MAYFLY_LAB_CACHE": str(where.cache),
        "MAYFLY_LAB_SEED": str(where.seed),
        "AWS_SHARED_CREDENTIALS_FILE": str(where.run / "aws/credentials"),
        "AWS_CONFIG_FILE": str(where.run / "aws/config"),
        "AWS_PROFILE": "backup",
        "AWS_DEFAULT_REGION": addresses.REGIONS[0],
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CA_BUNDLE": bundle,
        "SSL_CERT_FILE": bundle,
        "REQUESTS_CA_BUNDLE": bundle,
    }


def _wait_for_services(where: paths.Paths) -> None:
    """Until every endpoint takes connections; raises LabDown with the log of what does not."""
    limit = time.monotonic() + _START_LIMIT
    ready = where.run / "ready"
    ready.mkdir(exist_ok=True)
    while True:
        missing = [name for name in ("control", "s3", "ebs") if not (ready / name).exists()]
        if not missing and where.supervisor_socket.exists():
            return
        dead: dict[str, int | None] = {}
        try:
            namespace.first_process(where)
            dead = {
                name: code
                for name, code in rpc.Client(where.supervisor_socket).call("services").items()
                if code is not None
            }
        except (TimeoutError, OSError):
            dead = {}
        except namespace.LabDown:
            dead = {"supervisor": 1}
        if dead or time.monotonic() > limit:
            name = next(iter(dead), (missing or ["supervisor"])[0])
            log = where.logs / f"{name}.log"
            tail = log.read_text()[-3000:] if log.exists() else ""
            down_reason = "has ended" if dead else f"does not answer after {_START_LIMIT:.0f} s"
            raise namespace.LabDown(f"the service {name} {down_reason}:\n{tail}")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
