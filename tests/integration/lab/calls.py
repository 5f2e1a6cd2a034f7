# SPDX-License-Identifier: GPL-3.0-or-later
"""boto3 inside a lab, in one process for many calls: the command line takes a second for each."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any

from tests.labs import ROOT, Lab


@dataclass(eq=False)
class Refused(Exception):
    """What a call ended with: AWS's code (or the name of botocore's own error), HTTP status, message, reason."""

    code: str
    status: int = 0
    message: str = ""
    reason: str | None = None

    def __str__(self) -> str:
        return f"{self.code} {self.status}: {self.message}"


class Calls:
    """Calls to AWS, each tried once."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        command = lab.words("exec", "--", sys.executable, "-m", "tests.integration.lab.calls")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=lab.variables()
        )

    def __enter__(self) -> Calls:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=30)

    def __call__(self, service: str, call: str, **options: Any) -> Any:
        """The answer of ``call`` (as ``describe_vpcs``); options are those of `send`."""
        self.send(service, call, **options)
        return self.receive()

    def send(
        self,
        service: str,
        call: str,
        *,
        profile: str = "backup",
        region: str = "us-east-1",
        keys: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> None:
        """Begin a call; ``keys``: credentials as AssumeRole gives them."""
        place = {"profile_name": profile, "region_name": region}
        request = {"service": service, "call": call, "place": place, "keys": keys, "arguments": arguments}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request, default=_packed) + "\n")
        self._process.stdin.flush()

    def receive(self) -> Any:
        """The answer of the call that was begun; raises Refused."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"the process that calls has ended: {self._process.poll()}"
        answer = json.loads(line, object_hook=_unpacked)
        if "refused" in answer:
            raise Refused(**answer["refused"])
        return answer["answer"]


def _packed(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return value.isoformat()
    return {"$bytes": base64.b64encode(value.read()).decode()}


def _unpacked(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["$bytes"]) if value.keys() == {"$bytes"} else value


def main() -> None:
    """Answer one call a line until the input ends."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
    sessions: dict[str, Any] = {}
    clients: dict[str, Any] = {}
    for line in sys.stdin:
        request = json.loads(line, object_hook=_unpacked)
        place, keys = json.dumps(request["place"]), request["keys"] or {}
        name = json.dumps([place, keys, request["service"]])
        if name not in clients:
            session = sessions.setdefault(place, boto3.Session(**request["place"]))
            given = {
                parameter: keys[key]
                for parameter, key in (
                    ("aws_access_key_id", "AccessKeyId"),
                    ("aws_secret_access_key", "SecretAccessKey"),
                    ("aws_session_token", "SessionToken"),
                )
                if keys
            }
            clients[name] = session.client(request["service"], config=config, **given)
        try:
            answer = {"answer": getattr(clients[name], request["call"])(**request["arguments"])}
        except ClientError as error:
            found = error.response
            refused = {
                "code": found["Error"]["Code"],
                "status": found["ResponseMetadata"]["HTTPStatusCode"],
                "message": found["Error"].get("Message", ""),
                "reason": found.get("Reason"),
            }
            answer = {"refused": refused}
        except BotoCoreError as error:
            answer = {"refused": {"code": type(error).__name__, "message": str(error)}}
        print(json.dumps(answer, default=_packed), flush=True)


if __name__ == "__main__":
    main()
