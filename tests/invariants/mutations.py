# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to break the agent, each of which the state machine must find: what shows that it can find anything."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from mayfly_agent import attempts, parents
from mayfly_agent.health import _Looked
from mayfly_agent.marking import Marked
from mayfly_agent.pipeline import Uploads
from mayfly_agent.progress import Progress
from mayfly_agent.repository.damaged import Damage
from mayfly_agent.repository.marks import read_marks
from mayfly_agent.repository.seal import ID_BYTES
from mayfly_agent.repository.trees import NodeWriter
from mayfly_agent.s3 import S3Objects
from mayfly_agent.sweep import Sweep


def _as_parsed(self: Any, part: Any, _snapshot: str, *others: Any) -> None:
    _EARLIER(self, part, part.record.snapshot_id, *others)


def _without_nonce(self: Any, *words: Any) -> None:
    _NODES(self, *words)
    self._nonce = bytes(ID_BYTES)


def _always_put(self: Any, key: str, body: bytes, *condition: Any) -> str:
    try:
        return str(_PUT(self, key, body, *condition))
    except Exception:
        return ""


def _any_point(self: Any, listed: Any, marks: Any) -> Any:
    newest = {each.id: each for each in listed}
    return [each for each in listed if each.id in self._chosen.remove or each != newest[each.id]]


_EARLIER, _NODES, _PUT = attempts.Earlier.__init__, NodeWriter.__init__, S3Objects.put
# Of each: what is replaced, by its name in an object, and what with.
MUTATIONS: dict[str, Callable[[], tuple[Any, str, Any]]] = {
    "a sweep deletes what has come into use again": lambda: (Marked, "__contains__", lambda *_: False),
    "a sweep takes no list back before it removes points": lambda: (
        Sweep,
        "_uncondemn",
        lambda self: read_marks(self._store, self._chosen.resource),
    ),
    "a sweep deletes what it finds dead at once": lambda: (
        Sweep.__init__,
        "__kwdefaults__",
        {**(Sweep.__init__.__kwdefaults__ or {}), "grace": timedelta(0)},
    ),
    "a sweep deletes nothing": lambda: (Sweep, "_delete_due", lambda *_: None),
    "a sweep removes whatever was chosen": lambda: (Sweep, "_going", _any_point),
    "nobody looks at the deadline": lambda: (Progress, "check_deadline", lambda _self: None),
    "a manifest is put while packs are on their way": lambda: (Uploads, "finish", lambda _self: None),
    "a put that fails counts as done": lambda: (S3Objects, "put", _always_put),
    "nodes of two writers have the same ids": lambda: (NodeWriter, "__init__", _without_nonce),
    "what an attempt has read counts for any snapshot": lambda: (attempts.Earlier, "__init__", _as_parsed),
    "a backup goes on from an attempt however old": lambda: (attempts, "LONGEST_RUN", 1e8),
    "a backup shares what was found damaged": lambda: (parents, "read_damage", lambda *_: Damage()),
    "a health check reads no block": lambda: (_Looked, "_wants", lambda *_: False),
}


def apply(name: str) -> None:
    """Break this process's agent."""
    where, what, value = MUTATIONS[name]()
    setattr(where, what, value)
