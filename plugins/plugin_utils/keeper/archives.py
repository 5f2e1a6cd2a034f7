# SPDX-License-Identifier: GPL-3.0-or-later
"""What the keeper knows of an archiving, and its questions to S3 about packs of archived sets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from . import aws

_RETRY_SECONDS = 120.0


@dataclass(frozen=True)
class Planned:
    """A restore point to archive, or a set to bring back, by its name.

    ``resource`` are account, Region, kind and id. Of a set, ``packs`` are {key in the bucket: storage class}, and
    ``sizes`` their bytes by storage class.
    """

    resource: Mapping[str, str]
    name: str
    size_bytes: int
    packs: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The resource's."""
        return "/".join(self.resource[each] for each in ("account", "region", "kind", "id"))


@dataclass
class Archiving:
    """An archiving, or the way back, from one call to the next.

    Keys of packs: ``unasked`` are to be asked for, ``waiting`` are not there yet as far as is known. ``begun``:
    whether the retrieval has.
    """

    points: list[Planned]
    unasked: deque[str] = field(default_factory=deque)
    waiting: deque[str] = field(default_factory=deque)
    begun: bool = False


class Packs:
    """Packs in a bucket (``place``: its name and owner), with the tier and the days that they are retrieved with."""

    def __init__(
        self, client: Any, place: Mapping[str, str], tier: str, days: int, pause: Callable[[float], None]
    ) -> None:
        self._client = client
        self._place = place
        self._request = {"Days": days, "GlacierJobParameters": {"Tier": tier.capitalize()}}
        self._pause = pause

    def ask_for(self, key: str) -> bool:
        """Ask for a copy, or let the one that is there stay longer; whether it was not asked for before."""
        call = partial(self._client.restore_object, Key=key, RestoreRequest=self._request, **self._place)
        try:
            # Also while S3 has no capacity for expedited retrievals, which is a 503.
            answer = aws.retrying(call, seconds=_RETRY_SECONDS, again=aws.is_passing, pause=self._pause)
        except ClientError as error:
            if aws.code_of(error) == "RestoreAlreadyInProgress":
                return False
            raise
        return bool(answer["ResponseMetadata"]["HTTPStatusCode"] == 202)

    def is_there(self, key: str) -> bool:
        """Whether the copy can be read."""
        call = partial(self._client.head_object, Key=key, **self._place)
        answer = aws.retrying(call, seconds=_RETRY_SECONDS, again=aws.is_passing, pause=self._pause)
        return 'ongoing-request="false"' in answer.get("Restore", "")
