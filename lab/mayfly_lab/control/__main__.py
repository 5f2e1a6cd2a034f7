# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the control plane."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from mayfly_lab import paths, rpc, web
from mayfly_lab.accounts import ACCOUNTS
from mayfly_lab.addresses import REGIONS, service_address
from mayfly_lab.blocks.store import BlockStore
from mayfly_lab.control import (
    attributes,
    checks,
    consistency,
    endpoints,
    groups,
    identity,
    images,
    imaging,
    instances,
    lifecycle,
    metadata,
    publishing,
    quotas,
    regions,
    snapshots,
    spot,
    volumes,
    vpcs,
)
from mayfly_lab.control.application import Application
from mayfly_lab.control.state import Lab, backends
from mayfly_lab.faults import Faults
from mayfly_lab.gate import Gate
from mayfly_lab.iam.guard import Guard
from mayfly_lab.sessions import Sessions

SERVICES = ("ec2", "sts", "iam", "kms", "ssm", "servicequotas", "pricing")
PARTS = (
    attributes,
    checks,
    consistency,
    endpoints,
    groups,
    identity,
    images,
    imaging,
    instances,
    lifecycle,
    quotas,
    regions,
    snapshots,
    spot,
    volumes,
    vpcs,
)
_THREADS = 24  # of each address: calls that are slow on purpose hold one each


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for noisy in ("werkzeug", "botocore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    where = paths.current()
    Lab.paths = where
    Lab.store = BlockStore(where.store)
    Lab.supervisor = rpc.Client(where.supervisor_socket)
    Lab.faults = Faults(where.run)
    Lab.sessions = Sessions(where.sessions)
    Lab.guard = Guard(where.iam, Lab.sessions)
    for part in PARTS:
        part.install()
    images.put_snapshots(REGIONS)
    _write_credentials(where.run / "aws")
    for backend in backends():
        backend.get_default_vpc()
    threading.Thread(target=lifecycle.follow_events, name="events", daemon=True).start()
    told = rpc.Server(where.control_socket, {"interrupt": spot.interrupt, "set_quota": quotas.set_quota})
    threading.Thread(target=told.serve_forever, name="told", daemon=True).start()
    threading.Thread(target=metadata.Server().serve_forever, name="metadata", daemon=True).start()
    addresses = [service_address(service, region) for service in SERVICES for region in REGIONS]
    application = Application(SERVICES, Gate(Lab.faults, Lab.sessions))
    web.serve(application, addresses, where.server_certificate, threads=_THREADS)
    ready = where.run / "ready"
    ready.mkdir(exist_ok=True)
    (ready / "control").touch()
    threading.Event().wait()


def _write_credentials(folder: Path) -> None:
    """Administrators' keys, as shared credentials and configuration files with one profile an account."""
    folder.mkdir(mode=0o700)
    keys = identity.make_administrators()
    publishing.publish()
    credentials, configuration = [], []
    for name, account in ACCOUNTS.items():
        key_id, secret = keys[account]
        credentials += [f"[{name}]", f"aws_access_key_id = {key_id}", f"aws_secret_access_key = {secret}", ""]
        configuration += [f"[profile {name}]", f"region = {REGIONS[0]}", ""]
    for path, lines in ((folder / "credentials", credentials), (folder / "config", configuration)):
        path.touch(mode=0o600)
        path.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
