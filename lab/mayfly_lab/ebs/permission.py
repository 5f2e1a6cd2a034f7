# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a caller may do what it asks of the EBS direct APIs, where IAM is enforced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mayfly_lab.blocks.store import BlockStore, SnapshotNotFound
from mayfly_lab.ebs.errors import DirectError
from mayfly_lab.faults import Request
from mayfly_lab.iam.checks import Place
from mayfly_lab.iam.ebs import Snapshot, checks
from mayfly_lab.iam.guard import Guard, conditions
from mayfly_lab.refusals import Refusal


class Permission:
    """The decisions about snapshots of a store."""

    def __init__(self, store: BlockStore, guard: Guard) -> None:
        self._store = store
        self._guard = guard

    def check(self, request: Request, value: Mapping[str, Any], access_key_id: str, environ: Mapping[str, Any]) -> None:
        """Raises DirectError for a caller who may not do that; ``value`` is StartSnapshot's body."""
        if not self._guard.enforces:
            return
        caller = self._guard.caller("ebs", access_key_id)
        if isinstance(caller, Refusal):
            raise _error(caller)
        place = Place(request.account, request.region)
        snapshots = [self._snapshot(each, place) for each in request.resources]
        wanted = checks(request.call, snapshots, value, place, self._guard.identities.all()["keys"])
        common = conditions(place.region, environ.get("REMOTE_ADDR", ""), environ.get("HTTP_USER_AGENT", ""))
        refusal = self._guard.refusal("ebs", request.call, caller, wanted, common)
        if refusal:
            raise _error(refusal)

    def _snapshot(self, snapshot_id: str, place: Place) -> Snapshot:
        try:
            record = self._store.get(snapshot_id)
        except SnapshotNotFound:
            return Snapshot(snapshot_id)
        # Tags of a snapshot are its owner's alone.
        return Snapshot(snapshot_id, record.tags if record.owner == place.account else {}, record.kms_key_id)


def _error(refusal: Refusal) -> DirectError:
    return DirectError(refusal.status, refusal.code, refusal.reason, refusal.message)
