# SPDX-License-Identifier: GPL-3.0-or-later
"""What S3 says of objects that are not there, or too short."""

from __future__ import annotations

import pytest
from mayfly_agent.errors import AgentError
from mayfly_agent.objects import ObjectNotFound
from mayfly_agent.s3 import S3Objects

from tests.unit.agent.hostile import Hostile, Reply, s3_error


class TestWhatIsNotThere:
    """Where not all of a bucket may be listed, S3 answers 403 to a request for what is not there."""

    REFUSED = s3_error(403, "AccessDenied")

    def listed(self, *keys: str) -> Reply:
        about = "<LastModified>2026-11-24T01:30:00.000Z</LastModified><ETag>tag</ETag><Size>1</Size>"
        each = "".join(f"<Contents><Key>prefix/{key}</Key>{about}</Contents>" for key in keys)
        return Reply(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{each}</ListBucketResult>".encode())

    def test_is_found_missing_by_the_list(self, hostile: Hostile, s3: S3Objects) -> None:
        hostile.replies(self.REFUSED, self.listed("key-of-another"), self.REFUSED, self.listed())
        with pytest.raises(ObjectNotFound):
            s3.get("key")
        with pytest.raises(ObjectNotFound):
            s3.get_range("key", 0, 10)

    @pytest.mark.parametrize("allowed", [True, False])
    def test_but_what_is_there_or_may_be_is_refused(self, hostile: Hostile, s3: S3Objects, allowed: bool) -> None:
        hostile.replies(self.REFUSED, self.listed("key") if allowed else self.REFUSED)
        with pytest.raises(AgentError) as raised:
            s3.get("key")
        assert raised.value.code == "AccessDenied"

    def test_an_object_that_ends_before_a_range_is_damaged(self, hostile: Hostile, s3: S3Objects) -> None:
        hostile.replies(s3_error(416, "InvalidRange"))
        with pytest.raises(AgentError, match="has ended before byte 30") as raised:
            s3.get_range("key", 20, 10)
        assert raised.value.code == "ObjectDamaged"
