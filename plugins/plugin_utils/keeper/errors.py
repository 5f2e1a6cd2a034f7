# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error that crosses the socket between a task and the keeper."""

from __future__ import annotations


class KeeperError(Exception):
    """A failure with a code for programs, a message for people, and what would mend it.

    ``code`` is one word in CamelCase (AWS's own code where there is one). ``message`` names the resource and, where
    a setting is at fault, the setting. ``remedy`` is one sentence, or empty when nothing sensible can be said.
    """

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.remedy = remedy

    @property
    def text(self) -> str:
        """Message and remedy as one line for a task's ``msg``."""
        return f"{self.message} {self.remedy}".strip()

    def as_dict(self) -> dict[str, str]:
        """The form that goes over the socket and into the report."""
        return {"code": self.code, "message": self.message, "remedy": self.remedy}

    @classmethod
    def from_dict(cls, value: dict[str, str]) -> KeeperError:
        """The reverse of :meth:`as_dict`; missing parts become neutral ones."""
        return cls(value.get("code", "InternalError"), value.get("message", "no message"), value.get("remedy", ""))
