# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that serves S3 in every Region of the lab."""

from __future__ import annotations

import logging
import threading

from mayfly_lab import addresses, paths, web
from mayfly_lab.faults import Faults
from mayfly_lab.gate import Gate
from mayfly_lab.iam.guard import Guard
from mayfly_lab.s3.application import Application
from mayfly_lab.s3.content import Spool
from mayfly_lab.sessions import Sessions

_THREADS = 32  # of each Region


def main() -> None:
    """Serve until killed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    where = paths.current()
    sessions = Sessions(where.sessions)
    application = Application(Spool(where.run / "s3"), Gate(Faults(where.run), sessions), Guard(where.iam, sessions))
    endpoints = [addresses.service_address("s3", region) for region in addresses.REGIONS]
    web.serve(application, endpoints, where.server_certificate, threads=_THREADS)
    ready = where.run / "ready"
    ready.mkdir(exist_ok=True)
    (ready / "s3").touch()
    threading.Event().wait()


if __name__ == "__main__":
    main()
