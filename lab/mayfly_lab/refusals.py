# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors that every service of AWS has, each in the service's own words. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """An error answer: HTTP status, code, message, and EBS direct's reason."""

    status: int
    code: str
    message: str
    reason: str | None = None


# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html, and each service's page CommonErrors.
_THROTTLED = {
    "ec2": Refusal(503, "RequestLimitExceeded", "Request limit exceeded."),
    "sts": Refusal(400, "Throttling", "Rate exceeded"),
    "iam": Refusal(400, "Throttling", "Rate exceeded"),
    "kms": Refusal(400, "ThrottlingException", "Rate exceeded"),
    "ssm": Refusal(400, "ThrottlingException", "Rate exceeded"),
    "servicequotas": Refusal(400, "TooManyRequestsException", "Rate exceeded"),
    "pricing": Refusal(400, "ThrottlingException", "Rate exceeded"),
    "s3": Refusal(503, "SlowDown", "Please reduce your request rate."),
    "ebs": Refusal(400, "ThrottlingException", "Rate exceeded."),
}
_RESOURCE_THROTTLED = Refusal(400, "RequestThrottledException", "Rate exceeded.", "RESOURCE_LEVEL_THROTTLE")
_TOKEN = "The security token included in the request is expired"  # noqa: S105  (AWS's words)
_EXPIRED = {
    "ec2": Refusal(400, "RequestExpired", "Request has expired."),
    "sts": Refusal(403, "ExpiredToken", _TOKEN),
    "iam": Refusal(403, "ExpiredToken", _TOKEN),
    "kms": Refusal(400, "ExpiredTokenException", _TOKEN),
    "ssm": Refusal(400, "ExpiredTokenException", _TOKEN),
    "servicequotas": Refusal(400, "ExpiredTokenException", _TOKEN),
    "pricing": Refusal(400, "ExpiredTokenException", _TOKEN),
    "s3": Refusal(400, "ExpiredToken", "The provided token has expired."),
    "ebs": Refusal(403, "ExpiredTokenException", _TOKEN),
}
_UNKNOWN_KEY = "The security token included in the request is invalid."
_UNKNOWN = {
    "ec2": Refusal(401, "AuthFailure", "AWS was not able to validate the provided access credentials"),
    "kms": Refusal(400, "UnrecognizedClientException", _UNKNOWN_KEY),
    "ssm": Refusal(400, "UnrecognizedClientException", _UNKNOWN_KEY),
    "servicequotas": Refusal(400, "UnrecognizedClientException", _UNKNOWN_KEY),
    "pricing": Refusal(400, "UnrecognizedClientException", _UNKNOWN_KEY),
    "ebs": Refusal(403, "UnrecognizedClientException", _UNKNOWN_KEY),
}
_FAILED = {
    "ec2": "InternalError",
    "kms": "KMSInternalException",
    "ssm": "InternalServerError",
    "servicequotas": "ServiceException",
    "pricing": "InternalErrorException",
    "s3": "InternalError",
    "ebs": "InternalServerException",
}
_BY_STATUS = {
    403: {"ec2": "UnauthorizedOperation", "s3": "AccessDenied", "sts": "AccessDenied", "iam": "AccessDenied"},
    503: {"ec2": "Unavailable", "s3": "SlowDown"},
}
_OTHER_BY_STATUS = {400: "InvalidRequest", 403: "AccessDeniedException", 503: "ServiceUnavailable"}
_STATUS = {
    **dict.fromkeys((*_FAILED.values(), "InternalFailure", "InsufficientInstanceCapacity"), 500),
    **dict.fromkeys(("RequestLimitExceeded", "ServiceUnavailable", "SlowDown", "Unavailable"), 503),
    **dict.fromkeys(("AccessDenied", "AccessDeniedException", "UnauthorizedOperation"), 403),
    **dict.fromkeys(("NoSuchBucket", "NoSuchKey", "NoSuchUpload", "ResourceNotFoundException"), 404),
}


def throttled(service: str, *, resource: bool = False) -> Refusal:
    """Too many requests: of the account's, or of the one ``resource``'s."""
    return _RESOURCE_THROTTLED if resource else _THROTTLED[service]


def expired(service: str) -> Refusal:
    """The session has ended."""
    return _EXPIRED[service]


def unknown_caller(service: str) -> Refusal:
    """An access key id that is nobody's."""
    return _UNKNOWN.get(service, Refusal(403, "InvalidClientTokenId", _UNKNOWN_KEY))


def failure(service: str, code: str | None, status: int | None, message: str | None, reason: str | None) -> Refusal:
    """An error of that code or status; what is None is what the service usually has with the other."""
    if code is None and status is not None and status != 500:
        code = _BY_STATUS.get(status, {}).get(service) or _OTHER_BY_STATUS.get(status, "InternalFailure")
    code = code or _FAILED.get(service, "InternalFailure")
    return Refusal(status or _STATUS.get(code, 400), code, message or "This was to fail.", reason)
