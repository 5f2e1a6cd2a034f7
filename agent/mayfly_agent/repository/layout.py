# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of the objects of a repository."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

REPOSITORY = "repository.json"
KEYS = "keys/"
CHECKS = "checks/"
_ACCOUNT = re.compile(r"[0-9]{12}")
# A part may hold dots but not be made of them: some stores take "." and ".." for folders.
_PART = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,128}")
_POINT = re.compile(r"(?P<id>[0-9]{8}T[0-9]{6}Z-[A-Za-z0-9-]{1,64})(?:\.(?P<generation>[1-9][0-9]{0,8}))?")
PACK_ID_BYTES = 16
_OBJECT = re.compile(
    r"packs/(?P<pp>[0-9a-f]{2})/(?P<pack>(?P=pp)[0-9a-f]{30})|trees/(?P<nn>[0-9a-f]{2})/(?P<node>(?P=nn)[0-9a-f]{62})"
)
_ATTEMPT = re.compile(
    r"(?P<point>[0-9TZ]{16}-[A-Za-z0-9-]{1,64})\.(?P<writer>[0-9a-f]{8})\.(?P<number>[1-9][0-9]{0,8})"
)
_CONDEMNED = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{16}")
_WRAPS = re.compile(r"(?P<number>[1-9][0-9]{0,8})(?:\.[0-9a-f]{8})?")
_DIGITS = re.compile(r"[0-9a-f]{8}")
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class ResourceName:
    """Which resource: its data all lie below ``path``. Raises ValueError for what cannot be part of a key."""

    account: str
    region: str
    kind: str
    id: str

    def __post_init__(self) -> None:
        if not _ACCOUNT.fullmatch(self.account):
            raise ValueError(f"{self.account!r} is not an account id of 12 digits")
        for part in (self.region, self.kind, self.id):
            if not is_part(part):
                raise ValueError(f"{part!r} cannot be a part of a resource's name")

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> ResourceName:
        """From a dictionary that may hold more, as the resource's name for people."""
        return cls(str(value["account"]), str(value["region"]), str(value["kind"]), str(value["id"]))

    @property
    def path(self) -> str:
        """account/region/kind/id"""
        return f"{self.account}/{self.region}/{self.kind}/{self.id}"


def is_part(text: str) -> bool:
    """Whether it can be a part of a resource's name, or a volume's id."""
    return bool(_PART.fullmatch(text))


def is_account_folder(folder: str) -> bool:
    """Whether resources may lie in a folder of the repository's root."""
    return bool(_ACCOUNT.fullmatch(folder.removesuffix("/")))


def parse_resource(folder: str) -> ResourceName | None:
    """The resource whose folder it is, None when it is none's."""
    parts = folder.removesuffix("/").split("/")
    try:
        return ResourceName(*parts) if len(parts) == 4 else None
    except ValueError:
        return None


def wraps_key(repository_id: str, number: int, digits: str = "") -> str:
    """Key of an object with wraps of the repository's key of that number.

    ``digits``: "" of the first such object, of further ones 8, hexadecimal and random.
    """
    return f"{KEYS}{repository_id}.{number}" + (f".{digits}" if digits else "")


def parse_key(key: str, repository_id: str) -> int | None:
    """The number of the key that an object below ``keys/`` wraps, None when it is none of this repository's."""
    match = _WRAPS.fullmatch(key.removeprefix(f"{KEYS}{repository_id}."))
    return int(match["number"]) if match else None


def pack_key(resource: ResourceName, pack_id: bytes) -> str:
    """Key of a pack."""
    name = pack_id.hex()
    return f"{resource.path}/packs/{name[:2]}/{name}"


def node_key(resource: ResourceName, node_id: bytes) -> str:
    """Key of a tree's node."""
    name = node_id.hex()
    return f"{resource.path}/trees/{name[:2]}/{name}"


def parse_object(name: str) -> bytes | None:
    """The id of a pack (16 bytes) or a node (32) from its key below the resource's path, None for anything else."""
    match = _OBJECT.fullmatch(name)
    return bytes.fromhex(match["pack"] or match["node"]) if match else None


def object_name(identity: bytes) -> str:
    """The reverse."""
    name = identity.hex()
    return f"{'packs' if len(identity) == PACK_ID_BYTES else 'trees'}/{name[:2]}/{name}"


def objects_prefixes(resource: ResourceName) -> tuple[str, str]:
    """What the keys of a resource's packs and nodes begin with."""
    return f"{resource.path}/packs/", f"{resource.path}/trees/"


def marks_prefix(resource: ResourceName) -> str:
    """What the keys of a resource's marks begin with."""
    return f"{resource.path}/marks/"


def parse_mark(name: str) -> tuple[str, str] | None:
    """(keep or damaged, id of the point) or ("condemned", name), of a key below marks_prefix; None for any other."""
    kind, _, rest = name.partition("/")
    if kind == "condemned":
        return (kind, rest) if _CONDEMNED.fullmatch(rest) else None
    point = rest if kind == "keep" else rest.rpartition(".")[0]
    if kind == "damaged" and not _DIGITS.fullmatch(rest.rpartition(".")[2]):
        return None
    parsed = parse_point(point)
    return (kind, point) if kind in ("keep", "damaged") and parsed == (point, 0) else None


def condemned_key(resource: ResourceName, time: datetime, digits: str) -> str:
    """Key of a list of objects that are condemned; ``digits`` are 16, hexadecimal and random."""
    return f"{marks_prefix(resource)}condemned/{time.astimezone(UTC).strftime(_TIME)}-{digits}"


def damaged_prefix(resource: ResourceName) -> str:
    """What the keys of a resource's marks of damage begin with."""
    return f"{marks_prefix(resource)}damaged/"


def damaged_key(resource: ResourceName, identity: str, digits: str) -> str:
    """Key of a mark of damage of a restore point, of which there may be several.

    ``digits`` are 8, hexadecimal and random; what the keys of all of them begin with when it is "".
    """
    return f"{damaged_prefix(resource)}{identity}.{digits}"


def keep_key(resource: ResourceName, identity: str) -> str:
    """Key of the mark that keeps a restore point."""
    return f"{marks_prefix(resource)}keep/{identity}"


def archives_prefix(resource: ResourceName) -> str:
    """What the keys of a resource's archived sets begin with."""
    return f"{resource.path}/archives/"


def archive_name(identity: str, digits: str) -> str:
    """Name of a set that holds a restore point; ``digits`` are 8, hexadecimal and random."""
    return f"{identity}.{digits}"


def parse_archive(name: str) -> str | None:
    """The id of the restore point that a set of that name holds, None for what is no such name."""
    point, _, digits = name.rpartition(".")
    return point if _DIGITS.fullmatch(digits) and parse_point(point) == (point, 0) else None


def archive_folder(resource: ResourceName, name: str) -> str:
    """Where a set lies: its objects' keys below it are those that they would have in the repository."""
    return f"{archives_prefix(resource)}{name}"


def is_pack(key: str) -> bool:
    """Whether it is the key of a pack, in the repository or in a set."""
    return key.rsplit("/", 3)[-3:-2] == ["packs"]


def attempts_prefix(resource: ResourceName) -> str:
    """What the keys begin with of what backups write down of themselves while they go on."""
    return f"{resource.path}/attempts/"


def attempt_key(resource: ResourceName, point: str, writer: str, number: int) -> str:
    """Key of the ``number``-th such object, from 1, of a writer of a restore point.

    ``writer``: 8 digits, hexadecimal and random, since a run may have several.
    """
    return f"{attempts_prefix(resource)}{point}.{writer}.{number}"


def parse_attempt(name: str) -> tuple[str, str, int] | None:
    """(id of the point, writer, number), of a key below attempts_prefix; None for any other."""
    match = _ATTEMPT.fullmatch(name)
    if match is None or parse_point(match["point"]) != (match["point"], 0):
        return None
    return match["point"], match["writer"], int(match["number"])


def points_prefix(resource: ResourceName) -> str:
    """What the keys of a resource's manifests begin with."""
    return f"{resource.path}/points/"


def point_id(time: datetime, run: str) -> str:
    """Id of the restore point of a time (of the snapshots) and a run.

    Raises ValueError when it would be no such id: what is written under another name is never found again.
    """
    identity = f"{time.astimezone(UTC).strftime(_TIME)}-{run}"
    if parse_point(identity) != (identity, 0):
        raise ValueError(f"{identity!r} cannot be the id of a restore point")
    return identity


def point_time(identity: str) -> datetime:
    """The time in a restore point's id; raises ValueError when there is none."""
    return datetime.strptime(identity.split("-", 1)[0], _TIME).replace(tzinfo=UTC)


def parse_point(name: str) -> tuple[str, int] | None:
    """(id, generation) of the last part of a manifest's key, None when it is something else."""
    match = _POINT.fullmatch(name)
    if not match:
        return None
    try:
        point_time(match["id"])
    except ValueError:
        return None
    return match["id"], int(match["generation"] or 0)


def point_key(resource: ResourceName, identity: str, generation: int = 0) -> str:
    """Key of a manifest."""
    return f"{points_prefix(resource)}{identity}" + (f".{generation}" if generation else "")
