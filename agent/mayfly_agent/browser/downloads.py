# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives that a session has asked for: made when the browser fetches them, and how far each is."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .archives import Progress, compressed, counted, tar_stream, zip_stream
from .names import Parts, shown
from .refusals import CutOff, Refused
from .sessions import Session
from .volumes import Volume

MOST_AT_ONCE = 4
_MOST_KEPT = 100


@dataclass
class Download:
    """An archive; ``state`` goes from waiting to running to done, broken (the browser went) or canceled."""

    id: str
    session: Session
    volume: Volume
    base: Parts
    chosen: Sequence[Parts]
    form: str
    name: str
    state: str = "waiting"
    sent: int = 0
    progress: Progress = field(default_factory=Progress)

    def shown(self) -> dict[str, object]:
        """For the page."""
        progress = self.progress
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "files": progress.files,
            "bytes": progress.size,
            "total_files": progress.total_files,
            "total_bytes": progress.total_size,
            "sent": self.sent,
            "missing": progress.missing,
        }

    def stopped(self) -> bool:
        """Whether nobody wants it any more."""
        return self.state in ("broken", "canceled")

    def count(self) -> None:
        """Find out how much it will be, while it is under way."""
        totals = counted(self.volume, self.base, self.chosen, self.stopped)
        if not self.stopped():
            self.progress.total_files, self.progress.total_size = totals


class Downloads:
    """Of all sessions; each sees its own. May be called from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: OrderedDict[str, Download] = OrderedDict()

    def make(self, session: Session, volume: Volume, base: Parts, chosen: Sequence[Parts], form: str) -> Download:
        """One that waits to be fetched, once."""
        only = (*base, *chosen[0]) if len(chosen) == 1 else base
        name = f"{shown(only[-1]) if only else volume.identity}.{form}"
        download = Download(secrets.token_hex(8), session, volume, base, chosen, form, name)
        with self._lock:
            self._all[download.id] = download
            while len(self._all) > _MOST_KEPT:
                oldest = next((each for each in self._all.values() if each.state != "running"), download)
                del self._all[oldest.id]
        return download

    def find(self, session: Session, identity: str) -> Download:
        """A session's own; raises Refused for any other."""
        download = self._all.get(identity)
        if download is None or download.session is not session:
            raise Refused(404, "There is no such download.")
        return download

    def of(self, session: Session) -> list[Download]:
        """A session's own, the newest first."""
        with self._lock:
            return [each for each in reversed(self._all.values()) if each.session is session]

    @property
    def running(self) -> int:
        """How many are sent now."""
        with self._lock:
            return sum(each.state == "running" for each in self._all.values())

    def begin(self, download: Download) -> Iterator[bytes]:
        """Its content; raises Refused when it was fetched before, or too many are sent now."""
        with self._lock:
            if download.state != "waiting":
                raise Refused(409, "This download was begun before. Ask for it again.")
            if sum(each.state == "running" for each in self._all.values()) >= MOST_AT_ONCE:
                raise Refused(429, f"{MOST_AT_ONCE} downloads run already.", 10)
            download.state = "running"
        return _content(download)


def _content(download: Download) -> Iterator[bytes]:
    what = (download.volume, download.base, download.chosen, download.progress)
    stream = zip_stream(*what) if download.form == "zip" else compressed(tar_stream(*what))
    try:
        for chunk in stream:
            if download.stopped():
                raise CutOff
            download.sent += len(chunk)
            yield chunk
        download.state = "done"
    finally:
        stream.close()  # with the file that it reads; whatever ends this may hold on to it for a while
        if download.state == "running":
            download.state = "broken"
