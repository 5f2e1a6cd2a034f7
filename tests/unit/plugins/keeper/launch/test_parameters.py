# SPDX-License-Identifier: GPL-3.0-or-later
"""What RunInstances is asked: the client token, the tags, and parameters that the API's own model takes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import botocore.session
import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import launch
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.place import Candidate
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.keeper.fakes import CANDIDATE

RUN = "20261124T013000Z-a1b2c3"
RESOURCE = {"account": "444455556666", "region": "eu-central-1", "kind": "ec2", "id": "i-0123456789abcdef0"}
TAGS = {"Name": "mayfly worker ec2_backup", "mayfly:run": RUN, "mayfly:temporary": "true"}

texts = st.text(max_size=80)
resources = st.fixed_dictionaries({part: st.text(max_size=30) for part in ("account", "region", "kind", "id")})
launches = st.tuples(texts, resources, st.integers(1, 999), st.integers(0, 9999))


class TestTheClientToken:
    @given(launches)
    def test_is_what_ec2_takes(self, each: tuple[Any, ...]) -> None:
        token = launch.client_token(*each)
        assert 1 <= len(token) <= 64
        assert re.fullmatch("[!-~]+", token)
        assert token == launch.client_token(*each)

    @given(launches, launches)
    def test_names_one_launch(self, one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
        assert (launch.client_token(*one) == launch.client_token(*other)) == (one == other)

    @pytest.mark.parametrize(
        "other",
        [
            ("20261124T013000Z-a1b2c4", RESOURCE, 1, 0),
            (RUN, {**RESOURCE, "account": "111122223333"}, 1, 0),
            (RUN, {**RESOURCE, "region": "eu-central-2"}, 1, 0),
            (RUN, {**RESOURCE, "kind": "rds"}, 1, 0),
            (RUN, {**RESOURCE, "id": "i-0123456789abcdef1"}, 1, 0),
            (RUN, RESOURCE, 2, 0),
            (RUN, RESOURCE, 1, 1),
        ],
    )
    def test_differs_for_each_part(self, other: tuple[Any, ...]) -> None:
        assert launch.client_token(*other) != launch.client_token(RUN, RESOURCE, 1, 0)

    def test_tells_two_runs_with_long_names_apart(self) -> None:
        name = "nightly-backup-of-all-production-accounts-"
        assert launch.client_token(f"{name}1", RESOURCE, 1, 0) != launch.client_token(f"{name}2", RESOURCE, 1, 0)

    def test_tells_attempt_and_candidate_apart(self) -> None:
        assert launch.client_token(RUN, RESOURCE, 1, 11) != launch.client_token(RUN, RESOURCE, 11, 1)

    def test_does_not_depend_on_the_resources_name_for_people(self) -> None:
        named = {**RESOURCE, "name": "web-1"}
        assert launch.client_token(RUN, named, 1, 0) == launch.client_token(RUN, RESOURCE, 1, 0)


def asked(candidate: Candidate = CANDIDATE, user_data: str = "#!/bin/sh\n", **tags: str) -> dict[str, Any]:
    """The parameters for a candidate."""
    return launch.request(candidate, ["sg-0123456789abcdef0"], user_data, {**TAGS, **tags}, "token")


def test_the_parameters_fit_the_apis_own_model() -> None:
    shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    parameters = asked()
    report = ParamValidator().validate(parameters, shape)
    assert not report.has_errors(), report.generate_report()
    # The validator knows unknown names, so it sees what it should.
    assert ParamValidator().validate({**parameters, "Subnet": "x"}, shape).has_errors()


def test_a_worker_ends_with_its_power_and_takes_its_disk_along() -> None:
    parameters = asked()
    assert (parameters["MinCount"], parameters["MaxCount"]) == (1, 1)
    assert parameters["ClientToken"] == "token"
    assert parameters["InstanceInitiatedShutdownBehavior"] == "terminate"
    [disk] = parameters["BlockDeviceMappings"]
    assert disk["DeviceName"] == "/dev/xvda"
    assert disk["Ebs"]["DeleteOnTermination"] is True
    assert disk["Ebs"]["Encrypted"] is True
    assert disk["Ebs"]["VolumeType"] == "gp3"
    [interface] = parameters["NetworkInterfaces"]
    assert interface["DeleteOnTermination"] is True
    assert interface["DeviceIndex"] == 0


def test_metadata_asks_for_a_token_and_goes_one_hop_far() -> None:
    options = asked()["MetadataOptions"]
    assert options == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"}


@pytest.mark.parametrize("public", [True, False])
def test_the_public_address_is_said_either_way(public: bool) -> None:
    """A subnet that assigns addresses by itself gives one to whoever does not say no."""
    [interface] = asked(replace(CANDIDATE, public_address=public))["NetworkInterfaces"]
    assert interface["AssociatePublicIpAddress"] is public
    assert interface["Groups"] == ["sg-0123456789abcdef0"]
    assert interface["SubnetId"] == CANDIDATE.subnet_id


def test_a_worker_has_no_instance_profile() -> None:
    assert "IamInstanceProfile" not in asked()


def test_the_same_tags_stand_on_everything_from_the_first_moment() -> None:
    specifications = asked()["TagSpecifications"]
    assert {each["ResourceType"] for each in specifications} == {"instance", "volume", "network-interface"}
    for each in specifications:
        assert {tag["Key"]: tag["Value"] for tag in each["Tags"]} == TAGS


def test_the_order_of_tags_makes_no_other_request() -> None:
    """A repeated launch must be the same request, or AWS answers IdempotentParameterMismatch."""
    backwards = dict(reversed(TAGS.items()))
    assert repr(launch.request(CANDIDATE, ["sg-1"], "x", backwards, "t")) == repr(
        launch.request(CANDIDATE, ["sg-1"], "x", TAGS, "t")
    )


@pytest.mark.parametrize("text", ["x" * 16384, "ü" * 8192, ""])
def test_user_data_of_16_kib_is_taken(text: str) -> None:
    assert asked(user_data=text)["UserData"] == text


@pytest.mark.parametrize("text", ["x" * 16385, "ü" * 8193])
def test_longer_user_data_is_refused(text: str) -> None:
    with pytest.raises(KeeperError) as caught:
        asked(user_data=text)
    assert caught.value.code == "UserDataTooLong"
    assert str(len(text.encode())) in caught.value.message
    assert "worker_user_data_template" in caught.value.remedy


def test_a_spot_instance_is_asked_for_once_and_ends_when_it_is_taken_back() -> None:
    parameters = asked(replace(CANDIDATE, market="spot"))
    options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
    assert parameters["InstanceMarketOptions"] == {"MarketType": "spot", "SpotOptions": options}
    kinds = [each["ResourceType"] for each in parameters["TagSpecifications"]]
    assert kinds == ["instance", "volume", "network-interface", "spot-instances-request"]
    assert "InstanceMarketOptions" not in asked()
