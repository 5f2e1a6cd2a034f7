# SPDX-License-Identifier: GPL-3.0-or-later
"""What is compared with what; how large the data is and how often it is read is the caller's choice."""

from __future__ import annotations

from tests.benchmarks.aims import Aims
from tests.benchmarks.data import Source
from tests.benchmarks.programs import best
from tests.labs import Lab

_CONCURRENCY = 16
_LIGHT_CONCURRENCY = 4  # enough to keep the service busy
_BLOCKS_PER_SECOND = 600
_PEAK_MIB = 256


def ebs_direct(lab: Lab, source: Source, aims: Aims, repeats: int) -> None:
    """The lab's EBS direct service to one client, which shares the processors with it.

    The agent's client hashes what it reads and is measured as such, as is boto3's; what the service itself can do is
    told by a client that does not. The service hashes a block once: the best of several runs finds that done.
    """
    ours = best(lab, "direct", source, _CONCURRENCY, repeats)
    alone = best(lab, "light", source, _LIGHT_CONCURRENCY, repeats)
    other = best(lab, "plain", source, _CONCURRENCY, repeats)
    of = f"best of {repeats}"
    more = f"{ours.mib_per_second:.0f} MiB/s, {ours.cpu_seconds_per_gib:.2f} CPU s/GiB, {ours.peak_mib:.0f} MiB, {of}"
    aims.at_least("ebs_direct", ours.blocks_per_second, _BLOCKS_PER_SECOND, "blocks/s", more)
    more = (
        f"{alone.mib_per_second:.0f} MiB/s, by a client that does not hash, {alone.cpu_seconds_per_gib:.2f} CPU s/GiB"
    )
    aims.at_least("ebs_direct service", alone.blocks_per_second, _BLOCKS_PER_SECOND, "blocks/s", f"{more}, {of}")
    text = f"{other.blocks_per_second:.4g} blocks/s, {other.cpu_seconds_per_gib:.2f} CPU s/GiB, "
    text += f"{other.peak_mib:.0f} MiB, {of}; the agent's client is {other.seconds / ours.seconds:.2f} times as fast"
    aims.note("ebs_direct by boto3", text)


def agent_backup(lab: Lab, source: Source, aims: Aims, repeats: int) -> None:
    """The agent's backup from EBS direct into S3, and a plain download of the same snapshot beside it."""
    ours = best(lab, "backup", source, _CONCURRENCY, repeats)
    other = best(lab, "download", source, _CONCURRENCY, repeats)
    of = f"best of {repeats}"
    more = f"{ours.mib_per_second:.4g} MiB/s, {ours.cpu_seconds_per_gib:.2f} CPU s/GiB, {of}"
    aims.below("agent_backup", ours.peak_mib, _PEAK_MIB, "MiB of memory", more)
    text = f"{other.mib_per_second:.4g} MiB/s, {other.cpu_seconds_per_gib:.2f} CPU s/GiB, {other.peak_mib:.0f} MiB, "
    text += f"{of}; the backup is {other.seconds / ours.seconds:.2f} times as fast"
    aims.note("agent_backup beside a download by boto3", text)
