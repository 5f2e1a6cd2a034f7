# SPDX-License-Identifier: GPL-3.0-or-later
"""DescribeRegions: the lab has two, moto knows all of AWS's."""

from __future__ import annotations

from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.responses.availability_zones_and_regions import AvailabilityZonesAndRegions

from mayfly_lab.addresses import REGIONS
from mayfly_lab.control import filters
from mayfly_lab.control.state import replace


def install() -> None:
    """Put this function into moto."""
    replace(AvailabilityZonesAndRegions, describe_regions=describe_regions)


def describe_regions(self: Any) -> ActionResult:
    """The lab's Regions, by name and filter."""
    self.error_on_dryrun()
    wanted = self._get_param("RegionNames", [])
    unknown = [name for name in wanted if name not in REGIONS]
    if unknown:
        raise EC2ClientError("InvalidParameterValue", f"Invalid region provided: {', '.join(unknown)}")
    found = []
    for region in self.ec2_backend.describe_regions(list(wanted or REGIONS)):
        values = {"region-name": region.name, "endpoint": region.endpoint, "opt-in-status": region.opt_in_status}
        try:
            if filters.matches(values, {}, self._filters_from_querystring()):
                found.append(region)
        except KeyError as error:
            raise EC2ClientError("InvalidParameterValue", f"The filter {error} is invalid") from None
    return ActionResult({"Regions": found})
