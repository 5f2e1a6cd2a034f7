# SPDX-License-Identifier: GPL-3.0-or-later
"""A reader of repositories written from docs/repository-format.md alone.

It shares no code with the agent, so that what the page says is enough, and right. Numbers in comments are the page's
sections. What is wrong raises an AssertionError or cryptography's InvalidTag.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from typing import Any

import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

Objects = Mapping[str, bytes]
Keys = Mapping[bytes, bytes]  # of one resource, by their ids
BLOCK = 524_288


def number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def fields(*parts: bytes) -> bytes:  # 1
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def hkdf(key: bytes, info: bytes) -> bytes:  # 4
    return HKDF(SHA256(), 32, None, info).derive(key)


def key_id(resource_key: bytes) -> bytes:  # 4
    return hkdf(resource_key, b"mayfly key id 1")[:8]


def keys_of(resource: str, repository: Mapping[int, bytes]) -> Keys:  # 4
    made = [hkdf(key, b"mayfly resource 1\0" + resource.encode()) for key in repository.values()]
    return {key_id(key): key for key in made}


def object_key(resource_key: bytes, kind: bytes, identity: bytes) -> AESGCM:  # 4
    return AESGCM(hkdf(resource_key, b"mayfly object 1\0" + kind + identity))


def nonce(counter: int) -> bytes:  # 5
    return counter.to_bytes(12, "big")


def open_object(keys: Keys, kind: bytes, body: bytes, about: bytes) -> tuple[bytes, bytes]:
    """(id, plain text) of an object of one part."""
    end = 48 if kind == b"N" else 32
    assert body[:8] == b"MAYFLY1" + kind  # 5
    return body[16:end], object_key(keys[body[8:16]], kind, body[16:end]).decrypt(nonce(0), body[end:], about)


def unpack(frame: bytes, limit: int) -> bytes:  # 5
    size = zstandard.get_frame_parameters(frame).content_size
    assert 0 < size <= limit
    return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)


def repository_keys(objects: Objects, passphrase: str) -> dict[int, bytes]:  # 3
    found = {}
    head = json.loads(objects["repository.json"])
    assert (head["format"], head["cipher"]) == (1, "AES-256-GCM")
    for name, body in objects.items():
        if not name.startswith("keys/"):
            continue
        value = json.loads(body)
        assert value["format"] == 1
        if value["repository"] != head["id"]:
            continue
        for wrap in value["wraps"]:
            if wrap["kind"] != "passphrase":
                continue
            how = wrap["scrypt"]
            n, r, p, salt = how["n"], how["r"], how["p"], base64.b64decode(how["salt"])
            key = hashlib.scrypt(passphrase.encode(), salt=salt, n=n, r=r, p=p, maxmem=2**30, dklen=32)
            about = fields(b"wrap", b"passphrase", head["id"].encode(), str(value["key"]).encode())
            sealed = base64.b64decode(wrap["nonce"]), base64.b64decode(wrap["ciphertext"])
            found[value["key"]] = AESGCM(key).decrypt(*sealed, about)
    assert sorted(found) == list(range(1, len(found) + 1))
    return found


def newest_point(objects: Objects, resource: str) -> str:
    """Key of the newest restore point's manifest."""
    best: tuple[str, int, str] = ("", 0, "")
    for key in objects:
        if key.startswith(f"{resource}/points/"):
            identity, _, generation = key.rpartition("/")[2].partition(".")
            best = max(best, (identity, int(generation or 0), key))  # 2
    return best[2]


def read_manifest(objects: Objects, keys: Keys, key: str) -> dict[str, Any]:  # 8
    _, plain = open_object(keys, b"M", objects[key], fields(b"manifest", key.encode()))
    value: dict[str, Any] = json.loads(unpack(plain, 16 * 1024 * 1024))
    assert value["format"] == 1
    assert not value.get("needs")
    whose = value["resource"]
    path = "/".join(whose[part] for part in ("account", "region", "kind", "id"))
    assert key.partition(".")[0] == f"{path}/points/{value['id']}"
    return value


def node_digest(level: int, held: list[tuple[int, bytes]]) -> bytes:  # 9
    parts = [at.to_bytes(8, "big") + digest for at, digest in held]
    return hashlib.sha256(bytes([level]) + b"".join(parts)).digest()


class Tree:  # 7
    def __init__(self, objects: Objects, keys: Keys, resource: str, volume: str) -> None:
        self.objects, self.keys, self.resource, self.volume = objects, keys, resource, volume

    def node(self, level: int, position: int, identity: bytes) -> bytes:
        """The plain text of a node."""
        name = identity.hex()
        at = level.to_bytes(1, "big"), position.to_bytes(8, "big")
        place = fields(b"node", self.resource.encode(), self.volume.encode(), *at)
        body = self.objects[f"{self.resource}/trees/{name[:2]}/{name}"]
        found, plain = open_object(self.keys, b"N", body, place)
        names = hkdf(self.keys[body[8:16]], b"mayfly names 1")
        assert found == identity == hmac.new(names, fields(place, plain), "sha256").digest()  # 5
        return plain[16:]

    def entries(
        self, level: int, position: int, identity: bytes, blocks: int, digest: bytes
    ) -> Iterator[tuple[int, bytes, tuple[bytes, bytes], int, int, int]]:
        """(index, SHA-256, (pack, id of its key), frame, offset, length) of every block below a node: so many."""
        plain = self.node(level, position, identity)
        held = []
        if level:
            for at in range(0, len(plain), 70):
                child = plain[at : at + 70]
                below = position * 1024 + number(child[:2])
                held.append((below, child[38:]))
                blocks -= number(child[34:38])
                yield from self.entries(level - 1, below, child[2:34], number(child[34:38]), child[38:])
            assert blocks == 0
            assert node_digest(level, held) == digest
            return
        table = 2 + 24 * number(plain[:2])
        packs = [(plain[at : at + 16], plain[at + 16 : at + 24]) for at in range(2, table, 24)]
        for at in range(table, len(plain), 46):
            entry = plain[at : at + 46]
            pack = packs[number(entry[34:36])]
            index = position * 1024 + number(entry[:2])
            held.append((index, entry[2:34]))
            yield index, entry[2:34], pack, number(entry[36:38]), number(entry[38:42]), number(entry[42:46])
        assert len(held) == blocks
        assert node_digest(0, held) == digest


def read_volume(objects: Objects, keys: Keys, resource: str, volume: dict[str, Any]) -> dict[int, bytes]:
    """{index: block}"""
    name, blocks, digest = volume.get("sealed_as") or volume["volume_id"], {}, bytes.fromhex(volume["digest"])
    levels = 1
    while 1024**levels < volume["size_gib"] * 2048:
        levels += 1
    assert levels == volume["levels"]
    tree = Tree(objects, keys, resource, name)
    if not volume["root"]:
        assert volume["blocks"] == 0
        assert node_digest(levels - 1, []) == digest
        return {}
    for index, sha256, (pack, key), frame, offset, length in tree.entries(
        levels - 1, 0, bytes.fromhex(volume["root"]), volume["blocks"], digest
    ):
        body = objects[f"{resource}/packs/{pack.hex()[:2]}/{pack.hex()}"]
        about = fields(b"block", resource.encode(), name.encode(), index.to_bytes(8, "big"), sha256)
        sealed = body[offset : offset + length]
        block = unpack(object_key(keys[key], b"P", pack).decrypt(nonce(frame), sealed, about), BLOCK)
        assert len(block) == BLOCK
        assert hashlib.sha256(block).digest() == sha256
        blocks[index] = block
    return blocks


def read_list(resource_key: bytes, resource: str, pack: bytes, body: bytes) -> list[tuple[str, int, bytes, int, int]]:
    """(volume, index, SHA-256, offset, length) of every block of a pack."""  # 6
    length = number(body[-4:])
    sealed = body[-4 - length : -4]
    about = fields(b"list", resource.encode())
    plain = object_key(resource_key, b"P", pack).decrypt(nonce(2**64 - 1), sealed, about)
    at, volumes = 2, []
    for _ in range(number(plain[:2])):
        size = number(plain[at : at + 2])
        volumes.append(plain[at + 2 : at + 2 + size].decode())
        at += 2 + size
    offset, found = 32, []
    for start in range(at, len(plain), 46):
        frame = plain[start : start + 46]
        size = number(frame[42:46])
        found.append((volumes[number(frame[:2])], number(frame[2:10]), frame[10:42], offset, size))
        offset += size
    assert offset == len(body) - 4 - length
    return found
