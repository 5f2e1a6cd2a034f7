# SPDX-License-Identifier: GPL-3.0-or-later
"""The keeper's process: serves while the playbook lives, then ends everything that its run has left.

Started by ``start.py`` as ``python -m …keeper.main RUN_ID RUN_FOLDER SECRETS_FOLDER PIDFD READY_FD [replacement]``. As
the replacement of a keeper that died, it ends the run at once, finding by tags what that had made.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

from .context import Run
from .ending import end_run, sweep_run
from .errors import KeeperError
from .journal import Exchanged, read_exchanges, read_journal
from .report import Report
from .runner import Runner, find_runner
from .server import Server
from .start import ALIVE, LOCK, REPLACEMENT, SOCKET
from .swaps import finish_for
from .translation import as_keeper_error

log = logging.getLogger(__name__)

_LAST_ANSWERS_SECONDS = 30.0


def main(arguments: list[str]) -> int:
    """Keep one run; 0 when nothing of it is left."""
    run_id, folder, secrets = arguments[0], Path(arguments[1]), Path(arguments[2])
    pidfd, ready = int(arguments[3]), int(arguments[4])
    replacement = REPLACEMENT in arguments[5:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(threadName)s %(message)s")
    for noisy in ("botocore", "boto3", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    stop, stopped = os.pipe()
    os.set_blocking(stopped, False)
    signal.set_wakeup_fd(stopped)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    lock, alive = _lock(folder / LOCK), _lock(secrets / ALIVE)
    run = Run(run_id, folder, secrets, Report(folder, run_id))
    server = Server(run, secrets / SOCKET)
    exchanges = _take_over(run, secrets) if replacement else []
    run.marker.start()
    server.start()
    os.write(ready, b"ready\n")
    os.close(ready)
    log.info("run %s is kept", run_id)
    if replacement:
        sweep_run(run)
        run.swept.set()
    for exchange in exchanges:
        finish_for(run, *exchange)
    runner = find_runner()
    reasons: list[int | Runner] = [pidfd, stop, run.closing.wished]
    ends, _, _ = select.select([*reasons, runner] if runner else reasons, [], [])
    log.info("the run is to end")
    if runner in ends:
        # Its playbook would go on until it next says something, or block on that: nobody reads it.
        log.warning("the runner has died, and its playbook is killed")
        run.report.error(KeeperError("RunnerDied", "The program that had started the run died before its end."))
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    try:
        errors = _ended(run, server)
        for error in errors:
            run.report.error(error)
        run.report.end()
        run.closing.done(errors)
        server.drain(_LAST_ANSWERS_SECONDS)
        return int(bool(errors))
    finally:
        server.stop()
        shutil.rmtree(secrets, ignore_errors=True)
        if runner is not None:
            runner.forget()
        if server.calls == 0:
            _remove_unused(folder)
        alive.close()
        lock.close()


def _ended(run: Run, server: Server) -> list[KeeperError]:
    """What could not be ended. A mistake of our own is told like the rest, and tried once more."""
    for _ in range(2):
        try:
            return end_run(run, server)
        except Exception as error:  # nothing must keep the report from its end
            log.exception("the run was not ended")
            failure = as_keeper_error(error)
    return [failure]


def _lock(path: Path) -> IO[str]:
    """Held for as long as this process lives: whoever finds it free knows that the keeper is gone."""
    lock = path.open("a+")
    fcntl.flock(lock, fcntl.LOCK_EX)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _take_over(run: Run, secrets: Path) -> list[Exchanged]:
    """Know what the keeper before this one knew; the exchanges of volumes that it was in the middle of."""
    accounts, places = read_journal(secrets)
    exchanges = read_exchanges(secrets)
    run.clients.use(accounts)
    run.journal.note_accounts(accounts)
    for place in places:
        run.temporaries.watch(*place)
    run.report.resume()
    run.replaced = True
    run.close()
    log.warning("another keeper of this run has died; its places are %s", places)
    return exchanges


def _remove_unused(folder: Path) -> None:
    """A playbook that never asked the keeper for anything leaves no trace."""
    for name in ("report.json", "report.html", "report.csv", "report.xml", "keeper.log", LOCK):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
