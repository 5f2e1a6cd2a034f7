# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command costs with all that it starts: ``python -m tests.benchmarks.consumption SECONDS COMMAND…``.

Prints {code, seconds, cpu_seconds, behind_cpu_seconds, peak_mib} as its last line. ``peak_mib`` is the largest memory
of any one of its processes. Processes that the command leaves behind, such as a keeper in a session of its own, become
children of this one and are waited for, SECONDS at most after the command has begun; ``behind_cpu_seconds`` are theirs
and of what they have started.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, prctl(2)
_PAUSE = 0.005  # some of what is measured takes a fifth of a second


def measure(limit: float, command: list[str]) -> dict[str, float]:
    """Run it; ``seconds`` end with the command, processor time with the last of its processes. Raises TimeoutError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    began = time.monotonic()
    # Else every start of Python would compile what others find compiled.
    environment = {name: each for name, each in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    pid = os.posix_spawnp(command[0], command, environment)
    used = {True: 0.0, False: 0.0}  # of the command with all that it has waited for, and of what it has left behind
    code, seconds, peak = -1, 0.0, 0
    while True:
        try:
            ended, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if ended:
            used[ended == pid] += usage.ru_utime + usage.ru_stime
            peak = max(peak, usage.ru_maxrss)
        if ended == pid:
            code, seconds = os.waitstatus_to_exitcode(status), time.monotonic() - began
        elif not ended:
            if time.monotonic() > began + limit:
                os.kill(pid, signal.SIGINT)
                raise TimeoutError(f"{command[0]}, or what it has started, does not end")
            time.sleep(_PAUSE)
    cpu = {"cpu_seconds": sum(used.values()), "behind_cpu_seconds": used[False]}
    return {"code": code, "seconds": seconds, **cpu, "peak_mib": peak / 1024}


if __name__ == "__main__":
    print(json.dumps(measure(float(sys.argv[1]), sys.argv[2:])))
