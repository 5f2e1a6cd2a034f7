# SPDX-License-Identifier: GPL-3.0-or-later
"""Spot Instances: one-time requests made by RunInstances, their prices, and their interruption."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.models.instances import StateReason
from moto.ec2.models.spot_requests import SpotRequestBackend
from moto.ec2.responses.spot_instances import SpotInstances
from moto.ec2.utils import filter_dict_attribute_mapping, random_spot_request_id

from mayfly_lab import prices
from mayfly_lab.control import filters, launches, lifecycle
from mayfly_lab.control.state import LOCK, backend_of, replace

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html
_MESSAGES = {
    "fulfilled": "Your Spot request is fulfilled.",
    "marked-for-termination": "Your Spot Instance is marked for termination.",
    "instance-terminated-no-capacity": "Your Spot Instance was terminated because there is no Spot capacity available.",
    "instance-terminated-by-user": "Your Spot Instance was terminated by the user.",
    "request-canceled-and-instance-running": "Your Spot request was canceled, and its instance still runs.",
}
_INTERRUPTED = StateReason(
    "Server.SpotInstanceTermination: Spot instance termination", "Server.SpotInstanceTermination"
)
_PRODUCTS = ("Linux/UNIX", "Linux/UNIX (Amazon VPC)")
_SHOWN_PRICES = 1000


def install() -> None:
    """Put these functions into moto."""
    replace(SpotInstances, describe_spot_price_history=describe_spot_price_history)
    replace(SpotRequestBackend, cancel_spot_instance_requests=cancel_spot_instance_requests)
    filter_dict_attribute_mapping["instance-lifecycle"] = "lifecycle"
    filter_dict_attribute_mapping["spot-instance-request-id"] = "spot_instance_request_id"


class SpotRequest(TaggedEC2Resource):
    """A fulfilled one-time request; its state is that of its instance."""

    def __init__(self, backend: Any, instance: Any, price: float, tags: dict[str, str]) -> None:
        self.ec2_backend = backend
        self.id = self.spot_instance_request_id = random_spot_request_id()
        self.instance = instance
        self.spot_price = f"{price:.6f}"
        self.type = "one-time"
        self.instance_interruption_behavior = "terminate"
        self.product_description = _PRODUCTS[0]
        self.create_time = datetime.now(UTC)
        self.canceled = False
        self.add_tags(tags)

    @property
    def instance_id(self) -> str:
        return str(self.instance.id)

    @property
    def launched_availability_zone(self) -> str:
        return str(self.instance.availability_zone)

    @property
    def launch_specification(self) -> dict[str, Any]:
        instance = self.instance
        groups = [{"GroupId": group.id, "GroupName": group.name} for group in instance.security_groups]
        asked = {"ImageId": instance.image_id, "InstanceType": instance.instance_type, "SubnetId": instance.subnet_id}
        place = {"AvailabilityZone": self.launched_availability_zone}
        return {**asked, "Placement": place, "SecurityGroups": groups}

    @property
    def state(self) -> str:
        if self.instance.state_code in (lifecycle.SHUTTING_DOWN, lifecycle.TERMINATED):
            return "closed"
        return "cancelled" if self.canceled else "active"

    @property
    def status_code(self) -> str:
        if self.state == "closed":
            interrupted = self.instance.state_reason.code == _INTERRUPTED.code
            return "instance-terminated-no-capacity" if interrupted else "instance-terminated-by-user"
        if getattr(self.instance, "lab_interruption", None):
            return "marked-for-termination"
        return "request-canceled-and-instance-running" if self.canceled else "fulfilled"

    @property
    def status(self) -> dict[str, Any]:
        code = self.status_code
        return {"Code": code, "Message": _MESSAGES[code], "UpdateTime": datetime.now(UTC)}

    def get_filter_value(self, filter_name: str, method_name: str | None = None) -> Any:
        name = {"spot-instance-request-id": "id"}.get(filter_name, filter_name.replace("-", "_"))
        if name in ("id", "state", "status_code", "instance_id", "type", "launched_availability_zone"):
            return getattr(self, name)
        return super().get_filter_value(filter_name, method_name or "DescribeSpotInstanceRequests")


def check_options(options: dict[str, Any], instance_type: str, zone: str) -> float:
    """The price an hour that a request pays; raises what EC2 says to options it does not take, or to too low a price.

    A type that is not in the lab's table of prices has none: it costs what is offered.
    """
    if options.get("SpotInstanceType", "one-time") != "one-time":
        raise EC2ClientError("UnsupportedOperation", "The lab knows Spot requests of the type one-time alone.")
    if options.get("InstanceInterruptionBehavior", "terminate") != "terminate":
        message = "The instance interruption behavior of a one-time Spot request can only be terminate."
        raise EC2ClientError("InvalidParameterCombination", message)
    price, most = prices.spot(instance_type, zone) or 0.0, options.get("MaxPrice")
    if most is not None and float(most) < price:
        raise launches.price_too_low(most, price)
    return price


def note(backend: Any, instance: Any, price: float, tags: dict[str, str]) -> None:
    """Write down the request of an instance that was launched on the Spot market."""
    request = SpotRequest(backend, instance, price, tags)
    backend.spot_instance_requests[request.id] = request
    instance.lifecycle = "spot"
    instance.spot_instance_request_id = request.id


def interrupt(instance_id: str, notice: float) -> None:
    """Take a Spot Instance back: it can read so at once, and ends ``notice`` seconds later; raises ValueError."""
    with LOCK:
        try:
            _, instance = backend_of(instance_id)
        except KeyError:
            raise ValueError(f"there is no instance {instance_id}") from None
        if instance.lifecycle != "spot":
            raise ValueError(f"{instance_id} is not a Spot Instance")
        if instance.state_code not in (lifecycle.PENDING, lifecycle.RUNNING):
            raise ValueError(f"{instance_id} is {instance.state}")
        instance.lab_interruption = datetime.now(UTC) + timedelta(seconds=notice)
    lifecycle.end(instance, _INTERRUPTED, notice)


def cancel_spot_instance_requests(self: Any, request_ids: list[str]) -> list[Any]:
    """Cancel requests; their instances run on."""
    unknown = [each for each in request_ids if each not in self.spot_instance_requests]
    if unknown:
        message = f"The spot instance request ID '{unknown[0]}' does not exist"
        raise EC2ClientError("InvalidSpotInstanceRequestID.NotFound", message)
    requests = [self.spot_instance_requests[each] for each in request_ids]
    for request in requests:
        request.canceled = True
    return requests


def describe_spot_price_history(self: Any) -> ActionResult:
    """The present price of each type and Availability Zone, for the types in the lab's table."""
    asked = {key: list(values) for key, values in self._filters_from_querystring().items()}
    for name, parameter in (("instance-type", "InstanceTypes"), ("product-description", "ProductDescriptions")):
        if self._get_param(parameter, []):
            asked[name] = self._get_param(parameter)
    if self._get_param("AvailabilityZone"):
        asked["availability-zone"] = [self._get_param("AvailabilityZone")]
    history = []
    offered = self.ec2_backend.describe_instance_type_offerings("availability-zone")
    for offer in sorted(offered, key=lambda each: (each["InstanceType"], each["Location"])):
        kind, zone = offer["InstanceType"], offer["Location"]
        price = prices.spot(kind, zone)
        for product in _PRODUCTS if price is not None else ():
            values = {"instance-type": kind, "availability-zone": zone, "product-description": product}
            if _passes({**values, "spot-price": str(price)}, asked):
                history.append((kind, zone, product, price))
    after = int(self._get_param("NextToken") or 0)
    size = min(int(self._get_param("MaxResults") or _SHOWN_PRICES), _SHOWN_PRICES)
    more = str(after + size) if len(history) > after + size else ""
    since = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    shown = [
        {
            "InstanceType": kind,
            "AvailabilityZone": zone,
            "ProductDescription": product,
            "SpotPrice": f"{price:.6f}",
            "Timestamp": since,
        }
        for kind, zone, product, price in history[after : after + size]
    ]
    return ActionResult({"SpotPriceHistory": shown, "NextToken": more})


def _passes(values: dict[str, str], asked: dict[str, list[str]]) -> bool:
    try:
        return filters.matches(values, {}, asked)
    except KeyError as error:
        raise EC2ClientError("InvalidParameterValue", f"The filter {error} is invalid") from None
