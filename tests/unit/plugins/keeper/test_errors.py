# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever fails in the keeper reaches the task as one error of three parts."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.launch import LaunchDoubtful
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.translation import as_keeper_error
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.errors import PlacementError
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.model import SettingError
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ParamValidationError
from mayfly_agent.errors import AgentError


def refused(code: str | None, message: str | None = "No.") -> ClientError:
    """AWS's answer with an error; a part that is None is missing."""
    error = {name: value for name, value in (("Code", code), ("Message", message)) if value is not None}
    return ClientError({"Error": error}, "CreateVolume")  # type: ignore[typeddict-item]


class TextError(Exception):
    """An error of a library with a code that is no word."""

    code = 404
    message = "not found"


AS_ONE: list[tuple[str, BaseException, tuple[str, str, str]]] = [
    ("ours", KeeperError("NoWorker", "It has none.", "Launch one."), ("NoWorker", "It has none.", "Launch one.")),
    ("a doubt", LaunchDoubtful("LaunchDoubtful", "Unclear.", "Again."), ("LaunchDoubtful", "Unclear.", "Again.")),
    (
        "a setting's",
        SettingError("mayfly_networks", "mayfly_networks is wrong."),
        (
            "BadSetting",
            "mayfly_networks is wrong.",
            "group_vars/all/networks.yml explains mayfly_networks.",
        ),
    ),
    ("placement's", PlacementError("NoNetwork", "None.", "Name one."), ("NoNetwork", "None.", "Name one.")),
    ("the agent's library", AgentError("BadKey", "Wrong.", "Mend it."), ("BadKey", "Wrong.", "Mend it.")),
    (
        "AWS's",
        refused("VolumeLimitExceeded", "Too many."),
        ("VolumeLimitExceeded", "AWS refused CreateVolume: Too many. (VolumeLimitExceeded).", ""),
    ),
    ("AWS's without a text", refused("X", None), ("X", "AWS refused CreateVolume: no message (X).", "")),
    ("AWS's without a code", refused(None), ("Unknown", "AWS refused CreateVolume: No. (Unknown).", "")),
    *(
        (code, refused(code), (code, f"AWS refused CreateVolume: No. ({code}).", "mayfly_accounts"))
        for code in ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
    ),
    ("no way to AWS", EndpointConnectionError(endpoint_url="https://x"), ("AwsUnreachable", "https://x", "")),
    ("no credentials", NoCredentialsError(), ("AwsUnreachable", "credentials", "")),
    ("wrong parameters", ParamValidationError(report="Missing Size"), ("AwsUnreachable", "Missing Size", "")),
    ("a bug", KeyError("volume"), ("InternalError", "KeyError: 'volume'", "keeper.log")),
    ("a bug without a text", ZeroDivisionError(), ("InternalError", "ZeroDivisionError", "keeper.log")),
    ("a code that is no word", TextError("x"), ("InternalError", "TextError: x", "keeper.log")),
]


@pytest.mark.parametrize(("raised", "parts"), [row[1:] for row in AS_ONE], ids=[row[0] for row in AS_ONE])
def test_any_failure_becomes_the_one_error(raised: BaseException, parts: tuple[str, str, str]) -> None:
    error = as_keeper_error(raised)
    code, message, remedy = parts
    assert error.code == code
    assert message in error.message
    assert remedy in error.remedy
    assert bool(error.remedy) == bool(remedy)


def test_the_error_crosses_the_socket_unchanged() -> None:
    error = KeeperError("NoWorker", "It has none.", "Launch one.")
    assert KeeperError.from_dict(error.as_dict()).as_dict() == error.as_dict()
    assert error.as_dict() == {"code": "NoWorker", "message": "It has none.", "remedy": "Launch one."}


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ({}, ("InternalError", "no message", "")),
        ({"code": "X"}, ("X", "no message", "")),
        ({"message": "M"}, ("InternalError", "M", "")),
    ],
)
def test_missing_parts_become_neutral_ones(value: dict[str, Any], parts: tuple[str, str, str]) -> None:
    error = KeeperError.from_dict(value)
    assert (error.code, error.message, error.remedy) == parts


@pytest.mark.parametrize(("remedy", "text"), [("Launch one.", "It has none. Launch one."), ("", "It has none.")])
def test_a_person_reads_message_and_remedy(remedy: str, text: str) -> None:
    assert KeeperError("NoWorker", "It has none.", remedy).text == text
    assert str(KeeperError("NoWorker", "It has none.", remedy)) == "NoWorker: It has none."
