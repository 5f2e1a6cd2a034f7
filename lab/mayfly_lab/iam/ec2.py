# SPDX-License-Identifier: GPL-3.0-or-later
"""What requests to EC2 must be allowed to do. Pure.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html tells the resources of each
action: each of them is decided by itself, with its own conditions, and a resource that the request makes stands there
as ``instance/*``. Tags of such a resource need ec2:CreateTags as well, with ec2:CreateAction.
"""

from __future__ import annotations

from collections.abc import Iterator

from mayfly_lab.iam import launches
from mayfly_lab.iam.checks import Check, Context, Place, request_tags
from mayfly_lab.iam.parameters import Parameters
from mayfly_lab.iam.things import Things, arn, kind_of

_READING = ("Describe", "Get", "Search")
_INSTANCES = ("InstanceId",)
_GROUP = ("GroupId",)
# The parameters that name the resources a call is about. Calls that are not here are about every id they name.
_ABOUT = {
    "AttachVolume": ("InstanceId", "VolumeId"),
    "AuthorizeSecurityGroupEgress": _GROUP,
    "AuthorizeSecurityGroupIngress": _GROUP,
    "CopyImage": (),
    "CreateImage": _INSTANCES,
    "CreateNetworkInterface": ("SubnetId", "SecurityGroupId"),
    "CreateSecurityGroup": ("VpcId",),
    "CreateSnapshot": ("VolumeId",),
    "CreateSnapshots": ("InstanceSpecification.InstanceId",),
    "CreateTags": ("ResourceId",),
    "CreateVolume": ("SnapshotId",),
    "DeleteSecurityGroup": _GROUP,
    "DeleteSnapshot": ("SnapshotId",),
    "DeleteTags": ("ResourceId",),
    "DeleteVolume": ("VolumeId",),
    "DescribeImageAttribute": ("ImageId",),
    "DescribeInstanceAttribute": _INSTANCES,
    "DescribeSecurityGroupReferences": _GROUP,
    "DescribeSnapshotAttribute": ("SnapshotId",),
    "DescribeVolumeAttribute": ("VolumeId",),
    "DescribeVpcAttribute": ("VpcId",),
    "DetachVolume": ("InstanceId", "VolumeId"),
    "GetConsoleOutput": _INSTANCES,
    "ModifyInstanceAttribute": ("InstanceId", "GroupId", "BlockDeviceMapping.Ebs.VolumeId"),
    "ModifySnapshotAttribute": ("SnapshotId",),
    "RebootInstances": _INSTANCES,
    "RevokeSecurityGroupEgress": _GROUP,
    "RevokeSecurityGroupIngress": _GROUP,
    "StartInstances": _INSTANCES,
    "StopInstances": _INSTANCES,
    "TerminateInstances": _INSTANCES,
}
# The kinds of resources that a call makes.
_MAKES = {
    "AllocateAddress": ("elastic-ip",),
    "CopyImage": ("image", "snapshot"),
    "CopySnapshot": ("snapshot",),
    "CreateImage": ("image", "snapshot"),
    "CreateInternetGateway": ("internet-gateway",),
    "CreateLaunchTemplate": ("launch-template",),
    "CreateNatGateway": ("natgateway",),
    "CreateNetworkInterface": ("network-interface",),
    "CreateRouteTable": ("route-table",),
    "CreateSecurityGroup": ("security-group",),
    "CreateSnapshot": ("snapshot",),
    "CreateSnapshots": ("snapshot",),
    "CreateSubnet": ("subnet",),
    "CreateVolume": ("volume",),
    "CreateVpc": ("vpc",),
    "CreateVpcEndpoint": ("vpc-endpoint",),
    "RegisterImage": ("image",),
}


def checks(call: str, parameters: Parameters, place: Place, things: Things) -> list[Check]:
    """What ``call`` (as ``RunInstances``) must be allowed to do; at least one check."""
    if call == "RunInstances":
        found = list(launches.checks(parameters, place, things))
    elif call.startswith(_READING) and call not in _ABOUT:
        found = []
    else:
        found = [*_existing(call, parameters, place, things), *_made(call, parameters, place, things)]
    tagging = [_tagging(call, kind, tags, place) for kind, tags in parameters.tag_specifications().items() if tags]
    return [*(found or [Check(f"ec2:{call}", "*", place.account, {"ec2:Region": place.region})]), *tagging]


def _existing(call: str, parameters: Parameters, place: Place, things: Things) -> Iterator[Check]:
    about = _identities(call, parameters, things)
    more = _conditions(call, parameters)
    for identity in dict.fromkeys(about):
        kind = kind_of(identity)
        if kind is not None:
            context = {**things.get(identity).context(place), **more}
            resource = arn(place, kind, identity)
            yield Check(f"ec2:{call}", resource, place.account, context, open=call not in _ABOUT)


def _identities(call: str, parameters: Parameters, things: Things) -> list[str]:
    if call not in _ABOUT:
        return [value for _, value in parameters.named()]
    found = [value for name in _ABOUT[call] for value in _values(parameters, name)]
    if call == "CreateSnapshots":
        found += _volumes(parameters, things)
    if call == "CreateSecurityGroup" and not found:
        found += [vpc for vpc in [things.default_vpc()] if vpc]
    if call in ("DeleteSecurityGroup", "AuthorizeSecurityGroupIngress") and not found:
        found += [group for group in [things.group_named(parameters.get("GroupName") or "")] if group]
    return found


def _values(parameters: Parameters, name: str) -> list[str]:
    head, dot, rest = name.partition(".")
    grouped = [value for group in parameters.groups(head) for value in group.all(rest)] if dot else []
    return [*parameters.all(name), *grouped]


def _volumes(parameters: Parameters, things: Things) -> list[str]:
    """The volumes that CreateSnapshots is about."""
    instance = parameters.get("InstanceSpecification.InstanceId") or ""
    left_out = parameters.all("InstanceSpecification.ExcludeDataVolumeId")
    return [volume for volume in things.volumes(instance) if volume not in left_out]


def _made(call: str, parameters: Parameters, place: Place, things: Things) -> Iterator[Check]:
    tags = parameters.tag_specifications()
    for kind in _MAKES.get(call, ()):
        for context in _new_contexts(call, kind, parameters, place, things):
            more = {"ec2:Region": place.region, **request_tags(tags.get(kind, {}))}
            yield Check(f"ec2:{call}", arn(place, kind), place.account, {**context, **more})
    if call in ("CreateKeyPair", "ImportKeyPair", "DeleteKeyPair"):
        name = parameters.get("KeyName") or ""
        context = {"ec2:Region": place.region, "ec2:KeyPairName": name, **request_tags(tags.get("key-pair", {}))}
        yield Check(f"ec2:{call}", arn(place, "key-pair", name), place.account, context)


def _new_contexts(call: str, kind: str, parameters: Parameters, place: Place, things: Things) -> list[Context]:
    """The conditions that each new resource of ``kind`` makes but for Region and tags."""
    if kind == "volume":
        zone = parameters.get("AvailabilityZone")
        return [{**launches.disk(parameters, place, things), **({"ec2:AvailabilityZone": zone} if zone else {})}]
    if kind == "snapshot" and call in ("CreateSnapshot", "CreateSnapshots"):
        sources = parameters.all("VolumeId") if call == "CreateSnapshot" else _volumes(parameters, things)
        return [_snapshot_of(source, place, things) for source in sources]
    vpc = parameters.get("VpcId") or (things.default_vpc() if kind == "security-group" else None)
    if kind in ("security-group", "subnet", "route-table") and vpc:
        return [{"ec2:Vpc": arn(place, "vpc", vpc)}]
    subnet = parameters.get("SubnetId")
    if kind == "network-interface" and subnet:
        return [launches.interface(things.get(subnet), place)]
    return [{}]


def _snapshot_of(volume: str, place: Place, things: Things) -> Context:
    size = things.get(volume).keys.get("ec2:VolumeSize")
    return {"ec2:ParentVolume": arn(place, "volume", volume), **({"ec2:VolumeSize": size} if size else {})}


def _conditions(call: str, parameters: Parameters) -> Context:
    """Conditions that the request's own parameters make."""
    if call in ("CreateTags", "DeleteTags"):
        tags = parameters.tags()
        return request_tags(tags) if call == "CreateTags" else {"aws:TagKeys": list(tags)}
    if call == "ModifySnapshotAttribute":
        return _sharing(parameters)
    if call == "ModifyInstanceAttribute":
        return _attribute(parameters)
    return {}


def _sharing(parameters: Parameters) -> Context:
    kind = {"add": "Add", "remove": "Remove"}.get(parameters.get("OperationType") or "", "")
    found: dict[str, str | list[str]] = {}
    for verb in ("Add", "Remove"):
        entries = parameters.groups(f"CreateVolumePermission.{verb}")
        users = [value for entry in entries for value in entry.all("UserId")]
        groups = [value for entry in entries for value in entry.all("Group")]
        if verb == kind:
            users, groups = [*users, *parameters.all("UserId")], [*groups, *parameters.all("UserGroup")]
        found |= {f"ec2:{verb}/userId": users} if users else {}
        found |= {f"ec2:{verb}/group": groups} if groups else {}
    return found


def _attribute(parameters: Parameters) -> Context:
    """ec2:Attribute: the attribute's name; and its value, below that name."""
    pairs = {name.removesuffix(".Value"): value for name, value in parameters.named() if name.endswith(".Value")}
    named = parameters.get("Attribute")
    if named:
        pairs[named[0].upper() + named[1:]] = parameters.get("Value") or ""
    if not pairs:
        return {}
    return {"ec2:Attribute": next(iter(pairs)), **{f"ec2:Attribute/{name}": value for name, value in pairs.items()}}


def _tagging(call: str, kind: str, tags: dict[str, str], place: Place) -> Check:
    context = {"ec2:Region": place.region, "ec2:CreateAction": call, **request_tags(tags)}
    return Check("ec2:CreateTags", arn(place, kind), place.account, context)
