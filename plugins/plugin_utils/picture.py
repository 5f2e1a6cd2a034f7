# SPDX-License-Identifier: GPL-3.0-or-later
"""What placement knows of an account in a Region: plain values, made by ``keeper/pictures.py`` from AWS's answers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Zone:
    """An Availability Zone: ``name`` differs between accounts, ``id`` does not."""

    name: str
    id: str


@dataclass(frozen=True)
class Vpc:
    """A VPC; ``default`` is AWS's own mark."""

    id: str
    default: bool = False


@dataclass(frozen=True)
class Subnet:
    """A subnet; ``public_on_launch`` says that it gives public IPv4 addresses by itself."""

    id: str
    vpc_id: str
    zone_id: str
    free_addresses: int
    default: bool = False
    public_on_launch: bool = False


@dataclass(frozen=True)
class Route:
    """A route: ``target`` is the id of what it leads to, empty for a black hole."""

    destination: str
    target: str


@dataclass(frozen=True)
class RouteTable:
    """A route table; the ``main`` one serves the VPC's subnets that no other names."""

    id: str
    vpc_id: str
    main: bool = False
    subnet_ids: frozenset[str] = frozenset()
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True)
class Endpoint:
    """A VPC endpoint that is available. A gateway one serves the route tables it names.

    ``service`` is the full name. An interface endpoint without ``private_dns`` does not answer to AWS's own names.
    """

    id: str
    vpc_id: str
    service: str
    gateway: bool = False
    route_table_ids: frozenset[str] = frozenset()
    private_dns: bool = True


@dataclass(frozen=True)
class InstanceType:
    """An instance type that the Region offers: its architecture (x86_64 or arm64) and the zones' ids that have it."""

    name: str
    architecture: str
    zone_ids: frozenset[str]


@dataclass(frozen=True)
class Picture:
    """An account in a Region, as described once a run."""

    account: str
    region: str
    zones: tuple[Zone, ...] = ()
    vpcs: tuple[Vpc, ...] = ()
    subnets: tuple[Subnet, ...] = ()
    route_tables: tuple[RouteTable, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    instance_types: dict[str, InstanceType] = field(default_factory=dict)

    def zone_id(self, zone: str) -> str | None:
        """The id of a zone given by its name in this account or by its id; None when the Region has no such zone."""
        return next((known.id for known in self.zones if zone in (known.name, known.id)), None)

    def zone_name(self, zone_id: str) -> str:
        """This account's name of a zone; its id where the account does not see it."""
        return next((known.name for known in self.zones if known.id == zone_id), zone_id)

    def route_table(self, subnet: Subnet) -> RouteTable | None:
        """The table that serves a subnet: its own, else the VPC's main one."""
        own = (table for table in self.route_tables if subnet.id in table.subnet_ids)
        main = (table for table in self.route_tables if table.main and table.vpc_id == subnet.vpc_id)
        return next(own, None) or next(main, None)
