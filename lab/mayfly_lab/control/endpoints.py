# SPDX-License-Identifier: GPL-3.0-or-later
"""VPC endpoints whose interfaces lie in their subnets and groups, and AWS's own prefix lists of the lab's addresses."""

from __future__ import annotations

from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.managed_prefixes import ManagedPrefixListBackend
from moto.ec2.models.vpcs import VPCBackend, VPCEndPoint
from moto.ec2.responses.vpcs import VPCs

from mayfly_lab.addresses import REGIONS, service_address
from mayfly_lab.control.attributes import is_true
from mayfly_lab.control.state import replace

_GATEWAYS = ("s3", "dynamodb")
_create_vpc_endpoint = VPCBackend.create_vpc_endpoint
_delete_vpc_endpoints = VPCBackend.delete_vpc_endpoints
_modify = VPCEndPoint.modify
_respond_to_modify = VPCs.modify_vpc_endpoint
_create_prefix_list = ManagedPrefixListBackend._create_aws_managed_prefix_list
_LISTED = {f"com.amazonaws.{region}.s3": service_address("s3", region) for region in REGIONS}


def install() -> None:
    """Put these functions into moto."""
    replace(VPCBackend, create_vpc_endpoint=create_vpc_endpoint, delete_vpc_endpoints=delete_vpc_endpoints)
    replace(VPCEndPoint, modify=modify)
    replace(VPCs, modify_vpc_endpoint=respond_to_modify)
    replace(ManagedPrefixListBackend, _create_aws_managed_prefix_list=_create_aws_managed_prefix_list)


def create_vpc_endpoint(self: Any, vpc_id: str, service_name: str, endpoint_type: str | None, **arguments: Any) -> Any:
    """A gateway endpoint, or an interface one with an interface in each of its subnets."""
    kind = (endpoint_type or "Gateway").capitalize()
    if kind == "Gateway":
        if service_name.rpartition(".")[2] not in _GATEWAYS:
            message = f"The Vpc Endpoint Service '{service_name}' does not support gateway endpoints."
            raise EC2ClientError("InvalidParameter", message)
        arguments["private_dns_enabled"] = False
        return _create_vpc_endpoint(self, vpc_id, service_name, kind, **arguments)
    if arguments.get("private_dns_enabled"):
        _check_private_dns(self, vpc_id, service_name)
    subnet_ids = arguments.pop("subnet_ids", None) or []
    groups = arguments.pop("security_group_ids", None) or [self.get_default_security_group(vpc_id).id]
    endpoint = _create_vpc_endpoint(
        self, vpc_id, service_name, kind, security_group_ids=groups, subnet_ids=[], **arguments
    )
    endpoint.subnet_ids = list(subnet_ids)
    _lay_interfaces(self, endpoint)
    return endpoint


def delete_vpc_endpoints(self: Any, vpce_ids: list[str] | None = None) -> None:
    """As moto does, and the addresses of interfaces are free again."""
    for endpoint in (self.vpc_end_points.get(each) for each in vpce_ids or []):
        for interface in _interfaces(self, endpoint) if endpoint else []:
            interface.subnet.del_subnet_ip(interface.private_ip_address)
    _delete_vpc_endpoints(self, vpce_ids)


def modify(self: Any, *changes: Any) -> None:
    """As moto does, and the interfaces follow the endpoint's subnets and groups."""
    _modify(self, *changes)
    if self.vpc_endpoint_type == "Interface":
        _lay_interfaces(self.ec2_backend, self)


def respond_to_modify(self: Any) -> Any:
    """ModifyVpcEndpoint, with the private DNS, which moto leaves out."""
    answer = _respond_to_modify(self)
    wanted = self._get_param("PrivateDnsEnabled")
    if wanted is not None:
        endpoint = self.ec2_backend.vpc_end_points[self._get_param("VpcEndpointId")]
        if is_true(wanted) and not endpoint.private_dns_enabled:
            _check_private_dns(self.ec2_backend, endpoint.vpc_id, endpoint.service_name)
        endpoint.private_dns_enabled = is_true(wanted)
    return answer


def _check_private_dns(backend: Any, vpc_id: str, service_name: str) -> None:
    """Raises InvalidParameter where a VPC cannot give a service's own name to one more endpoint."""
    vpc = backend.get_vpc(vpc_id)
    if not (is_true(vpc.enable_dns_support) and is_true(vpc.enable_dns_hostnames)):
        message = "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to "
        raise EC2ClientError("InvalidParameter", f"{message}true for {vpc_id}")
    for other in backend.vpc_end_points.values():
        named = other.vpc_endpoint_type == "Interface" and other.private_dns_enabled and other.state == "available"
        if named and (other.vpc_id, other.service_name) == (vpc_id, service_name):
            message = "private-dns-enabled cannot be set because there is already a conflicting DNS domain for "
            raise EC2ClientError("InvalidParameter", f"{message}{service_name} in the VPC {vpc_id}")


def _interfaces(backend: Any, endpoint: Any) -> list[Any]:
    return [backend.enis[each] for each in endpoint.network_interface_ids if each in backend.enis]


def _lay_interfaces(backend: Any, endpoint: Any) -> None:
    """One interface in each subnet of an endpoint, with an address of it, in the endpoint's groups."""
    known = {interface.subnet.id: interface for interface in _interfaces(backend, endpoint)}
    for subnet_id in known.keys() - set(endpoint.subnet_ids):
        gone = known.pop(subnet_id)
        gone.subnet.del_subnet_ip(gone.private_ip_address)
        del backend.enis[gone.id]
    for subnet_id in endpoint.subnet_ids:
        if subnet_id not in known:
            subnet = backend.get_subnet(subnet_id)
            made = backend.create_network_interface(subnet, subnet.get_available_subnet_ip(endpoint))
            made.description, made.interface_type = f"VPC Endpoint Interface {endpoint.id}", "vpc_endpoint"
            made.status = "in-use"
            known[subnet_id] = made
    for interface in known.values():
        interface._group_set = [backend.get_security_group_from_id(each) for each in endpoint.security_group_ids]
    endpoint.network_interface_ids = [interface.id for interface in known.values()]


def _create_aws_managed_prefix_list(self: Any, name: str, address_family: str, entries: list[dict[str, str]]) -> None:
    """As moto does, but the list of a service that the lab has holds the service's address in the lab."""
    if name in _LISTED:
        entries = [{"Cidr": f"{_LISTED[name]}/32", "Description": "default"}]
    _create_prefix_list(self, name, address_family, entries)
