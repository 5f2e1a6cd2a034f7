# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore point that is being written, whoever writes it: how all of it is locked, what is noted down of it, and what
an attempt before it has left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Executor
from dataclasses import dataclass, field

from .attempts import EVERY_SECONDS, Attempts, Earlier, Notes, Part, Window
from .errors import DAMAGED, AgentError
from .job import LockJob
from .locking import extend_locks, lock_of
from .objects import LockedOtherwise, ObjectStore
from .parents import END
from .progress import Clock
from .repository.layout import ResourceName
from .repository.manifest import Manifest, VolumeRecord
from .repository.trees import Each


@dataclass(frozen=True)
class Means:
    """What a run writes all of its points with: when it began and ends, how it locks them, and how often it notes down
    what it has done (seconds).
    """

    window: Window
    clock: Clock
    lock: LockJob | None = None
    notes_every: float = EVERY_SECONDS


@dataclass(frozen=True)
class Where:
    """The store that it is written to, the resource, and the key of its data."""

    store: ObjectStore
    name: ResourceName
    key: bytes = field(repr=False)


class NotShareable(AgentError):
    """Something that would be shared cannot be: all is to be written anew, going on from the attempt if ``resume``."""

    def __init__(self, why: str, *, resume: bool) -> None:
        super().__init__("NotShareable", f"what it would share {why}")
        self.resume = resume


class Writing:
    """One point, until its manifest is there."""

    def __init__(
        self,
        where: Where,
        point: str,
        means: Means,
        readers: Executor,
        *,
        points: Collection[str] = (),
        parent: Manifest | None = None,
    ) -> None:
        """``points``: ids of those that are listed; ``parent``: the one that may be shared with."""
        self._where = where
        store, name, key = where.store, where.name, where.key
        wanted, window = means.lock, means.window
        self.lock = lock_of(wanted, window.began, parent) if wanted else None
        attempt = Attempts(store, name, key, readers).newest(points, point, window.ends)
        # What another mode has locked cannot be locked as this is; nor is it known of what was put without a lock.
        self.attempt = None if attempt and wanted and attempt.lock_mode != wanted.mode else attempt
        self._notes = Notes(
            store,
            name,
            key,
            point,
            self.attempt.began if self.attempt else window.began,
            clock=means.clock,
            every=means.notes_every,
            lock=self.lock.objects if self.lock else None,
        )
        self._done: list[Part] = []
        #: Whether anything of the attempt is shared.
        self.resumed = False

    def put(self, key: str, body: bytes) -> None:
        """Put an object of the point; for any thread."""
        self._notes.put(key, body)

    def earlier(self, volume_id: str, sealed_as: str, snapshot_id: str, *, full: bool = False) -> Earlier | None:
        """A volume as the attempt has it, see Attempt.part; None when nothing of it can be used."""
        part = self.attempt.part(volume_id, sealed_as, full=full) if self.attempt else None
        where = self._where
        return Earlier(part, snapshot_id, where.name, where.key, where.store) if part else None

    def note(self, so_far: Callable[[], VolumeRecord], until: int) -> None:
        """Note down what is done, when it is time: the volume in hand as it is before the leaf at ``until``."""
        if self._notes.due:
            self._notes.write([*self._done, Part(so_far(), until)])

    def end(self, record: VolumeRecord) -> None:
        """A volume is at its end."""
        self._done.append(Part(record, END))

    def lock_shared(self, manifest: Manifest, each: Each, *, with_parent: bool) -> None:
        """See that all that the manifest refers to is locked as it must be: what was put here is.

        What an attempt has put was locked for less. Raises AgentError, and NotShareable.
        """
        if not self.lock or not ((with_parent and self.lock.extends) or self.resumed):
            return
        try:
            extend_locks(self._where.store, manifest, self._where.key, self.lock.objects, each)
        except LockedOtherwise as error:
            # What was put in full before has put all that it stands on.
            raise NotShareable(f"is locked in mode {error.mode}", resume=with_parent) from error
        except AgentError as error:
            if error.code not in DAMAGED:
                raise
            raise NotShareable(f"is damaged: {error.message}", resume=False) from error

    def begin_anew(self, *, resume: bool) -> None:
        """From the first volume on; without ``resume``, without the attempt too."""
        self._done.clear()
        self.resumed = False
        if not resume:
            self.attempt = None
