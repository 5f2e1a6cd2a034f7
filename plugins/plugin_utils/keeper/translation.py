# SPDX-License-Identifier: GPL-3.0-or-later
"""Any failure as the one error that crosses the socket."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError

from ..placement.errors import PlacementError
from ..settings.model import SettingError
from .errors import KeeperError


def as_keeper_error(raised: BaseException) -> KeeperError:
    """Any failure as the one error that crosses the socket."""
    if isinstance(raised, KeeperError):
        return raised
    if isinstance(raised, PlacementError | SettingError):
        return KeeperError(raised.code, raised.message, raised.remedy)
    if isinstance(raised, ClientError):
        error = raised.response.get("Error", {})
        code = str(error.get("Code", "Unknown"))
        remedy = ""
        if code in ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException"):
            remedy = "The role that mayfly_accounts names lacks this right."
        message = f"AWS refused {raised.operation_name}: {error.get('Message', 'no message')} ({code})."
        return KeeperError(code, message, remedy)
    if isinstance(raised, BotoCoreError):
        return KeeperError("AwsUnreachable", f"AWS was not reached: {raised}")
    # The repository's library has errors of the same three parts, but is not imported for runs without a repository.
    if all(isinstance(getattr(raised, part, None), str) for part in ("code", "message")):
        return KeeperError(
            str(getattr(raised, "code", "")), str(getattr(raised, "message", "")), str(getattr(raised, "remedy", ""))
        )
    return KeeperError("InternalError", f"{type(raised).__name__}: {raised}", "The run's keeper.log says more.")
