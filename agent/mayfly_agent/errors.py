# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error that the agent and its library raise for people."""

from __future__ import annotations

# No other resource would do better, or nothing may be asked any more.
OF_ALL = (
    "CertificateNotTrusted",
    "CredentialsExpired",
    "DeadlinePassed",
    "NoCredentials",
    "S3Unreachable",
    "StatusUnwritable",
    "Stopped",
)
# What was stored is gone or is not what was written.
DAMAGED = ("ObjectDamaged", "ObjectNotFound")


class AgentError(Exception):
    """A failure with a code for programs, a message for people, and what would mend it, if that can be said."""

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy

    def as_dict(self) -> dict[str, str]:
        """The form for the status file."""
        return {"code": self.code, "message": self.message, "remedy": self.remedy}
