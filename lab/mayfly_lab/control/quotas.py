# SPDX-License-Identifier: GPL-3.0-or-later
"""Service quotas of EC2: how many vCPUs an account may run at once in a Region, and what a launch beyond that meets."""

from __future__ import annotations

import json
import re
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.servicequotas.exceptions import NoSuchResource
from moto.servicequotas.models import ServiceQuotasBackend
from moto.servicequotas.responses import ServiceQuotasResponse

from mayfly_lab.accounts import ACCOUNTS
from mayfly_lab.addresses import REGIONS
from mayfly_lab.control.state import LOCK, replace

DEFAULT_VCPUS = 256
_SERVICE = "ec2"
ON_DEMAND, SPOT = "L-1216C47A", "L-34B43A08"
_NAMES = {
    ON_DEMAND: "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
    SPOT: "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
}
_STANDARD = re.compile(r"(?:[acdhimrtz]|im|is)\d.*")
_COUNTED = ("pending", "running")
_values: dict[tuple[str, str, str], int] = {}  # by account, Region, code; what is not in it has the default


def install() -> None:
    """Put these functions into moto."""
    replace(ServiceQuotasBackend, get_service_quota=get_service_quota)
    ServiceQuotasResponse.list_service_quotas = list_service_quotas  # type: ignore[attr-defined]  # moto has none


def set_quota(code: str, value: int, account: str | None = None, region: str | None = None) -> None:
    """Change a quota, everywhere or in one account or Region; raises ValueError for one that there is not."""
    if code not in _NAMES:
        raise ValueError(f"there is no quota {code}: {', '.join(_NAMES)}")
    if account not in (None, *ACCOUNTS.values()) or region not in (None, *REGIONS):
        raise ValueError(f"the lab has no account {account} or Region {region}")
    if value < 0:
        raise ValueError("a quota is not negative")
    with LOCK:
        for each in ACCOUNTS.values():
            for name in REGIONS:
                if account in (None, each) and region in (None, name):
                    _values[each, name, code] = value


def vcpus(instance_type: str) -> int:
    """The vCPUs of a type; 0 for one that moto does not know."""
    return int(INSTANCE_TYPES.get(instance_type, {}).get("VCpuInfo", {}).get("DefaultVCpus", 0))


def check(backend: Any, instance_type: str, count: int, *, spot: bool) -> None:
    """Raises VcpuLimitExceeded, or MaxSpotInstanceCountExceeded, where a launch would go beyond the quota."""
    if not _STANDARD.fullmatch(instance_type):
        return  # of another bucket, which the lab does not count
    limit = _value(backend.account_id, backend.region_name, SPOT if spot else ON_DEMAND)
    used = sum(
        vcpus(each.instance_type)
        for each in backend.all_instances()
        if each.state in _COUNTED and (each.lifecycle == "spot") == spot and _STANDARD.fullmatch(each.instance_type)
    )
    if used + count * vcpus(instance_type) > limit:
        raise exceeded(limit, spot=spot)


def exceeded(limit: int | None, *, spot: bool) -> EC2ClientError:
    """What EC2 says to a launch beyond a quota."""
    if spot:
        return EC2ClientError("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
    of = f" of {limit}" if limit is not None else ""
    message = f"You have requested more vCPU capacity than your current vCPU limit{of} allows for the instance bucket "
    return EC2ClientError("VcpuLimitExceeded", message + "that the specified instance type belongs to.")


def get_service_quota(self: Any, service_code: str, quota_code: str) -> dict[str, Any]:
    """One quota of EC2's."""
    if service_code != _SERVICE or quota_code not in _NAMES:
        raise NoSuchResource
    return _shown(self.account_id, self.region_name, quota_code)


def list_service_quotas(self: Any) -> str:
    """EC2's quotas that the lab has."""
    asked = json.loads(self.body)
    if asked.get("ServiceCode") != _SERVICE:
        raise NoSuchResource
    codes = [code for code in _NAMES if asked.get("QuotaCode") in (None, code)]
    return json.dumps({"Quotas": [_shown(self.current_account, self.region, code) for code in codes]})


def _value(account: str, region: str, code: str) -> int:
    return _values.get((account, region, code), DEFAULT_VCPUS)


def _shown(account: str, region: str, code: str) -> dict[str, Any]:
    return {
        "ServiceCode": _SERVICE,
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": f"arn:aws:servicequotas:{region}:{account}:{_SERVICE}/{code}",
        "QuotaCode": code,
        "QuotaName": _NAMES[code],
        "Value": float(_value(account, region, code)),
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }
