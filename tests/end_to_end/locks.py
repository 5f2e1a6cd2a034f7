# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.end_to_end.locks BUCKET [--lift]``: all versions in a bucket and what locks them, as JSON.

Prints {key: [mode, until]}, null for what is not locked. With --lift, who may bypass mode governance ends every lock.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3


def main(bucket: str, *, lift: bool) -> dict[str, Any]:
    """See above."""
    client, found = boto3.client("s3"), {}
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for each in page.get("Versions", ()):
            named = {"Bucket": bucket, "Key": each["Key"], "VersionId": each["VersionId"]}
            head = client.head_object(**named)
            mode = head.get("ObjectLockMode")
            found[each["Key"]] = mode and [mode, head["ObjectLockRetainUntilDate"].isoformat()]
            if lift and mode:
                soon = {"Mode": mode, "RetainUntilDate": datetime.now(UTC) + timedelta(seconds=1)}
                client.put_object_retention(Retention=soon, BypassGovernanceRetention=True, **named)
    time.sleep(1 if lift else 0)
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], lift="--lift" in sys.argv)))
