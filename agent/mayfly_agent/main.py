# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``mayfly-agent run JOB``: carry a job out, and say in status.json beside it what became of it."""

from __future__ import annotations

import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from .errors import AgentError
from .job import read_job
from .memory import keep_memory
from .operations import carry_out
from .progress import Progress
from .status import Status


class Stopped(BaseException):
    """SIGTERM came."""


def main(arguments: list[str]) -> int:
    """0 when the job was done, 1 when it failed, 2 for a wrong call."""
    if len(arguments) != 2 or arguments[0] != "run":
        print("usage: mayfly-agent run JOB", file=sys.stderr)
        return 2
    keep_memory()
    path = Path(arguments[1])
    signal.signal(signal.SIGTERM, _stop)
    progress = Progress()
    arrived = progress.clock.now()
    with Status(path.with_name("status.json"), progress) as status:
        try:
            status.succeeded(carry_out(read_job(path), status, arrived))
        except AgentError as error:
            status.failed(error)
            print(f"{error.code}: {error.message}", file=sys.stderr)
            return 1
        except Stopped:
            status.failed(AgentError("Stopped", "The transfer agent was stopped from outside."))
            return 1
        except Exception as error:  # whatever it is, the controller must hear of it
            traceback.print_exc()
            status.failed(AgentError("InternalError", f"The transfer agent failed: {error!r}"))
            return 1
    return 0


def _stop(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once: the way out is not interrupted
    raise Stopped


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
