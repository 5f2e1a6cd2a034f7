# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove what has outlived its run, in every account and Region; one failure does not stop the rest."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from ... import reaping
from .. import aws, start, things, unfinished
from ..context import Context
from ..errors import KeeperError
from ..policies import partition_of
from ..things import Thing
from ..translation import as_keeper_error
from . import operation

log = logging.getLogger(__name__)

_SWEEP_SECONDS = 300.0
# What a run may have given to the user a moment before it ended, and how late EC2 may still show its old tags.
_HANDED_OVER = ("image", "volume", "snapshot")
_AGAIN_SECONDS = 5.0
_PLACES_AT_ONCE = 16
_PARTITION_REGIONS = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
_UPLOAD = "multipart-upload"
_EXCHANGE = "exchange-of-volumes"
_SEE_ACCOUNTS = "group_vars/all/accounts.yml says what mayfly_accounts holds."
_SEE_REPOSITORIES = "group_vars/all/repositories.yml says what mayfly_repository holds."


@operation("reaper.sweep")
def sweep(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed, reaped: [{kind, id, account, region, reason}], kept, failed: [{account, region, …, error}]}.

    Raises KeeperError BadAccounts when the settings name no place to look at: that is no clean sweep.
    """
    rule = reaping.Rule(
        deployment=context.settings.deployment,
        grace=timedelta(seconds=arguments["grace"]),
        run=arguments.get("run") or None,
    )
    regions = list(arguments.get("regions") or ())
    failed: list[dict[str, Any]] = []
    with context.report.stage("Reaping"):
        places = list(_places(context, regions, failed))
        if not places and not failed:
            raise KeeperError("BadAccounts", "mayfly_accounts names no account to look into.", _SEE_ACCOUNTS)
        with ThreadPoolExecutor(_PLACES_AT_ONCE, thread_name_prefix="reap") as pool:
            # First: the volumes that had taken their place are found loose then.
            undone = list(chain.from_iterable(pool.map(lambda place: _undo(context, place, rule, failed), places)))
            looked = list(pool.map(lambda place: _look(context, place, rule, failed), places))
        doomed = {thing: verdict for each in looked for thing, verdict in each if verdict.remove}
        kept = sum(not verdict.remove for each in looked for _, verdict in each)
        if not context.check:
            gone = _remove(context, doomed, rule, failed)
            doomed = {thing: verdict for thing, verdict in doomed.items() if thing in gone}
        # Instances cost most: nothing about buckets is asked before they are ending.
        uploads = [] if rule.run else _uploads(context, arguments.get("repositories") or (), rule, failed)
        if not context.check:
            uploads = [upload for upload in uploads if _abort(context, upload, failed)]
        reaped = undone + [_told(thing, verdict) for thing, verdict in doomed.items()]
        reaped += [{name: upload[name] for name in ("kind", "id", "account", "region", "reason")} for upload in uploads]
    if rule.run and not context.check:
        start.forget(rule.run)
    context.report.set(reaped=reaped, kept=kept, failed=failed)
    return {"changed": bool(reaped), "reaped": reaped, "kept": kept, "failed": failed}


def _places(context: Context, regions: list[str], failed: list[dict[str, Any]]) -> Iterable[tuple[str, str]]:
    """Every account of the settings in each of the Regions, by default all that the account has switched on."""
    for account in context.run.clients.accounts():
        if regions:
            yield from ((account.id, region) for region in regions)
            continue
        partition = partition_of(account.role_arn or account.worker_role_arn)
        try:
            ec2 = context.ec2(account.id, _PARTITION_REGIONS.get(partition, "us-east-1"))
            known = [each["RegionName"] for each in ec2.describe_regions()["Regions"]]
        except Exception as error:  # whatever it is, it stops no other account
            failed.append(_failure({"account": account.id, "region": "all"}, error))
            continue
        yield from ((account.id, region) for region in sorted(known))


def _undo(
    context: Context, place: tuple[str, str], rule: reaping.Rule, failed: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Instances that have got the volumes back that a dead run had taken from them."""
    where = {"account": place[0], "region": place[1]}
    ec2 = context.run.clients.ending_client(*place)
    done: list[dict[str, Any]] = []
    try:
        found = unfinished.find(ec2, place, rule, datetime.now(UTC))
    except Exception as error:  # whatever it is, it stops no other place
        failed.append(_failure({"kind": _EXCHANGE, **where}, error))
        return done
    for each in found:
        told = {"kind": _EXCHANGE, "id": each.exchange.instance_id, **where, "run": each.run}
        try:
            if not context.check:
                unfinished.finish(ec2, each)
        except Exception as error:  # whatever it is, it stops no other instance
            failed.append(_failure(told, error))
            continue
        reason = (
            "its run is dead: only tags were left" if each.settled else "its run is dead: it has its own volumes again"
        )
        done.append({**told, "reason": reason})
    return done


def _look(
    context: Context,
    place: tuple[str, str],
    rule: reaping.Rule,
    failed: list[dict[str, Any]],
    kinds: Iterable[str] = things.ORDER,
) -> list[tuple[Thing, reaping.Verdict]]:
    """What bears the deployment's tags there, each with its verdict."""
    tags = {reaping.DEPLOYMENT: rule.deployment, **things.TEMPORARY}
    now = datetime.now(UTC)
    found: list[tuple[Thing, reaping.Verdict]] = []
    for kind in kinds:
        try:
            listed = things.find(context.run.clients.ending_client(*place), place, tags, [kind])
        except Exception as error:  # whatever it is, it stops no other kind and no other place
            failed.append(_failure({"kind": kind, "account": place[0], "region": place[1]}, error))
            continue
        free = [each for each in listed if not each.held and each.state not in things.GOING]
        found += [(each, _judge(each, now, rule)) for each in free]
    return found


def _judge(thing: Thing, now: datetime, rule: reaping.Rule) -> reaping.Verdict:
    if reaping.is_forged(thing.kind, thing.tags, thing.created):
        log.warning("%s is older than the run that its tags name: it is left alone", thing)
        return reaping.Verdict(False, "older than the run that its tags name")
    return reaping.judge(thing.tags, thing.created, now, rule)


def _remove(context: Context, doomed: Iterable[Thing], rule: reaping.Rule, failed: list[dict[str, Any]]) -> set[Thing]:
    """What has been removed."""
    ends = time.monotonic() + _SWEEP_SECONDS
    looked = time.monotonic()
    listed = list(doomed)
    given = [thing for thing in listed if rule.run and thing.kind in _HANDED_OVER]
    results = things.remove_all(context.run.clients, [thing for thing in listed if thing not in given], ends)
    if given:
        time.sleep(max(0.0, looked + _AGAIN_SECONDS - time.monotonic()))
        results |= things.remove_all(context.run.clients, _still_doomed(context, given, rule, failed), ends)
    for thing, error in results.items():
        if error is not None:
            told = {"kind": thing.kind, "id": thing.id, "account": thing.account, "region": thing.region}
            failed.append(_failure(told, error))
    return {thing for thing, error in results.items() if error is None}


def _still_doomed(
    context: Context, given: list[Thing], rule: reaping.Rule, failed: list[dict[str, Any]]
) -> list[Thing]:
    """Those that a second look still shows as temporary: the first may have been answered late, with the tags of a
    moment before they were handed over.
    """
    still: set[tuple[str, str]] = set()
    for place in sorted({thing.place for thing in given}):
        for thing, verdict in _look(context, place, rule, failed, _HANDED_OVER):
            if verdict.remove:
                still.add((thing.account, thing.id))
    return [thing for thing in given if (thing.account, thing.id) in still]


def _uploads(
    context: Context, repositories: Iterable[Mapping[str, Any]], rule: reaping.Rule, failed: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Multipart uploads below the prefixes of repositories that are older than any run: S3 bills their parts."""
    oldest = datetime.now(UTC) - reaping.LONGEST_RUN - max(rule.grace, reaping.LEAST_GRACE)
    found: list[dict[str, Any]] = []
    for setting in repositories:
        told = {name: str(setting.get(name) or "") for name in ("account", "region")}
        try:
            found += _old_uploads(context, setting, oldest)
        except Exception as error:  # whatever it is, it stops no other repository
            failed.append(_failure({"kind": _UPLOAD, "id": str(setting.get("bucket") or ""), **told}, error))
    return found


def _old_uploads(context: Context, setting: Mapping[str, Any], oldest: datetime) -> list[dict[str, Any]]:
    """Those of one repository; raises KeeperError BadRepository for a setting that does not say where it is, botocore's
    errors otherwise.
    """
    for name in ("account", "region", "bucket"):
        if not setting.get(name):
            raise KeeperError("BadRepository", f"mayfly_repository has no {name}.", _SEE_REPOSITORIES)
    if setting.get("endpoint_url"):  # keys of its own store may not list uploads, and workers make none
        return []
    account, region, bucket = str(setting["account"]), str(setting["region"]), str(setting["bucket"])
    prefix = str(setting.get("prefix") or "").strip("/")
    where = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else "", "ExpectedBucketOwner": account}
    pages = context.run.clients.ending_client(account, region, "s3").get_paginator("list_multipart_uploads")
    return [
        {
            "kind": _UPLOAD,
            "id": f"{bucket}/{each['Key']}",
            "account": account,
            "region": region,
            "reason": f"older than any run: begun at {each['Initiated']:%Y-%m-%d %H:%M:%S} UTC",
            "request": {"Bucket": bucket, "Key": each["Key"], "UploadId": each["UploadId"]},
        }
        for page in pages.paginate(**where)
        for each in page.get("Uploads") or ()
        if each["Initiated"] < oldest
    ]


def _abort(context: Context, upload: dict[str, Any], failed: list[dict[str, Any]]) -> bool:
    """Whether it is gone."""
    account, region = upload["account"], upload["region"]
    try:
        s3 = context.run.clients.ending_client(account, region, "s3")
        s3.abort_multipart_upload(**upload["request"], ExpectedBucketOwner=account)
    except Exception as error:  # whatever it is, it stops no other upload
        if aws.code_of(error) != "NoSuchUpload":
            told = {"kind": _UPLOAD, "id": upload["id"], "account": account, "region": region}
            failed.append(_failure(told, error))
            return False
    return True


def _told(thing: Thing, verdict: reaping.Verdict) -> dict[str, Any]:
    value = {"kind": thing.kind, "id": thing.id, "account": thing.account, "region": thing.region}
    return {**value, "run": thing.tags.get(reaping.RUN, ""), "reason": verdict.reason}


def _failure(where: dict[str, Any], error: Exception) -> dict[str, Any]:
    log.error("%s: %s", where, error)
    return {**where, "error": as_keeper_error(error).text}
