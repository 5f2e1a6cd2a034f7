# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that runs an operation through ``mayfly.start``; the campaign cancels it or kills it.

``python -m tests.faults.runner_child OPERATION INVENTORY VARIABLES.json``: prints the run's id, then reads ``cancel``
or ``time-out`` from its input, and prints the result's status at the end.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import mayfly


def main(operation: str, inventory: str, variables: str) -> int:
    """0 when the run has ended, however that was."""
    run = mayfly.start(operation, inventory=inventory, extra_vars=json.loads(Path(variables).read_text()), timeout=3600)
    print(run.id, flush=True)
    threading.Thread(target=_listen, args=(run,), daemon=True).start()
    result = run.wait()
    print(json.dumps({"status": result.status, "errors": [str(each) for each in result.errors]}), flush=True)
    return 0


def _listen(run: mayfly.Run) -> None:
    for line in sys.stdin:
        if line.strip() == "cancel":
            run.cancel("canceled by the campaign")
        elif line.strip() == "time-out":
            # The time-out itself is awaited nowhere: moments come later on a busy machine than on an idle one.
            run._stop._ends = time.monotonic()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
