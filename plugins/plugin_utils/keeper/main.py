# SPDX-License-Identifier: GPL-3.0-or-later
"""The keeper's process: serves while the playbook lives, then ends everything that its run has left.

Started by ``start.py`` as ``python -m …keeper.main RUN_ID RUN_FOLDER SECRETS_FOLDER PIDFD READY_FD``.
"""

from __future__ import annotations

import logging
import os
import select
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

from .context import Run
from .errors import KeeperError
from .report import Report
from .server import Server

log = logging.getLogger(__name__)

_TERMINATE_SECONDS = 150.0
_DELETE_SECONDS = 120.0


def main(arguments: list[str]) -> int:
    """Keep one run; 0 when nothing of it is left."""
    run_id, folder, secrets = arguments[0], Path(arguments[1]), Path(arguments[2])
    pidfd, ready = int(arguments[3]), int(arguments[4])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(threadName)s %(message)s")
    for noisy in ("botocore", "boto3", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    stop, stopped = os.pipe()
    os.set_blocking(stopped, False)
    signal.set_wakeup_fd(stopped)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    run = Run(run_id, folder, secrets)
    server = Server(run, secrets / "keeper.sock")
    run.marker.start()
    server.start()
    os.write(ready, b"ready\n")
    os.close(ready)
    log.info("run %s is kept", run_id)
    select.select([pidfd, stop], [], [])
    log.info("the playbook has ended")
    try:
        return 0 if _end(run, server) else 1
    finally:
        shutil.rmtree(secrets, ignore_errors=True)
        if server.calls == 0:
            _remove_unused(folder)


def _end(run: Run, server: Server) -> bool:
    """End everything of the run; whether nothing is left."""
    run.workers.refuse()
    server.stop()
    run.credentials.stop()
    errors = run.workers.terminate_all(_TERMINATE_SECONDS)
    errors += run.temporaries.delete_all(_DELETE_SECONDS)
    run.marker.stop()
    run.workers.close()
    _finish_report(run.report, errors)
    log.info("the run has ended, %d things are left", len(errors))
    return not errors


def _finish_report(report: Report, errors: list[KeeperError]) -> None:
    for error in errors:
        report.error(error)
    report.end()


def _remove_unused(folder: Path) -> None:
    """A playbook that never asked the keeper for anything leaves no trace."""
    for name in ("report.json", "keeper.log"):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
