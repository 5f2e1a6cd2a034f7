# SPDX-License-Identifier: GPL-3.0-or-later
"""What the machine grants to all hosts of its labs together."""

from __future__ import annotations

import sys
from pathlib import Path

_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
# *Measured*: the systemd of a Debian 12 host and its logind hold six for root. Linux grants a user 128, which is
# twenty-one hosts: one more boots, and its sshd never begins.
_INSTANCES = 8192


def allow_many_hosts(limit: Path = _INOTIFY) -> None:
    """Raise the machine's limit of inotify instances where it is lower than some hundred hosts need."""
    if int(limit.read_text()) >= _INSTANCES:
        return
    try:
        limit.write_text(f"{_INSTANCES}\n")
    except OSError as error:
        print(
            f"more than twenty hosts may not boot: {limit} cannot be raised to {_INSTANCES}: {error}", file=sys.stderr
        )
