# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that serves the EBS direct APIs in every Region of the lab."""

from __future__ import annotations

import logging
import threading

from mayfly_lab import addresses, paths, web
from mayfly_lab.blocks.store import BlockStore
from mayfly_lab.ebs import connections
from mayfly_lab.ebs.application import Application
from mayfly_lab.ebs.tokens import Tokens
from mayfly_lab.faults import Faults
from mayfly_lab.gate import Gate
from mayfly_lab.iam.guard import Guard
from mayfly_lab.sessions import Sessions

_THREADS = 32  # of each Region


def main() -> None:
    """Serve until killed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    where = paths.current()
    regions = {addresses.service_address("ebs", region): region for region in addresses.REGIONS}
    sessions = Sessions(where.sessions)
    gate, guard = Gate(Faults(where.run), sessions), Guard(where.iam, sessions)
    tokens = Tokens(where.run / "ebs-tokens.key")
    application = Application(BlockStore(where.store), tokens, gate, regions, guard=guard)
    connections.keep(web.serve(application, list(regions), where.server_certificate, threads=_THREADS))
    ready = where.run / "ready"
    ready.mkdir(exist_ok=True)
    (ready / "ebs").touch()
    threading.Event().wait()


if __name__ == "__main__":
    main()
