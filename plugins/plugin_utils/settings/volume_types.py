# SPDX-License-Identifier: GPL-3.0-or-later
"""``mayfly_restore_volume_types``: of which type restored volumes are, by device."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

#: Stands for all devices without a type of their own.
OTHERS = "others"
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
VolumeType = Annotated[
    Literal["gp2", "gp3", "io1", "io2", "sc1", "st1", "standard"],
    Field(description="gp2, gp3, io1, io2, sc1, st1 or standard"),
]
VolumeTypes = dict[str, VolumeType]
