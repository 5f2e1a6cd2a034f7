# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that go back to where they came from: the page asks, the playbook does it, the page shows how far it is.

What was asked for stands in ``put-back/<id>.json`` of the state folder: {id, volume, base, paths, mode, who, address,
time}, paths encoded as names.wire does. The playbook takes the files as a tar (``mayfly-browser export``), unpacks it
on the source over the user's own connection, and answers in ``answers/<id>.json``: {state: running | done | failed,
message, files, bytes}. *keep* puts each chosen thing beside the one that is there, as ``restored-NAME``; *overwrite* in
its place.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from . import names
from .archives import Progress, tar_stream
from .names import Parts
from .refusals import Refused
from .sessions import Session
from .volumes import Volume
from .walk import Found

PREFIX = b"restored-"
MOST_REQUESTS = 1000
_LONGEST_ANSWER = 65_536
_STATES = ("running", "done", "failed")


@dataclass(frozen=True)
class PutBack:
    """What was asked for."""

    id: str
    volume: str
    base: str
    paths: tuple[str, ...]
    mode: str
    who: str
    address: str
    time: str


class PutBacks:
    """All that was asked for, in the state folder. Raises OSError when that cannot be written."""

    def __init__(self, folder: Path) -> None:
        self._asked = folder / "put-back"
        self._answers = folder / "answers"
        self._asked.mkdir(exist_ok=True)
        self._requests: dict[str, PutBack] = {}
        for path in sorted(self._asked.glob("*.json")):
            request = read_put_back(path)
            self._requests[request.id] = request

    def ask(self, volume: str, base: Parts, chosen: Sequence[Parts], mode: str, session: Session) -> PutBack:
        """One more; raises Refused when there are too many."""
        if len(self._requests) >= MOST_REQUESTS:
            raise Refused(429, f"Files were put back {MOST_REQUESTS} times already.")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        paths = tuple(names.wire(each) for each in chosen)
        identity = f"{len(self._requests) + 1:04d}-{secrets.token_hex(4)}"
        request = PutBack(identity, volume, names.wire(base), paths, mode, session.name, session.address, now)
        path = self._asked / f"{identity}.json"
        unfinished = path.with_suffix(".new")
        unfinished.write_text(json.dumps(asdict(request)))
        unfinished.replace(path)
        self._requests[identity] = request
        return request

    def shown(self) -> list[dict[str, object]]:
        """Each with what became of it, the newest first."""
        return [self._shown(each) for each in reversed(self._requests.values())]

    def _shown(self, request: PutBack) -> dict[str, object]:
        answer: dict[str, object] = {"state": "waiting"}
        try:
            with (self._answers / f"{request.id}.json").open("rb") as stream:
                value = json.loads(stream.read(_LONGEST_ANSWER))
            if isinstance(value, dict) and value.get("state") in _STATES:
                answer = {key: value[key] for key in ("state", "message", "files", "bytes") if key in value}
        except (OSError, ValueError):
            pass  # it has not been answered
        first = names.shown_path((*names.parse(request.base), *names.parse(request.paths[0])))
        return {"id": request.id, "mode": request.mode, "first": first, "chosen": len(request.paths), **answer}


def read_put_back(path: Path) -> PutBack:
    """What stands in a file of the folder; raises OSError, ValueError, KeyError or TypeError."""
    value = json.loads(path.read_text())
    return PutBack(**{**value, "paths": tuple(value["paths"])})


def export(volume: Volume, request: PutBack, progress: Progress) -> Iterator[bytes]:
    """The tar that is to be unpacked at the volume's mount point, with owners, modes, times, ACLs and attributes.

    ``tar --extract --xattrs --xattrs-include='*' --numeric-owner`` takes all of it. Raises OSError or Refused.
    """
    base = names.parse(request.base)
    chosen = tuple(names.parse(each) for each in request.paths)
    keep = request.mode == "keep"

    def name(parts: Parts) -> bytes:
        # What was chosen gets the prefix; it is the beginning of each path below it.
        depth = next(len(each) for each in chosen if parts[: len(each)] == each) - 1 if keep else 0
        kept = (*parts[:depth], PREFIX + parts[depth], *parts[depth + 1 :]) if keep else parts
        return b"/".join((*base, *kept))

    return tar_stream(
        volume, base, chosen, progress, name=name, attributes=lambda found: _attributes(volume, base, found)
    )


def _attributes(volume: Volume, base: Parts, found: Found) -> dict[str, str]:
    """A thing's extended attributes, ACLs among them, as GNU tar and libarchive write them into pax."""
    if found.kind == "folder":
        with volume.folder(base + found.parts) as folder:
            return _of(folder)
    if found.kind == "file":
        file, _ = volume.file(base + found.parts)
        try:
            return _of(file)
        finally:
            os.close(file)
    return {}


def _of(opened: int) -> dict[str, str]:
    try:
        values = {name: os.getxattr(opened, name) for name in os.listxattr(opened)}
    except OSError:
        return {}  # the file system has none
    return {f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape") for name, value in values.items()}
