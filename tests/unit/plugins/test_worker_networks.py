# SPDX-License-Identifier: GPL-3.0-or-later
"""Which subnets entries of mayfly_networks mean, as hosts: over pictures of several accounts and Regions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.errors import PlacementError
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.picture import Picture
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.model import read
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.networks import Network
from ansible_collections.mayfly.workers.plugins.plugin_utils.worker_networks import WorkerNetwork, find

from tests.unit.plugins.placement.world import (
    ACCOUNT,
    OTHER_ACCOUNT,
    OTHER_REGION,
    REGION,
    At,
    default_vpc,
    group,
    network,
    picture,
    vpc,
)

TAG = (("mayfly", "yes"),)
WIDE = {"tag": {"key": "mayfly", "value": "yes"}}
HERE = picture(
    default_vpc(At("subnet-default"), At("subnet-own", default=False)),
    vpc("vpc-1", At("subnet-a"), At("subnet-b", zone="b"), groups=[group("sg-1", name="workers")]),
    vpc("vpc-empty"),
)
EMPTY = Picture(ACCOUNT, REGION)
TAGGED = replace(
    picture(
        vpc("vpc-1", At("subnet-1", tags=TAG), At("subnet-2"), groups=[group("sg-1", tags=dict(TAG))], tags=dict(TAG)),
        region=OTHER_REGION,
    ),
    account=OTHER_ACCOUNT,
)


def among(*pictures: Picture, entries: list[Any], regions: tuple[str, ...] = ()) -> list[WorkerNetwork]:
    """What entries mean where these are the accounts and Regions with anything in them."""
    known = {(each.account, each.region): each for each in pictures}

    def describe(account: str, region: str) -> Picture:
        return known.get((account, region), replace(EMPTY, account=account, region=region))

    networks = [each if isinstance(each, Network) else read(Network, "mayfly_networks", each) for each in entries]
    return find(networks, (ACCOUNT, OTHER_ACCOUNT), regions, describe)


def refusal(*entries: Any, regions: tuple[str, ...] = ()) -> PlacementError:
    with pytest.raises(PlacementError) as raised:
        among(HERE, entries=list(entries), regions=regions)
    return raised.value


def test_a_host_is_called_by_its_name_and_its_id() -> None:
    nameless = replace(HERE, subnets=tuple(replace(each, tags={}) for each in HERE.subnets))
    odd = replace(HERE, subnets=tuple(replace(each, tags={"Name": "für: alle"}) for each in HERE.subnets))
    for world, host in ((HERE, "subnet-a-by-name_subnet-a"), (nameless, "vpc-1_subnet-a"), (odd, "f-r-alle_subnet-a")):
        (found,) = among(world, entries=[network(vpc_id="vpc-1", subnet_ids=["subnet-a"])])
        assert found.host == host
    assert found.resource == {
        "account": ACCOUNT,
        "region": REGION,
        "kind": "subnet",
        "id": "subnet-a",
        "name": "für: alle",
    }


def test_an_entry_without_a_vpc_means_the_default_one() -> None:
    found = among(HERE, entries=[network()])
    assert [each.resource["id"] for each in found] == ["subnet-default"]
    assert found[0].networks == (
        {"account": ACCOUNT, "region": REGION, "vpc_id": "vpc-default", "subnet_ids": ["subnet-default"]},
    )


def test_entries_of_one_subnet_stay_together_and_apart_from_others() -> None:
    first = network(vpc_id="vpc-1", availability_zone="eu-central-1a", security_group_names=["workers"])
    second = network(vpc_id="vpc-1", subnet_ids=["subnet-b", "subnet-a"], public_address=True, preflight=False)
    found = among(HERE, entries=[first, second, second])
    narrowed = {"account": ACCOUNT, "region": REGION, "vpc_id": "vpc-1"}
    by_id = {each.resource["id"]: each.networks for each in found}
    assert list(by_id) == ["subnet-a", "subnet-b"]
    for name, networks in by_id.items():
        assert networks == (
            {
                **narrowed,
                "subnet_ids": [name],
                "availability_zone": "eu-central-1a",
                "security_group_ids": ["sg-1"],
            },
            {**narrowed, "subnet_ids": [name], "public_address": True, "preflight": False},
        )
        for each in networks:
            read(Network, "mayfly_networks", each)


def test_a_tag_is_looked_for_everywhere_and_has_to_be_somewhere() -> None:
    (found,) = among(HERE, TAGGED, entries=[WIDE], regions=(REGION, OTHER_REGION))
    assert found.networks == (
        {
            "account": OTHER_ACCOUNT,
            "region": OTHER_REGION,
            "vpc_id": "vpc-1",
            "subnet_ids": ["subnet-1"],
            "security_group_ids": ["sg-1"],
        },
    )
    assert "bears the tag mayfly=yes" in refusal(WIDE, regions=(REGION,)).message
    (named,) = among(TAGGED, entries=[{**WIDE, "region": OTHER_REGION}])
    assert named == found


def test_what_is_half_tagged_is_an_error_wherever_it_is() -> None:
    untagged = tuple(replace(each, tags={}) for each in TAGGED.subnets)
    half = replace(TAGGED, account=ACCOUNT, subnets=untagged)
    with pytest.raises(PlacementError, match="none of its subnets does"):
        among(half, TAGGED, entries=[WIDE], regions=(REGION, OTHER_REGION))


def test_a_subnet_that_accounts_share_is_a_host_in_each() -> None:
    shared = replace(HERE, account=OTHER_ACCOUNT)
    entries = [network(vpc_id="vpc-1", subnet_ids=["subnet-a"], account=each) for each in (ACCOUNT, OTHER_ACCOUNT)]
    found = among(HERE, shared, entries=entries)
    assert [each.host for each in found] == [
        f"subnet-a-by-name_subnet-a_{ACCOUNT}",
        f"subnet-a-by-name_subnet-a_{OTHER_ACCOUNT}",
    ]


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"vpc_id": "vpc-gone"}, f"vpc-gone of mayfly_networks is not in account {ACCOUNT}, {REGION}.", "networks.yml"),
    ({"vpc_name": "nobody's"}, "the Name tag nobody's", "networks.yml"),
    ({"vpc_id": "vpc-1", "subnet_ids": ["subnet-gone"]}, "subnet-gone of mayfly_networks is not", "networks.yml"),
    ({"vpc_id": "vpc-1", "security_group_ids": ["sg-gone"]}, "The security group sg-gone", "networks.yml"),
    ({"availability_zone": "eu-central-1z"}, "zone eu-central-1z", "eu-central-1a"),
    ({"vpc_id": "vpc-empty"}, "vpc-empty has no subnet", "networks.yml"),
    ({"region": "eu-west-9"}, "no default VPC in eu-west-9", "mayfly_networks"),
]


@pytest.mark.parametrize(("change", "message", "remedy"), BAD, ids=[each[1] for each in BAD])
def test_what_is_not_there_is_an_error_that_says_what_to_mend(
    change: dict[str, Any], message: str, remedy: str
) -> None:
    error = refusal(network(vpc_id="vpc-1"), network(**change))
    assert message in error.message
    assert remedy in error.remedy


def test_an_entry_without_a_region_needs_to_be_told_of_some() -> None:
    error = refusal(WIDE)
    assert "names no Region" in error.message
    assert error.remedy == "Set regions in the inventory file, or region in the entry."
