# SPDX-License-Identifier: GPL-3.0-or-later
"""The bundles of the transfer agent that workers get, and the digests that machine images name them by."""

from __future__ import annotations

import hashlib
from pathlib import Path

_FOLDER = Path(__file__).resolve().parents[2] / "roles/transfer_agent/files"
# EC2's names of architectures, and uname's, which bundles are called by.
_MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}


def digests(architecture: str, folder: Path = _FOLDER) -> frozenset[str]:
    """SHA-256, hexadecimal, of each bundle for an architecture as EC2 calls it: one for each Python, none unbuilt."""
    found: set[str] = set()
    for path in folder.glob(f"mayfly-agent-{_MACHINES.get(architecture, architecture)}-python*.tar.gz"):
        with path.open("rb") as stream:
            found.add(hashlib.file_digest(stream, "sha256").hexdigest())
    return frozenset(found)
