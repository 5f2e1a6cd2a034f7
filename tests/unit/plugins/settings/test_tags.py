# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags of the user's own: what AWS takes, and what it would refuse."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.model import SettingError, read
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.tags import OwnTags

GOOD_TAGS: dict[str, tuple[dict[Any, Any], dict[str, str]]] = {
    "none": ({}, {}),
    "25 of them": ({f"key-{n}": "x" for n in range(25)}, {f"key-{n}": "x" for n in range(25)}),
    "a key of 128 characters": ({"k" * 128: "x"}, {"k" * 128: "x"}),
    "a value of 256 characters": ({"key": "v" * 256}, {"key": "v" * 256}),
    "an empty value": ({"key": ""}, {"key": ""}),
    "characters of more than one byte": ({"ü" * 128: "ß" * 256}, {"ü" * 128: "ß" * 256}),
    "a number": ({"CostCentre": 4711}, {"CostCentre": "4711"}),
    "a number as key": ({4711: "x"}, {"4711": "x"}),
    "a key of one character": ({"k": "x"}, {"k": "x"}),
    "a prefix that only looks reserved": ({"awsome:x": "1", "mayflower:x": "1"}, {"awsome:x": "1", "mayflower:x": "1"}),
    "aws in the middle": ({"my:aws:x": "1"}, {"my:aws:x": "1"}),
    "a name of the user's own": ({"Name": "x"}, {"Name": "x"}),
}


@pytest.mark.parametrize(("tags", "taken"), GOOD_TAGS.values(), ids=GOOD_TAGS.keys())
def test_tags_that_aws_takes_come_back_as_text(tags: dict[Any, Any], taken: dict[str, str]) -> None:
    assert read(OwnTags, "mayfly_worker_tags", tags) == taken


BAD_TAGS: dict[str, tuple[dict[Any, Any], str]] = {
    "26 of them": ({f"key-{n}": "x" for n in range(26)}, "26 tags, at most 25"),
    "an empty key": ({"": "x"}, "a key of 0 characters, 1 to 128"),
    "a key of 129 characters": ({"k" * 129: "x"}, "a key of 129 characters, 1 to 128"),
    "a value of 257 characters": ({"key": "v" * 257}, "a value of 257 characters for key, at most 256"),
    "AWS's prefix": ({"aws:x": "1"}, "aws:x"),
    "AWS's prefix in capitals": ({"AWS:x": "1"}, "AWS:x"),
    "our prefix": ({"mayfly:run": "1"}, "mayfly:run"),
    "our prefix in capitals": ({"MayFly:run": "1"}, "MayFly:run"),
    "one bad among good ones": ({"good": "1", "aws:x": "1", "better": "1"}, "aws:x"),
}


SETTINGS_OF_TAGS = {"mayfly_worker_tags": "tags", "mayfly_restore_tags": "restores"}


@pytest.mark.parametrize("setting", SETTINGS_OF_TAGS)
@pytest.mark.parametrize(("tags", "said"), BAD_TAGS.values(), ids=BAD_TAGS.keys())
def test_tags_that_aws_would_refuse_are_refused_and_their_setting_named(
    setting: str, tags: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingError) as caught:
        read(OwnTags, setting, tags)
    assert setting in caught.value.message
    assert said in caught.value.message
    assert f"group_vars/all/{SETTINGS_OF_TAGS[setting]}.yml" in caught.value.remedy
