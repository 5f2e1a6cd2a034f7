# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes of instances that decide how they end: termination protection, and what a power-off inside does."""

from __future__ import annotations

from typing import Any

from moto.core.responses import EmptyResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import Instance, InstanceBackend
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.utils import filter_dict_attribute_mapping

from mayfly_lab.control import lifecycle
from mayfly_lab.control.state import replace

_BEHAVIOURS = ("stop", "terminate")
_SWITCHES = ("disable_api_termination", "disable_api_stop", "source_dest_check", "ebs_optimized")
_modify_instance_attribute = InstanceBackend.modify_instance_attribute
_modify_instance_security_groups = InstanceBackend.modify_instance_security_groups
_respond_to_modify = InstanceResponse.modify_instance_attribute


def install() -> None:
    """Put these functions into moto."""
    replace(
        InstanceBackend,
        modify_instance_attribute=modify_instance_attribute,
        modify_instance_security_groups=modify_instance_security_groups,
        terminate_instances=terminate_instances,
    )
    replace(InstanceResponse, modify_instance_attribute=respond_to_modify)
    replace(Instance, network_interfaces=property(network_interfaces))
    filter_dict_attribute_mapping["client-token"] = "client_token"


def modify_instance_attribute(self: Any, instance_id: str, key: str, value: Any) -> Any:
    """As moto does, but a switch is a truth value in whatever form it was sent."""
    return _modify_instance_attribute(self, instance_id, key, is_true(value) if key in _SWITCHES else value)


def modify_instance_security_groups(self: Any, instance_id: str, new_group_id_list: list[str]) -> Any:
    """As moto does, but the network interface leaves its former groups."""
    instance = _modify_instance_security_groups(self, instance_id, new_group_id_list)
    instance.nics[0]._group_set = list(instance.security_groups)
    return instance


def respond_to_modify(self: Any) -> Any:
    """ModifyInstanceAttribute, with the shutdown behaviour, which moto takes for a change of security groups."""
    behaviour = self._get_param("InstanceInitiatedShutdownBehavior.Value")
    if self._get_param("Attribute") == "instanceInitiatedShutdownBehavior":
        behaviour = self._get_param("Value")
    if behaviour is None:
        return _respond_to_modify(self)
    if behaviour not in _BEHAVIOURS:
        raise EC2ClientError("InvalidParameterValue", f"Value ({behaviour}) for parameter value is invalid.")
    self.error_on_dryrun()
    self.ec2_backend.get_instance(self._get_param("InstanceId")).instance_initiated_shutdown_behavior = behaviour
    return EmptyResult()


def terminate_instances(self: Any, instance_ids: list[str]) -> list[tuple[Any, Any]]:
    """Terminate; a protected instance is refused, and with it those of its Availability Zone, but not the others.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TerminateInstances.html
    """
    if not instance_ids:
        raise EC2ClientError("InvalidParameterCombination", "No instances specified")
    instances = self.get_multi_instances_by_id(list(dict.fromkeys(instance_ids)))
    protected = [each for each in instances if each.disable_api_termination and each.state_code != lifecycle.TERMINATED]
    kept = {each.availability_zone for each in protected}
    ended = [(each, each.terminate()) for each in instances if each.availability_zone not in kept]
    if protected:
        raise EC2ClientError(
            "OperationNotPermitted",
            f"The instance '{protected[0].id}' may not be terminated. Modify its 'disableApiTermination' instance "
            "attribute and try again.",
        )
    return ended


def network_interfaces(self: Any) -> list[Any]:
    """Those of an instance; a terminated one has none."""
    found: list[Any] = [] if self.state_code == lifecycle.TERMINATED else list(self.nics.values())
    return found


def is_true(value: Any) -> bool:
    """A truth value of a request, as moto's parsers leave it."""
    return str(value).lower() == "true"
