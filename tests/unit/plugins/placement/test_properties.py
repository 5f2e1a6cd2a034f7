# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every placement: the rules, said once more in other words, over random accounts and requests."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.operations import (
    GIB,
    INSTANCE_TYPES,
    OPERATIONS,
)
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.errors import PlacementError
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.picture import (
    InstanceType,
    Picture,
)
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.place import (
    Placement,
    Request,
    place,
)
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.instance_types import InstanceTypes
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.networks import Network
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.unit.plugins.placement.rules import allowed, fitting, named_subnets, own_types, possible, reached
from tests.unit.plugins.placement.world import (
    ACCOUNT,
    CONTROL_NODE,
    IMAGES,
    OTHER_ACCOUNT,
    OTHER_REGION,
    REGION,
    ZONE_IDS,
    At,
    Net,
    gateway,
    group,
    interface,
    picture,
)

TYPES = tuple(dict.fromkeys([*(name for profile in INSTANCE_TYPES.values() for name in profile), "c7g.large"]))
SURE = [
    name
    for name in TYPES
    if "c6i" in name or name in ("t3.medium", "c5.xlarge", "c5.large", "c5.2xlarge", "c5.4xlarge")
]
ALL_SERVICES = sorted({service for each in OPERATIONS.values() for service in each.services})
VPCS = ("vpc-default", "vpc-1", "vpc-2")
CODES = {
    "NoNetwork",
    "NoInstanceType",
    "NoDefaultVpc",
    "UnknownVpc",
    "UnknownSubnet",
    "UnknownAvailabilityZone",
    "UnknownOperation",
    "NoControlNode",
    "BadControlNode",
}

# No bound, to which examples are drawn, and not what one shrinks to.
rarely = st.integers(0, 30).map(lambda number: number == 17)
seldom = st.integers(0, 6).map(lambda number: number == 4)
MANY = settings(max_examples=200)
zones = st.sampled_from("abc")
zone_sets = st.sampled_from(["abc", "ab", "bc", "b", ""])
ways_out = st.sampled_from(["nat", "nowhere", "internet", "nowhere", "transit", "black hole"])


@st.composite
def nets(draw: st.DrawFn, name: str, sure: bool) -> Net:
    """A VPC of up to four subnets; half of the VPCs have most endpoints. With ``sure``, its first subnet will do."""
    count = draw(st.sampled_from([2, 3, 4, 1, 0]))
    good = [At(f"subnet-{name}-good", draw(zones), draw(st.integers(1, 3)))] if sure else []
    subnets = tuple(
        At(
            f"subnet-{name}-{number}",
            draw(zones),
            draw(st.sampled_from([2, 1, 3, 0])),
            draw(ways_out),
            default=not draw(seldom),
            assigns_public=draw(st.booleans()),
            main=draw(st.booleans()),
        )
        for number in range(count)
    )
    subnets = (*good, *subnets)
    tables = [f"rtb-{each.id}" for each in subnets] + [f"rtb-main-{name}"]
    endpoints = []
    if draw(st.booleans()):
        far = dict.fromkeys(("s3", "kms"), OTHER_REGION) if draw(seldom) else {}
        missing = draw(st.sampled_from([None, None, "s3", None, "s3", *ALL_SERVICES]))
        deaf = draw(st.sampled_from([*[None] * 8, *ALL_SERVICES]))
        for service in ALL_SERVICES:
            if service != missing:
                endpoints.append(interface(service, far.get(service, REGION), private_dns=service != deaf))
        if draw(st.booleans()):
            regions = st.sampled_from([REGION, OTHER_REGION])
            endpoints.append(gateway("s3", *draw(st.sets(st.sampled_from(tables))), region=draw(regions)))
    groups = (group("sg-1"), group("sg-2"))
    return Net(name, subnets, tuple(endpoints), draw(ways_out), default=name == "vpc-default", groups=groups)


@st.composite
def worlds(draw: st.DrawFn, sure: bool) -> Picture:
    """An account of up to three VPCs that offers some types in some zones."""
    names = draw(st.sampled_from([VPCS, VPCS[:2], VPCS[:1], *([] if sure else [VPCS[1:], ()])]))
    offered = [
        InstanceType(
            name,
            "arm64" if name.startswith("c7g") else "x86_64",
            frozenset(ZONE_IDS[letter] for letter in ("abc" if sure and name in SURE else draw(zone_sets))),
        )
        for name in TYPES
        if (sure and name in SURE) or not draw(seldom)
    ]
    return picture(*(draw(nets(name, sure)) for name in sorted(names)), types=offered)


@st.composite
def networks(draw: st.DrawFn, world: Picture, sure: bool) -> Network:
    """An entry of mayfly_networks: mostly one that fits the account, now and then one that names what is not there."""
    wrong = (lambda: False) if sure else (lambda: draw(rarely))
    vpc_id = draw(st.sampled_from([None, *(vpc.id for vpc in world.vpcs), *(["vpc-gone"] if wrong() else [])]))
    inside = [subnet.id for subnet in world.subnets if subnet.vpc_id == vpc_id]
    inside += ["subnet-gone"] if wrong() else []
    zone_names = [*[None] * 6, *(zone.name for zone in world.zones), *(zone.id for zone in world.zones)]
    return Network(
        account=OTHER_ACCOUNT if wrong() else ACCOUNT,
        region=OTHER_REGION if wrong() else REGION,
        availability_zone=f"{REGION}z" if wrong() else draw(st.sampled_from(zone_names)),
        vpc_id=vpc_id,
        subnet_ids=tuple(draw(st.lists(st.sampled_from(inside), max_size=3))) if vpc_id and inside else (),
        security_group_ids=draw(st.sampled_from([(), ("sg-1",), ("sg-1", "sg-2")])),
        public_address=draw(seldom),
    )


type_lists = st.lists(st.sampled_from([*TYPES, "x9.gone"]), min_size=1, max_size=4)
user_types = st.one_of(
    st.just({}),
    st.dictionaries(st.sampled_from(["small", "medium", "large"]), type_lists.map(lambda names: [*names, "c6i.large"])),
    st.fixed_dictionaries({REGION: st.dictionaries(st.sampled_from(["small", "medium"]), type_lists)}),
)
CONTROL_NODES = [*[CONTROL_NODE] * 8, None, "", "0.0.0.0/0", "nowhere"]


@st.composite
def requests(draw: st.DrawFn, world: Picture, sure: bool) -> Request:
    """A request for a worker in that account."""
    wrong = (lambda: False) if sure else (lambda: draw(rarely))
    sizes = st.sampled_from([1, 1023, 1024, 16383, 16384]) | st.integers(0, 20000)
    return Request(
        operation="reap" if wrong() else draw(st.sampled_from(sorted(OPERATIONS))),
        size_bytes=draw(sizes) * GIB,
        repository_region=OTHER_REGION if draw(seldom) else REGION,
        zones=tuple(draw(st.lists(st.sampled_from(list(ZONE_IDS.values())), max_size=2, unique=True))),
        networks=tuple(draw(st.lists(networks(world, sure), max_size=3))),
        instance_types=InstanceTypes.parsed(draw(user_types)),
        images={
            each: IMAGES[each]
            for each in (["arm64"] if wrong() else ["x86_64", *(["arm64"] if draw(st.booleans()) else [])])
        },
        control_node_cidr=draw(st.sampled_from([CONTROL_NODE] if sure else CONTROL_NODES)),
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Picture, Request]:
    """An account and a request: in half of the cases the account can have a worker, if the settings allow it."""
    sure = draw(st.booleans())
    world = draw(worlds(sure))
    return world, draw(requests(world, sure))


def outcome(world: Picture, wanted: Request) -> Placement | PlacementError:
    """Candidates, or the one error that may come."""
    try:
        placed = place(world, wanted)
    except PlacementError as error:
        event(error.code)
        return error
    event("placed")
    return placed


def said(result: Placement | PlacementError) -> Any:
    """What can be compared of an outcome."""
    return result if isinstance(result, Placement) else (result.code, result.message, result.remedy)


@MANY
@given(cases())
def test_the_only_error_says_what_is_wrong_and_what_would_mend_it(case: tuple[Picture, Request]) -> None:
    result = outcome(*case)
    if isinstance(result, PlacementError):
        assert result.code in CODES
        assert result.message.strip().endswith(".")
        assert result.remedy.strip().endswith(".")


@MANY
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_in_which_aws_answers_changes_nothing(case: tuple[Picture, Request], chance: random.Random) -> None:
    world, wanted = case

    def shuffled(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(chance.sample(values, len(values)))

    mixed = replace(
        world,
        vpcs=shuffled(world.vpcs),
        subnets=shuffled(world.subnets),
        route_tables=shuffled(world.route_tables),
        endpoints=shuffled(world.endpoints),
        instance_types=dict(shuffled(tuple(world.instance_types.items()))),
    )
    assert said(outcome(mixed, wanted)) == said(outcome(world, wanted))


@MANY
@given(cases(), st.randoms(use_true_random=False))
def test_an_entry_that_stands_there_twice_changes_nothing(case: tuple[Picture, Request], chance: random.Random) -> None:
    world, wanted = case
    doubled = list(wanted.networks)
    for each in wanted.networks:
        doubled.insert(chance.randint(doubled.index(each), len(doubled)) + 1, each.model_copy())
    assert said(outcome(world, replace(wanted, networks=tuple(doubled)))) == said(outcome(world, wanted))


@MANY
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_entries_decides_nothing_but_whose_groups_count(
    case: tuple[Picture, Request], chance: random.Random
) -> None:
    world, wanted = case
    mixed = tuple(chance.sample(wanted.networks, len(wanted.networks)))
    first, second = outcome(world, wanted), outcome(world, replace(wanted, networks=mixed))
    if isinstance(first, Placement) and isinstance(second, Placement):
        assert [(each.subnet_id, each.instance_type) for each in first.candidates] == [
            (each.subnet_id, each.instance_type) for each in second.candidates
        ]


@MANY
@given(cases())
def test_every_candidate_obeys_the_rules(case: tuple[Picture, Request]) -> None:
    world, wanted = case
    result = outcome(world, wanted)
    if isinstance(result, PlacementError):
        return
    assert result.candidates
    for each in result.candidates:
        subnet = next(subnet for subnet in world.subnets if subnet.id == each.subnet_id)
        zone = next(zone for zone in world.zones if zone.id == subnet.zone_id)
        kind = world.instance_types[each.instance_type]
        assert (each.account, each.region) == (world.account, world.region)
        assert (each.availability_zone, each.availability_zone_id) == (zone.name, zone.id)
        assert each.vpc_id == subnet.vpc_id
        assert subnet.free_addresses > 0
        assert zone.id in kind.zone_ids
        assert each.architecture == kind.architecture
        assert each.image_id == wanted.images[each.architecture].id
        assert allowed(world, wanted, each)
        assert reached(world, wanted, subnet, public=each.public_address)
        assert each.security_group_ids or wanted.control_node_cidr == CONTROL_NODE


@MANY
@given(cases())
def test_whatever_obeys_the_rules_is_a_candidate(case: tuple[Picture, Request]) -> None:
    world, wanted = case
    result = outcome(world, wanted)
    if isinstance(result, Placement):
        assert {(each.subnet_id, each.instance_type) for each in result.candidates} == possible(world, wanted)
    elif result.code in ("NoNetwork", "NoInstanceType"):
        assert possible(world, wanted) == set()


@MANY
@given(cases())
def test_candidates_come_from_the_best_on_and_none_twice(case: tuple[Picture, Request]) -> None:
    world, wanted = case
    result = outcome(world, wanted)
    if isinstance(result, PlacementError):
        return
    free = {subnet.id: subnet.free_addresses for subnet in world.subnets}
    names = list(own_types(wanted))
    ranks = [
        (
            [*wanted.zones, each.availability_zone_id].index(each.availability_zone_id),
            -free[each.subnet_id],
            each.subnet_id,
            names.index(each.instance_type),
        )
        for each in result.candidates
    ]
    assert ranks == sorted(set(ranks))


@MANY
@given(cases())
def test_every_subnet_looked_at_and_every_wanted_type_has_one_reason(case: tuple[Picture, Request]) -> None:
    world, wanted = case
    result = outcome(world, wanted)
    if isinstance(result, PlacementError):
        return
    subjects = Counter(each.subject for each in result.reasons)
    expected = {f"type {name}" for name in own_types(wanted)}
    expected |= {f"subnet {each}" for entry in fitting(wanted) for each in named_subnets(world, entry)}
    assert subjects == Counter(expected)
    assert {each.decision for each in result.reasons} <= {"chosen", "fallback", "rejected"}
    assert all(each.reason for each in result.reasons)
    taken = {each.subject for each in result.reasons if each.decision != "rejected" and "subnet" in each.subject}
    assert taken == {f"subnet {each.subnet_id}" for each in result.candidates}
    for what in ("type", "subnet"):
        chosen = [each for each in result.reasons if each.subject.startswith(what) and each.decision == "chosen"]
        assert len(chosen) == 1
    assert f"subnet {result.candidates[0].subnet_id}" == chosen[0].subject
