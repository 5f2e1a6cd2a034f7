# SPDX-License-Identifier: GPL-3.0-or-later
"""What requests to KMS must be allowed to do, and what services do with a key for their caller. Pure.

A key's own policy always counts; grants are further statements of it.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mayfly_lab.iam.checks import Check, Context, Place, request_tags, resource_tags

Keys = Mapping[str, Mapping[str, Any]]  # by ARN: policy, aliases, grants, tags
_WITHOUT_KEY = ("CreateKey", "GenerateRandom", "ListAliases", "ListKeys")
_EBS_SERVICE = "ec2"


def find(name: str, place: Place, keys: Keys) -> str | None:
    """The ARN of a key by its id, ARN, alias or alias' ARN; None where there is none."""
    arn = name if name.startswith("arn:") else place.arn("kms", name if name.startswith("alias/") else f"key/{name}")
    if arn in keys:
        return arn
    owner, _, alias = arn.rpartition(":")
    return next((key for key, each in keys.items() if alias in each["aliases"] and key.startswith(f"{owner}:")), None)


def check(action: str, key: str, place: Place, keys: Keys, context: Context) -> Check:
    """One action on one key, asked by an account in a Region."""
    known = keys[key]
    own: Context = {"kms:CallerAccount": place.account, "kms:ResourceAliases": list(known["aliases"])}
    own |= {"kms:KeySpec": known["spec"], "kms:KeyUsage": known["usage"]}
    resource_policy = _with_grants(known["policy"], known["grants"])
    context = {**own, **resource_tags(known["tags"]), **context}
    return Check(f"kms:{action}", key, key.split(":")[4], context, resource_policy)


def checks(call: str, value: Mapping[str, Any], place: Place, keys: Keys) -> list[Check]:
    """What ``call`` (as ``GenerateDataKey``) with these parameters must be allowed to do.

    A key that there is not makes no check: KMS says that it does not exist.
    """
    if call in _WITHOUT_KEY:
        tags = {tag["TagKey"]: tag["TagValue"] for tag in value.get("Tags") or ()}
        return [Check(f"kms:{call}", "*", place.account, {"kms:CallerAccount": place.account, **request_tags(tags)})]
    if call == "ReEncrypt":
        source = {**value, "EncryptionContext": value.get("SourceEncryptionContext")}
        target = {**value, "EncryptionContext": value.get("DestinationEncryptionContext")}
        source_key = value.get("SourceKeyId") or key_of_ciphertext(value.get("CiphertextBlob"))
        found = [
            *_on_key("ReEncryptFrom", source_key, source, place, keys),
            *_on_key("ReEncryptTo", value.get("DestinationKeyId"), target, place, keys),
        ]
        same = len({each.resource for each in found}) == 1
        return [_with(each, {"kms:ReEncryptOnSameKey": str(same).lower()}) for each in found]
    name = value.get("KeyId") or value.get("TargetKeyId") or key_of_ciphertext(value.get("CiphertextBlob"))
    if call in ("CreateAlias", "UpdateAlias", "DeleteAlias"):
        alias = Check(f"kms:{call}", place.arn("kms", str(value.get("AliasName"))), place.account)
        return [alias, *_on_key(call, name or value.get("AliasName"), value, place, keys)]
    return list(_on_key(call, name, value, place, keys))


def for_service(
    service: str, actions: Iterable[str], key: str, place: Place, keys: Keys, *, encryption: Mapping[str, str]
) -> list[Check]:
    """What a service does with a key for its caller; ``encryption`` is the encryption context.

    An AWS managed key (``alias/aws/…``) lets the services of its account do so for everybody, and so does the lab for
    a key that there is not.
    """
    arn = find(key, place, keys)
    if arn is None or any(alias.startswith("alias/aws/") for alias in keys[arn]["aliases"]):
        return []
    via: Context = {"kms:ViaService": f"{service}.{place.region}.amazonaws.com", "aws:ViaAWSService": "true"}
    context = {**via, **_encryption(encryption)}
    return [check(action, arn, place, keys, {**context, **_grant_for_service(action)}) for action in actions]


def for_volume(kms_key: str, source_key: str | None, place: Place, keys: Keys) -> list[Check]:
    """What EBS does for whoever makes an encrypted volume or snapshot, from an encrypted snapshot or without.

    https://docs.aws.amazon.com/ebs/latest/userguide/how-ebs-encryption-works.html
    """
    nothing: Mapping[str, str] = {}
    if source_key is None:
        actions = ("GenerateDataKeyWithoutPlaintext", "CreateGrant")
        return for_service(_EBS_SERVICE, actions, kms_key, place, keys, encryption=nothing)
    return [
        *for_service(_EBS_SERVICE, ("ReEncryptFrom",), source_key, place, keys, encryption=nothing),
        *for_service(_EBS_SERVICE, ("ReEncryptTo", "CreateGrant"), kms_key, place, keys, encryption=nothing),
    ]


def for_blocks(kms_key: str, place: Place, keys: Keys) -> list[Check]:
    """What EBS does for whoever reads or writes blocks of an encrypted snapshot."""
    return for_service(_EBS_SERVICE, ("Decrypt",), kms_key, place, keys, encryption={})


def key_of_ciphertext(blob: str | None) -> str | None:
    """The id of the key in a ciphertext of the lab's KMS (in base64); None where it has none."""
    try:
        raw = base64.b64decode(blob or "", validate=True)
        (key_id,) = struct.unpack_from(">36s", raw)
    except (ValueError, struct.error):
        return None
    return str(key_id.decode(errors="replace"))


def _on_key(action: str, name: str | None, value: Mapping[str, Any], place: Place, keys: Keys) -> Iterator[Check]:
    arn = find(name, place, keys) if name else None
    if name is None or arn is None:
        return
    context = {**_encryption(value.get("EncryptionContext") or {}), **_request(action, value)}
    alias = name.rpartition(":")[2]
    yield check(action, arn, place, keys, {**context, **({"kms:RequestAlias": alias} if "alias/" in alias else {})})


def _encryption(encryption: Mapping[str, str]) -> Context:
    if not encryption:
        return {}
    pairs = {f"kms:EncryptionContext:{key}": value for key, value in encryption.items()}
    return {"kms:EncryptionContextKeys": list(encryption), **pairs}


def _request(action: str, value: Mapping[str, Any]) -> Context:
    if action != "CreateGrant":
        return {}
    found: Context = {"kms:GrantOperations": list(value.get("Operations") or ()), "kms:GrantIsForAWSResource": "false"}
    for key, name in (("GranteePrincipal", "GranteePrincipal"), ("RetiringPrincipal", "RetiringPrincipal")):
        found |= {f"kms:{key}": value[name]} if value.get(name) else {}
    kinds = list(value.get("Constraints") or {})
    return {**found, **({"kms:GrantConstraintType": kinds[0]} if kinds else {})}


def _grant_for_service(action: str) -> Context:
    if action != "CreateGrant":
        return {}
    operations = ["Decrypt", "Encrypt", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo"]
    return {"kms:GrantIsForAWSResource": "true", "kms:GrantOperations": operations}


def _with_grants(policy: str, grants: Iterable[Mapping[str, Any]]) -> str:
    statements = [_statement(grant) for grant in grants]
    if not statements:
        return policy
    document = json.loads(policy)
    own = document["Statement"] if isinstance(document["Statement"], list) else [document["Statement"]]
    return json.dumps({**document, "Statement": [*own, *statements]})


def _statement(grant: Mapping[str, Any]) -> dict[str, Any]:
    constraints = grant.get("constraints") or {}
    wanted = constraints.get("EncryptionContextEquals") or constraints.get("EncryptionContextSubset") or {}
    conditions = {f"kms:EncryptionContext:{key}": value for key, value in wanted.items()}
    return {
        "Sid": "Grant" + "".join(letter for letter in str(grant["id"]) if letter.isalnum()),
        "Effect": "Allow",
        "Principal": {"AWS": grant["grantee"]},
        "Action": [f"kms:{operation}" for operation in grant["operations"]],
        "Resource": "*",
        **({"Condition": {"StringEquals": conditions}} if conditions else {}),
    }


def _with(check: Check, more: Context) -> Check:
    context = {**check.context, **more}
    return Check(check.action, check.resource, check.account, context, check.resource_policy, check.open)
