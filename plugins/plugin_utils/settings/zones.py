# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of time zones."""

from __future__ import annotations

from zoneinfo import ZoneInfo


def time_zone(name: str) -> str:
    """The name of a zone that the control node knows; raises ValueError."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError) as error:  # of a folder, or of a name that leaves the zones' own
        raise ValueError(f"{name!r} is no time zone that the control node knows") from error
    except KeyError as error:
        raise ValueError(f"{name!r} is no time zone that the control node knows, as UTC or Europe/Berlin") from error
    return name
