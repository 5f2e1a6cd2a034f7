# SPDX-License-Identifier: GPL-3.0-or-later
"""The price list service: on-demand prices of EC2's Linux instances with shared tenancy, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPES

from mayfly_lab import prices
from mayfly_lab.addresses import REGIONS
from mayfly_lab.control import errors
from mayfly_lab.refusals import Refusal

_SERVICE = "AmazonEC2"
_LOCATIONS = {"us-east-1": "US East (N. Virginia)", "eu-central-1": "EU (Frankfurt)"}
_MAXIMUM_RESULTS = 100
# The codes that every on-demand offer and every price by the hour have.
_OFFER, _HOURLY = "JRTCKXETXF", "6YS6EN2CT7"


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The service as a WSGI application."""
    call = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    try:
        asked = json.loads(environ["wsgi.input"].read() or b"{}")
    except ValueError:
        asked, call = {}, ""
    if call == "GetProducts":
        answer = json.dumps(products(asked)).encode()
        head = [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(answer)))]
        start_response("200 OK", head)
        return [answer]
    refusal = Refusal(400, "UnsupportedOperation", "The lab's price list answers GetProducts alone.")
    line, headers, body = errors.written("pricing", refusal)
    start_response(line, headers)
    return [body]


def products(asked: dict[str, Any]) -> dict[str, Any]:
    """The answer to GetProducts: products whose attributes are all that its filters say."""
    wanted = {each["Field"]: each["Value"] for each in asked.get("Filters", [])}
    found = list(_found(wanted)) if asked.get("ServiceCode") == _SERVICE else []
    after = int(asked.get("NextToken") or 0)
    size = min(int(asked.get("MaxResults") or _MAXIMUM_RESULTS), _MAXIMUM_RESULTS)
    answer = {"FormatVersion": "aws_v1", "PriceList": [json.dumps(each) for each in found[after : after + size]]}
    return {**answer, "NextToken": str(after + size)} if len(found) > after + size else answer


def _found(wanted: dict[str, str]) -> Iterator[dict[str, Any]]:
    for kind in [wanted["instanceType"]] if "instanceType" in wanted else sorted(INSTANCE_TYPES):
        for region in REGIONS:
            price = prices.on_demand(kind, region)
            if price is None or kind not in INSTANCE_TYPES:
                continue
            attributes = _attributes(kind, region)
            if all(attributes.get(field) == value for field, value in wanted.items()):
                yield _product(attributes, price)


def _attributes(kind: str, region: str) -> dict[str, str]:
    return {
        "servicecode": _SERVICE,
        "servicename": "Amazon Elastic Compute Cloud",
        "location": _LOCATIONS[region],
        "locationType": "AWS Region",
        "regionCode": region,
        "instanceType": kind,
        "vcpu": str(INSTANCE_TYPES[kind]["VCpuInfo"]["DefaultVCpus"]),
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "licenseModel": "No License required",
        "capacitystatus": "Used",
        "marketoption": "OnDemand",
        "operation": "RunInstances",
        "usagetype": f"BoxUsage:{kind}",
    }


def _product(attributes: dict[str, str], price: float) -> dict[str, Any]:
    sku = hashlib.sha256(repr(attributes).encode()).hexdigest()[:16].upper()
    hourly = {
        "rateCode": f"{sku}.{_OFFER}.{_HOURLY}",
        "unit": "Hrs",
        "beginRange": "0",
        "endRange": "Inf",
        "description": f"${price} per On Demand Linux {attributes['instanceType']} Instance Hour",
        "pricePerUnit": {"USD": f"{price:.10f}"},
        "appliesTo": [],
    }
    offer = {
        "sku": sku,
        "offerTermCode": _OFFER,
        "priceDimensions": {hourly["rateCode"]: hourly},
        "termAttributes": {},
    }
    return {
        "product": {"productFamily": "Compute Instance", "attributes": attributes, "sku": sku},
        "serviceCode": _SERVICE,
        "terms": {"OnDemand": {f"{sku}.{_OFFER}": offer}},
    }
