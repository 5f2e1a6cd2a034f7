# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host's worker goes: the picture and the images from AWS, the decision from ``placement``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from ... import agent_bundles
from ...operations import OPERATIONS, profiles_in, services_in
from ...placement import networks, table
from ...placement.accounts import account_for
from ...placement.errors import PlacementError
from ...placement.picture import Image, Picture
from ...placement.place import Placement, Request, place, services
from ...placement.reach import Peer
from ...placement.survey import survey
from ...placement.types import quota_class
from ...settings.checks import CheckOperations, CheckPorts, Port
from ...settings.connection import Way
from ...settings.instance_types import InstanceTypesSetting
from ...settings.model import SettingError, read
from ...settings.networks import Network
from ...settings.repository import port_of
from ...settings.schema import Account
from ...settings.tags import OwnTags
from .. import baked
from ..context import Context
from ..errors import KeeperError
from . import operation

# Publishes the default image (https://wiki.debian.org/Cloud/AmazonEC2Image/Bookworm).
_DEBIAN = "136693071363"
_SSM_AGENT = "amazon-ssm-agent"


@operation("placement.plan")
def plan(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{candidates, reasons, services, image, checks}: the candidates in the order they are tried in, and why.

    ``services`` are what they must reach, ``image`` is that of the first. ``checks`` are what is told of a network that
    the operation is about, and what fails of them in check mode, in which nothing follows, is an error.
    """
    read(OwnTags, "mayfly_worker_tags", arguments.get("tags"))
    with context.report.stage("Placing"):
        account, why = _account(context, arguments)
        _check_way(context, account)
        request = _request(context, arguments)
        picture = _picture(context, account.id, str(arguments["site"]["region"]), request)
        images, why_image = _images(context, picture, arguments, request)
        _check_agent(context, images, why_image)
        request = replace(request, images=images)
        checks = [asdict(each) for each in survey(picture, request)] if request.profiles else []
        placed = _place(context, picture, request, checks)
    reasons = [{"subject": f"account {account.id}", "decision": "chosen", "reason": why}]
    image = images[placed.candidates[0].architecture]
    reasons.append({"subject": f"image {image.id}", "decision": "chosen", "reason": why_image[image.architecture]})
    reasons += [asdict(reason) for reason in placed.reasons]
    context.report.set(placement=reasons, image=image.as_dict())
    return {
        "image": image.as_dict(),
        "candidates": [asdict(each) for each in placed.candidates],
        "reasons": reasons,
        "services": [asdict(each) for each in services(picture.region, request)],
        "checks": checks,
    }


def _place(context: Context, picture: Picture, request: Request, checks: list[dict[str, Any]]) -> Placement:
    """The placement; raises PlacementError, which tells all that was found of a network that is checked."""
    failed = sum(not each["ok"] for each in checks)
    told = f"{context.host}: {failed} of {len(checks)} checks failed.\n{table.checks(checks)}\n"
    if checks:
        context.report.set(checks=checks)
        context.state.checks = checks
    try:
        placed = place(picture, request)
    except PlacementError as error:
        if not failed:
            raise
        raise PlacementError(error.code, told, "Nothing was looked at from inside.") from None
    if failed and context.check:
        raise PlacementError("CheckFailed", told, "")
    return placed


def _account(context: Context, arguments: dict[str, Any]) -> tuple[Account, str]:
    """The account that the worker runs in, and why; the production account is the one that the site is in."""
    name, site = arguments["operation"], arguments["site"]
    backup = context.account("backup")
    owner = str(site["account"])
    differ = owner != backup.id
    which, why = account_for(
        name,
        arguments.get("worker_account") or None,
        differ,
        tuple(site.get("aws_key_volumes") or ()),
        puts_back=bool(site.get("puts_back")),
    )
    return (backup if which == "backup" else context.owner(owner)), why


def _request(context: Context, arguments: dict[str, Any]) -> Request:
    """What is wanted, from options as the module documents them; raises SettingError for a setting at fault."""
    site = arguments["site"]
    services_of_users, profiles_of_users = _of_users(context, arguments)
    return Request(
        operation=arguments["operation"],
        size_bytes=arguments["size_bytes"],
        repository_region=arguments["repository_region"],
        zones=tuple(site.get("zone_ids") or ()),
        vpc_id=site.get("vpc_id") or None,
        peers=tuple(
            Peer(**{**each, "security_group_ids": tuple(each["security_group_ids"])})
            for each in site.get("peers") or ()
        ),
        more_services=(*(site.get("services") or ()), *services_of_users),
        profiles=profiles_of_users,
        networks=read(tuple[Network, ...], "mayfly_networks", arguments.get("networks") or []),
        instance_types=read(InstanceTypesSetting, "mayfly_instance_types", arguments.get("instance_types")),
        market=arguments["market"],
        by_price=arguments["order"] == "price",
        control_node_cidr=arguments.get("control_node_cidr"),
        operator_cidr=arguments.get("operator_cidr"),
        ssh_port=arguments["ssh_port"],
        bastion=_bastion(context),
        session_manager=context.settings.worker_connection is Way.SESSION_MANAGER,
        check_ports=_check_ports(arguments),
        **_stores(arguments.get("repository_endpoint_url") or "", arguments.get("target_repository") or {}),
    )


def _stores(endpoint_url: str, target: Mapping[str, Any]) -> dict[str, Any]:
    """What a request says of stores: the repository's, and that of a second one which is copied to, if there is one.

    Raises SettingError for what is no address of a store.
    """
    second = target.get("endpoint_url") or ""
    named = {"mayfly_repository": endpoint_url, "mayfly_copy_repository": second}
    ports = []
    for name, url in named.items():
        try:
            ports += [port_of(url)] if url else []
        except ValueError as error:
            raise SettingError(name, f"endpoint_url of {name}: {error}.") from error
    region = "" if second else str(target.get("region") or "")
    return {"store_ports": tuple(ports), "own_store": bool(endpoint_url), "copy_region": region}


def _bastion(context: Context) -> tuple[str, ...]:
    """What the rules of workers may call the host that SSH comes from; empty without a bastion."""
    settings = context.settings
    uses = settings.worker_connection is Way.BASTION and settings.bastion is not None
    return settings.bastion.peers if uses and settings.bastion else ()


def _check_way(context: Context, account: Account) -> None:
    """Raises KeeperError when SSH could not get to workers in the account, as far as it can be told without one."""
    context.prepare_way()
    if context.settings.worker_connection is Way.SESSION_MANAGER and account.worker_instance_profile is None:
        message = f"mayfly_accounts.{account.name} has no worker_instance_profile, which Session Manager needs."
        raise KeeperError("NoInstanceProfile", message, "group_vars/all/accounts.yml says what it holds.")


def _check_agent(context: Context, images: Mapping[str, Image], why: Mapping[str, str]) -> None:
    """Raises KeeperError for an image that is known to lack the agent that Session Manager ends at.

    One that was baked has it when ``mayfly_image_packages`` has named it.
    """
    from_debian = f"{baked.FROM} {_DEBIAN}/"
    lacking = [
        each.id
        for name, each in images.items()
        if each.owner == _DEBIAN or (why.get(name, "").startswith(from_debian) and _SSM_AGENT not in why[name])
    ]
    if context.settings.worker_connection is Way.SESSION_MANAGER and lacking:
        message = f"{lacking[0]} is an image of Debian's own, which has no {_SSM_AGENT}: Session Manager needs it."
        remedy = "Name an image that has it in mayfly_worker_image, or bake one with it in mayfly_image_packages."
        raise KeeperError("NoAgent", message, remedy)


def _of_users(context: Context, arguments: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(services, profiles) of the operations that would use the network which is checked; none for all others."""
    if not OPERATIONS[arguments["operation"]].for_others:
        return (), ()
    names: tuple[str, ...] = read(CheckOperations, "mayfly_check_operations", arguments.get("check_operations"))
    account = str(arguments["site"]["account"])
    is_backup = account == context.account("backup").id
    found = services_in(names, backup_account=is_backup)
    if not found:
        message = f"None of {', '.join(names)} runs in account {account}, so there is nothing to check for."
        raise KeeperError("NothingToCheck", message, "Set mayfly_check_operations for this network.")
    return found, profiles_in(names, backup_account=is_backup)


def _check_ports(arguments: dict[str, Any]) -> tuple[int, ...]:
    """The ports that a check of a network connects to; none for all other operations."""
    if not OPERATIONS[arguments["operation"]].for_others:
        return ()
    wanted: tuple[Port, ...] = read(CheckPorts, "mayfly_check_ports", arguments.get("check_ports") or [])
    return tuple(sorted({each.port for each in wanted}))


def _picture(context: Context, account: str, region: str, request: Request) -> Picture:
    """What is known of the place, as far as the request is about it."""
    pictures = context.run.pictures
    names = request.all_types_in(region)
    picture = pictures.picture(account, region, names)
    vpcs = {site.vpc.id for site in networks.sites(picture, request.networks, request.vpc_id)}
    pictures.with_names(account, region, vpcs)
    codes = {kind.code(market) for name in names if (kind := quota_class(name)) for market in request.markets}
    known = pictures.with_quotas(account, region, codes, context.settings.deployment)
    if not request.by_price:
        return known
    own = [name for name in request.types_in(region) if name in known.instance_types]
    wanted = {(name, market) for name in own for market in request.markets}
    return pictures.with_prices(account, region, wanted)


def _images(
    context: Context, picture: Picture, arguments: Mapping[str, Any], request: Request
) -> tuple[dict[str, Image], dict[str, str]]:
    """The worker's image by architecture, for each that the types in question have, and why that one.

    An image of this deployment that was baked from the one of the setting comes first, unless one is to be baked.
    Raises KeeperError for none.
    """
    place, setting = (picture.account, picture.region), arguments["image"]
    names = request.all_types_in(picture.region)
    wanted = {picture.instance_types[name].architecture for name in names if name in picture.instance_types}
    if baking := arguments["site"].get("architecture"):
        of_setting = context.run.images.by_architecture(context.ec2(*place), place, setting, {baking})
        if baking not in of_setting:
            message = f"The image of mayfly_worker_image is not for {baking}, as {context.host} is."
            raise KeeperError("BadImage", message, "Set mayfly_worker_image for this host, or leave it out.")
        return {baking: of_setting[baking]}, {baking: "mayfly_worker_image: what it names is baked"}
    found = context.run.once(f"baked {place}", lambda: baked.find(context.ec2(*place), context.settings.deployment))
    images: dict[str, Image] = {}
    why: dict[str, str] = {}
    for each in sorted(wanted):
        digests = context.run.once(f"agents {each}", partial(agent_bundles.digests, each)) if found else frozenset()
        chosen, why[each] = baked.choose(found, setting, each, digests)
        if chosen is not None:
            images[each] = chosen.image
    missing = wanted - images.keys()
    if missing or not images:
        of_setting = _of_setting(context, place, setting, missing, images)
        images = {**of_setting, **images}
        why = {**dict.fromkeys(of_setting, "configured live"), **why}
    return images, why


def _of_setting(
    context: Context, place: tuple[str, str], setting: Mapping[str, Any], wanted: set[str], others: Mapping[str, Image]
) -> dict[str, Image]:
    """What the setting names for these architectures; none is an error unless there are ``others``."""
    try:
        return context.run.images.by_architecture(context.ec2(*place), place, setting, wanted)
    except KeeperError as error:
        if error.code != "NoImage" or not others:
            raise
        return {}
