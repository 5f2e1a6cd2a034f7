# SPDX-License-Identifier: GPL-3.0-or-later
"""Process 1 of the lab: reaps what is orphaned, and ends (with everything in the lab) when the supervisor ends."""

from __future__ import annotations

import os
import sys


def main() -> int:
    child = os.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-m", "mayfly_lab.supervisor"])
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
