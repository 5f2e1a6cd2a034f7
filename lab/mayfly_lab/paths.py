# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab keeps what: one state directory, and a cache that outlives `lab down`."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The lab's folders and files below one state directory."""

    state: Path
    cache: Path

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def store(self) -> Path:
        """The mounted block store (seen inside the lab only)."""
        return self.run / "store"

    @property
    def own_kernel(self) -> Path:
        """Leads to the machine image with a kernel of its own, once it is built."""
        return self.run / "own-kernel"

    @property
    def memory(self) -> Path:
        """A folder in memory (inside the lab only)."""
        return self.run / "memory"

    @property
    def logs(self) -> Path:
        return self.run / "log"

    @property
    def ca_certificate(self) -> Path:
        return self.cache / "ca.pem"

    @property
    def server_certificate(self) -> Path:
        return self.run / "server.pem"

    @property
    def trust_bundle(self) -> Path:
        return self.run / "ca-certificates.crt"

    @property
    def supervisor_socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def control_socket(self) -> Path:
        return self.run / "control.sock"

    @property
    def home(self) -> Path:
        """What `lab exec` needs to find the lab's namespaces."""
        return self.run / "home.json"

    @property
    def seed(self) -> Path:
        return self.run / "seed.json"

    @property
    def sessions(self) -> Path:
        """When sessions of roles end."""
        return self.run / "sessions"

    @property
    def iam(self) -> Path:
        """What enforces IAM: identities, decisions, the engine's socket, and whether it is on."""
        return self.run / "iam"

    @property
    def lock(self) -> Path:
        """Held by what starts, ends or fills the lab."""
        return self.state / "lock"

    @property
    def cache_lock(self) -> Path:
        """Held by what makes the authority or the machine image."""
        return self.cache / "lock"

    @property
    def name(self) -> str:
        """A short name of this state directory, for what the whole machine shares (control groups)."""
        return "mayfly-lab-" + hashlib.sha256(str(self.state).encode()).hexdigest()[:8]


def current() -> Paths:
    """The paths that the environment asks for (MAYFLY_LAB_STATE, MAYFLY_LAB_CACHE)."""
    return Paths(
        state=Path(os.environ.get("MAYFLY_LAB_STATE", "/var/lib/mayfly-lab")).absolute(),
        cache=Path(os.environ.get("MAYFLY_LAB_CACHE", "/var/cache/mayfly-lab")).absolute(),
    )
