# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags of the user's own: what AWS would refuse is refused before anything is launched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

# 50 are AWS's limit for a resource (https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html),
# of which the reference product leaves its users 25.
_TAGS = 25
_KEY_CHARACTERS = 128
_VALUE_CHARACTERS = 256


def own_tags(value: Any) -> dict[str, str]:
    """Tags as text; raises ValueError that says which of them cannot be."""
    if value in (None, ""):
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"it is {value!r}, not a dictionary of keys and values")
    if len(value) > _TAGS:
        raise ValueError(f"it has {len(value)} tags, at most {_TAGS} are allowed")
    tags = {str(key): str(each) for key, each in value.items()}
    for key, each in tags.items():
        if not 1 <= len(key) <= _KEY_CHARACTERS:
            raise ValueError(f"it has a key of {len(key)} characters, 1 to {_KEY_CHARACTERS} are allowed")
        if len(each) > _VALUE_CHARACTERS:
            raise ValueError(
                f"it has a value of {len(each)} characters for {key}, at most {_VALUE_CHARACTERS} are allowed"
            )
        if key.lower().startswith(("aws:", "mayfly:")):
            raise ValueError(f"it has the key {key}, which begins with a reserved prefix")
    return tags


OwnTags = Annotated[dict[str, str], BeforeValidator(own_tags)]
