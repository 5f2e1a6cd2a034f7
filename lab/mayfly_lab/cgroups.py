# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups of the lab's hosts: on machines with version 2 alone, and on those that mix both."""

from __future__ import annotations

import time
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def _hierarchies() -> list[Path]:
    if (_ROOT / "cgroup.controllers").exists():
        return [_ROOT]
    return [path for path in (_ROOT / "unified", _ROOT / "systemd") if path.is_dir()]


def create(lab: str, instance_id: str) -> list[Path]:
    """The group of a host in each hierarchy; version 2 first."""
    found = [root / lab / instance_id for root in _hierarchies()]
    for path in found:
        path.mkdir(parents=True, exist_ok=True)
    return found


def freeze(lab: str, instance_id: str, *, frozen: bool) -> None:
    """Freeze or thaw all processes of a host; raises TimeoutError when the kernel has not done so in 10 s."""
    group = _hierarchies()[0] / lab / instance_id
    (group / "cgroup.freeze").write_text("1" if frozen else "0")
    limit = time.monotonic() + 10
    while f"frozen {int(frozen)}" not in (group / "cgroup.events").read_text():
        if time.monotonic() > limit:
            raise TimeoutError(f"{instance_id} is not {'frozen' if frozen else 'thawed'} after 10 s")
        time.sleep(0.002)


def kill(lab: str, instance_id: str) -> None:
    """Kill all processes of a host, frozen ones too, and wait for their end; raises TimeoutError after 10 s."""
    group = _hierarchies()[0] / lab / instance_id
    (group / "cgroup.kill").write_text("1")
    limit = time.monotonic() + 10
    while "populated 1" in (group / "cgroup.events").read_text():
        if time.monotonic() > limit:
            raise TimeoutError(f"{instance_id} still runs 10 s after it was killed")
        time.sleep(0.002)


def remove(lab: str, instance_id: str | None = None) -> None:
    """Remove a host's empty groups, or all of the lab's; raises OSError when they still hold processes after 5 s."""
    limit = time.monotonic() + 5
    for root in _hierarchies():
        top = root / lab / instance_id if instance_id else root / lab
        while top.exists():
            try:
                for path in sorted(
                    (path for path in top.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts)
                ):
                    path.rmdir()
                top.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                if time.monotonic() > limit:
                    raise
                time.sleep(0.05)
