# SPDX-License-Identifier: GPL-3.0-or-later
"""``mayfly_networks``: where workers may run."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from .model import Setting


def _digits(value: Any) -> Any:
    """YAML takes an id without quotes for a number, which loses no digit unless the id begins with a zero."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


AccountId = Annotated[str, Field(pattern="^[0-9]{12}$"), BeforeValidator(_digits)]
Text = Annotated[str, Field(min_length=1)]
_OF_VPC = ("vpc_id", "vpc_name", "subnet_ids", "subnet_names", "security_group_ids", "security_group_names")


class Tag(Setting):
    """A tag's key and value."""

    key: Text = Field(description="a tag's key")
    value: str = Field(default="", description="a tag's value")


class Network(Setting):
    """One worker configuration; without a VPC it speaks of the default one, or with ``tag`` of those that bear it."""

    account: AccountId | None = Field(default=None, description="an account id of 12 digits in quotes")
    region: Text | None = Field(default=None, description="a Region")
    availability_zone: Text | None = Field(default=None, description="a zone's name or id")
    vpc_id: Text | None = Field(default=None, description="a VPC's id")
    vpc_name: Text | None = Field(default=None, description="the Name tag of one VPC")
    subnet_ids: tuple[Text, ...] = Field(default=(), description="a list of subnets' ids")
    subnet_names: tuple[Text, ...] = Field(default=(), description="a list of subnets' Name tags")
    security_group_ids: tuple[Text, ...] = Field(default=(), description="a list of security groups' ids")
    security_group_names: tuple[Text, ...] = Field(default=(), description="a list of security groups' names")
    tag: Tag | None = Field(default=None, description="a dictionary with key and value")
    public_address: bool = Field(default=False, description="true or false")
    preflight: bool = Field(default=True, description="true or false")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        fault = self._fault()
        if fault:
            raise ValueError(fault)
        return self

    def _fault(self) -> str:
        if self.tag is not None:
            both = [name for name in _OF_VPC if getattr(self, name)]
            return f"tag chooses VPC, subnets and groups, so {both[0]} cannot stand beside it" if both else ""
        missing = [name for name in ("account", "region") if getattr(self, name) is None]
        if missing:
            return f"{' and '.join(missing)} is missing; only an entry with a tag serves every account and Region"
        for kind in ("vpc", "subnet", "security_group"):
            plural = "" if kind == "vpc" else "s"
            if getattr(self, f"{kind}_id{plural}") and getattr(self, f"{kind}_name{plural}"):
                return f"{kind}_id{plural} and {kind}_name{plural} are two ways to say one thing"
        if (self.subnet_ids or self.subnet_names) and not (self.vpc_id or self.vpc_name):
            return "it names subnets, so vpc_id or vpc_name is needed too"
        return ""
