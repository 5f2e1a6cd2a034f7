# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to break the agent, each of which the state machine must find: what shows that it can find anything."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from mayfly_agent import parents
from mayfly_agent.health import _Looked
from mayfly_agent.marking import Marked
from mayfly_agent.pipeline import Uploads
from mayfly_agent.progress import Progress
from mayfly_agent.repository.damaged import Damage
from mayfly_agent.s3 import S3Objects
from mayfly_agent.sweep import Sweep
from mayfly_agent.writing import Writing


def _always_put(self: Any, key: str, body: bytes, *words: Any, **more: Any) -> str:
    try:
        return str(_PUT(self, key, body, *words, **more))
    except Exception:
        return ""


def _any_point(self: Any, listed: Any, marks: Any) -> Any:
    newest = {each.id: each for each in listed}
    return [each for each in listed if each.id in self._chosen.remove or each != newest[each.id]]


_PUT = S3Objects.put
# Of each: what is replaced, by its name in an object, and what with.
MUTATIONS: dict[str, Callable[[], tuple[Any, str, Any]]] = {
    "a sweep deletes what has come into use again": lambda: (Marked, "__contains__", lambda *_: False),
    "a sweep deletes what it finds dead at once": lambda: (
        Sweep.__init__,
        "__kwdefaults__",
        {**(Sweep.__init__.__kwdefaults__ or {}), "grace": timedelta(0)},
    ),
    "a sweep removes whatever was chosen": lambda: (Sweep, "_going", _any_point),
    "nobody looks at the deadline": lambda: (Progress, "check_deadline", lambda _self: None),
    "a manifest is put while packs are on their way": lambda: (Uploads, "finish", lambda _self: None),
    "a put that fails counts as done": lambda: (S3Objects, "put", _always_put),
    "a backup shares what was found damaged": lambda: (parents, "read_damage", lambda *_: Damage()),
    "a backup does not lock what it shares": lambda: (Writing, "lock_shared", lambda *_, **__: None),
    "a health check reads no block": lambda: (_Looked, "_wants", lambda *_: False),
}


def apply(name: str) -> None:
    """Break this process's agent."""
    where, what, value = MUTATIONS[name]()
    setattr(where, what, value)
