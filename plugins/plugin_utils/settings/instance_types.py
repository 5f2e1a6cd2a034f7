# SPDX-License-Identifier: GPL-3.0-or-later
"""``mayfly_instance_types``: worker profiles, for all Regions or for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Self

from pydantic import BeforeValidator

from ..operations import INSTANCE_TYPES
from .model import is_blank

Profiles = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class InstanceTypes:
    """Lists of types by profile; those of a Region come before those of all."""

    everywhere: Profiles = field(default_factory=dict)
    by_region: dict[str, Profiles] = field(default_factory=dict)

    @classmethod
    def parsed(cls, value: Any) -> Self:
        """The setting as users write it: profiles, and Regions with profiles below them. Raises ValueError."""
        if isinstance(value, cls):
            return value
        if is_blank(value):
            return cls()
        if not isinstance(value, Mapping):
            raise ValueError("it is a dictionary of lists of instance types, by profile")
        given = {str(key): each for key, each in value.items() if not is_blank(each)}
        regions = {key: each for key, each in given.items() if key not in INSTANCE_TYPES}
        own = {key: each for key, each in given.items() if key in INSTANCE_TYPES}
        return cls(
            everywhere=_profiles("", own),
            by_region={region: _profiles(f"{region}.", each) for region, each in regions.items()},
        )

    def of(self, region: str, profile: str) -> tuple[str, ...]:
        """The types of a profile: the Region's, else those for all Regions, else the default. No type twice."""
        own = self.by_region.get(region, {}).get(profile) or self.everywhere.get(profile)
        return tuple(dict.fromkeys(own or INSTANCE_TYPES[profile]))


InstanceTypesSetting = Annotated[InstanceTypes, BeforeValidator(InstanceTypes.parsed)]


def _profiles(below: str, value: Any) -> Profiles:
    if not isinstance(value, Mapping):
        name = below.removesuffix(".")
        raise ValueError(f"{name} is no profile ({', '.join(INSTANCE_TYPES)}), and no Region with profiles below it")
    profiles: Profiles = {}
    for profile, types in value.items():
        if is_blank(types):
            continue
        if profile not in INSTANCE_TYPES:
            raise ValueError(f"{below}{profile} is no profile; profiles are {', '.join(INSTANCE_TYPES)}")
        if not isinstance(types, list | tuple) or not all(isinstance(each, str) and each for each in types):
            raise ValueError(f"{below}{profile} is {types!r}, not a list of instance types")
        profiles[profile] = tuple(types)
    return profiles
