# SPDX-License-Identifier: GPL-3.0-or-later
"""All settings of ``group_vars``, with what each allows. The defaults are those that the roles' defaults state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from .checks import DEFAULT_OPERATIONS, CheckOperations, CheckPorts
from .connection import Bastion, Way
from .copies import NEW, CopyPoints
from .instance_types import InstanceTypes, InstanceTypesSetting
from .model import SECRET, Setting, read, read_all
from .names import PREFIX
from .networks import AccountId, Network, Text
from .packages import Packages
from .repository import Repository
from .tags import OwnTags
from .volume_types import VolumeTypes
from .zones import time_zone

# Retention counts on no run being longer than a week (docs/repository-format.md).
_WEEK = 7 * 86400
_DAY = 86400
# Not a key that users could write.
_NAME = "(name)"


def _seconds(least: int, most: int, default: int) -> Any:
    return Field(default, ge=least, le=most, description=f"a number of seconds from {least} to {most}")


def _number(least: int, most: int, default: int) -> Any:
    return Field(default, ge=least, le=most, description=f"a number from {least} to {most}")


class Account(Setting):
    """One of ``mayfly_accounts``; ``name`` is the key that it stands below."""

    name: str = Field("", alias="(name)")
    id: AccountId = Field(description="an account id of 12 digits in quotes")
    role_arn: Text | None = Field(None, description="the ARN of a role")
    external_id: Text | None = Field(None, description="a text", json_schema_extra=SECRET)
    worker_role_arn: Text | None = Field(None, description="the ARN of a role")
    worker_instance_profile: Text | None = Field(None, description="the name of an instance profile")

    @classmethod
    def named(cls, name: str, **values: Any) -> Account:
        """The account below that key; raises SettingError."""
        return read(cls, f"{PREFIX}accounts.{name}", {**values, _NAME: name})

    def as_dict(self) -> dict[str, Any]:
        """What :meth:`named` takes."""
        return self.model_dump(exclude_none=True)


class Image(Setting):
    """``mayfly_worker_image`` and ``mayfly_restore_image``: an image by id, or the newest of an owner by name."""

    id: Text | None = Field(None, description="the id of an image")
    owner: Annotated[str, BeforeValidator(str)] | None = Field(
        None, description="the id of the account that publishes it"
    )
    name: Text | None = Field(None, description="a pattern of the image's name")

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if bool(self.id) == bool(self.owner or self.name) or bool(self.owner) != bool(self.name):
            raise ValueError("it is either {id} or {owner, name}")
        return self


class Hooks(Setting):
    """``mayfly_hooks``: shell commands around the snapshots."""

    before: Text | None = Field(None, description="a shell command")
    after: Text | None = Field(None, description="a shell command")


class Authority(Setting):
    """Who signs certificates of workers, as ``mayfly_tls_authority`` says; all are texts in PEM but the passphrase."""

    certificate: Text = Field(description="a certificate, PEM")
    key: Text = Field(description="its key, PEM", json_schema_extra=SECRET)
    passphrase: Text | None = Field(None, description="the key's passphrase", json_schema_extra=SECRET)


class Settings(Setting):
    """The settings as they hold for one host. What was not given has its default; None where there is none."""

    deployment: Annotated[str, BeforeValidator(str)] = Field(
        "default", pattern=r"^[A-Za-z0-9-]{1,64}\Z", description="1 to 64 letters, digits and dashes"
    )
    accounts: dict[str, Account] = Field(default_factory=dict, description="a dictionary of accounts")
    worker_account: Literal["backup", "production"] | None = Field(None, description="backup or production")
    networks: tuple[Network, ...] = Field((), description="a list of networks")
    control_node_cidr: Text | None = Field(None, description="a network such as 10.20.0.5/32")
    check_operations: CheckOperations = Field(DEFAULT_OPERATIONS, description="a list of operations")
    check_ports: CheckPorts = Field((), description="a list of up to 32 ports, each with host and port")
    instance_types: InstanceTypesSetting = Field(default_factory=InstanceTypes, description="lists of types by profile")
    worker_market: Literal["on-demand", "spot"] = Field("on-demand", description="on-demand or spot")
    worker_order: Literal["preference", "price"] = Field("preference", description="preference or price")
    max_workers: int = Field(0, ge=0, description="a number of workers, or 0 for any")
    capacity_timeout: int = _seconds(1, _DAY, 900)
    worker_tags: OwnTags = Field(default_factory=dict, description="a dictionary of keys and values")
    repository: Repository | None = Field(None, description="a dictionary that names a bucket")
    snapshot_access: Literal["session", "share"] = Field("session", description="session or share")
    new_kms_key_id: Text | None = Field(None, description="the id, alias or ARN of a KMS key")
    new_passphrase: Text | None = Field(None, description="a text", json_schema_extra=SECRET)
    new_recovery_key: bool = Field(False, description="true or false")
    rotate_key: bool = Field(False, description="true or false")
    full_backup: bool = Field(False, description="true or false")
    restore_point: Annotated[str, BeforeValidator(str)] = Field("latest", description="latest, an id or a time")
    restore_account: AccountId | None = Field(None, description="an account id of 12 digits in quotes")
    restore_region: Text | None = Field(None, description="a Region")
    restore_availability_zone: Text | None = Field(None, description="a zone's name or id")
    restore_kms_key_id: Text | None = Field(None, description="the id, alias or ARN of a KMS key")
    restore_volume_types: VolumeTypes = Field(default_factory=dict, description="a dictionary of devices and types")
    restore_tags: OwnTags = Field(default_factory=dict, description="a dictionary of keys and values")
    restore_timeout: int = _seconds(60, _WEEK, 14400)
    restore_boot_timeout: int = _seconds(10, _DAY, 1200)
    restore_volumes: tuple[Text, ...] = Field((), description="a list of ids or devices of volumes")
    restore_attachment: Literal["none", "attach", "replace"] = Field("none", description="none, attach or replace")
    restore_instance_id: Text | None = Field(None, description="the id of an instance")
    restore_devices: dict[str, Text] = Field(default_factory=dict, description="a dictionary of devices")
    restore_location: Literal["new", "original"] = Field("new", description="new or original")
    restore_subnet_id: Text | None = Field(None, description="the id of a subnet")
    restore_security_group_ids: tuple[Text, ...] = Field((), description="a list of ids of security groups")
    restore_instance_type: Text | None = Field(None, description="an instance type")
    restore_image: Image | None = Field(None, description="a dictionary with id, or with owner and name")
    restore_name: Text | None = Field(None, description="a name")
    restore_key_name: Text | None = Field(None, description="the name of a key pair, or none")
    restore_instance_profile: Text | None = Field(None, description="the name or ARN of an instance profile, or none")
    restore_keep_address: bool = Field(False, description="true or false")
    copy_repository: Repository | None = Field(None, description="a dictionary that names a bucket")
    copy_points: CopyPoints = Field(NEW, description="new, missing, latest or a list of ids")
    retention_count: int = _number(0, 100_000, 0)
    retention_days: int = _number(0, 36_500, 0)
    retention_daily: int = _number(0, 36_500, 0)
    retention_weekly: int = _number(0, 5_200, 0)
    retention_monthly: int = _number(0, 1_200, 0)
    retention_yearly: int = _number(0, 100, 0)
    retention_time_zone: Annotated[str, AfterValidator(time_zone)] = Field(
        "UTC", description="the name of a time zone, as Europe/Berlin"
    )
    retention_live_share: int = _number(1, 90, 60)
    health_check_mode: Literal["quick", "sample", "full"] = Field("quick", description="quick, sample or full")
    health_check_percent: float = Field(5, gt=0, le=100, description="a share in percent, above 0 and up to 100")
    archive_action: Literal["archive", "return"] = Field("archive", description="archive or return")
    archive_point: Annotated[str, BeforeValidator(str)] = Field("latest", description="latest, an id or a time")
    archive_resources: tuple[Text, ...] = Field((), description="a list of ids of resources")
    archive_storage_class: Literal["GLACIER", "DEEP_ARCHIVE"] = Field("GLACIER", description="GLACIER or DEEP_ARCHIVE")
    archive_tier: Literal["expedited", "standard", "bulk"] = Field(
        "standard", description="expedited, standard or bulk"
    )
    archive_days: int = _number(1, 365, 3)
    archive_wait: int = _seconds(0, _WEEK, 0)
    archive_sets_absent: tuple[Text, ...] = Field((), description="a list of names of archived sets")
    archive_remove_unfinished: bool = Field(False, description="true or false")
    object_lock: Literal["none", "governance", "compliance"] = Field(
        "none", description="none, governance or compliance"
    )
    object_lock_days: int = _number(1, 36_500, 30)
    tls_authority: Authority | None = Field(None, description="a dictionary with certificate and key")
    file_recovery_idle_timeout: int = _seconds(60, _DAY, 1800)
    worker_image: Image | None = Field(None, description="a dictionary with id, or with owner and name")
    image_copies: tuple[Text, ...] = Field((), description="a list of Regions")
    image_packages: Packages = Field((), description="a list of names and of https addresses of package files")
    image_timeout: int = _seconds(60, _DAY, 7200)
    image_remove_old: bool = Field(False, description="true or false")
    lease: int = _seconds(15, _DAY, 600)
    deadline: int = _seconds(60, _WEEK, 86400)
    bastion: Bastion | None = Field(None, description="a dictionary that names a host")
    worker_connection: Way = Field(Way.DIRECT, description="direct, bastion or session_manager")
    worker_ssh_port: int = Field(22, ge=1, le=65535, description="a TCP port")
    worker_ssh_user: str = Field(
        "mayfly", pattern=r"^[a-z_][a-z0-9_-]{0,31}\Z", description="the name of a user, as useradd takes it"
    )
    hooks: Hooks = Field(Hooks(), description="a dictionary with before and after")
    hook_timeout: int = _seconds(1, _DAY, 60)
    snapshot_timeout: int = _seconds(60, _WEEK, 14400)
    transfer_retry_timeout: int = _seconds(10, 900, 300)
    transfer_stall_timeout: int = _seconds(60, _DAY, 600)
    agent_memory_max: Annotated[str, BeforeValidator(str)] = Field(
        "75%",
        pattern=r"^([1-9][0-9]?%|100%|[1-9][0-9]*[KMGT]?|infinity)\Z",
        description="a share as 75%, or bytes as 2G",
    )
    transfer_concurrency: int = Field(16, ge=1, le=64, description="a number of requests from 1 to 64")
    reap_regions: tuple[Text, ...] = Field((), description="a list of Regions")
    reap_grace: int = _seconds(300, _WEEK, 900)
    reap_run: str = Field("", description="the id of a run")
    operation: str = "unknown"

    @field_validator("worker_connection")
    @classmethod
    def _has_its_bastion(cls, value: Way, info: ValidationInfo) -> Way:
        # A bastion that was given and is wrong has its own error, and is not in the data.
        if value is Way.BASTION and "bastion" in info.data and info.data["bastion"] is None:
            raise ValueError("it is bastion, so mayfly_bastion is needed too")
        return value

    @model_validator(mode="before")
    @classmethod
    def _with_names(cls, value: Any) -> Any:
        accounts = value.get("accounts") if isinstance(value, Mapping) else None
        if not isinstance(accounts, Mapping):
            return value
        named = {
            name: {**each, _NAME: str(name)} if isinstance(each, Mapping) else each for name, each in accounts.items()
        }
        return {**value, "accounts": named}

    @classmethod
    def from_call(cls, value: Mapping[str, Any]) -> Settings:
        """What a task sent along, by names without their prefix; raises SettingError for what is wrong."""
        return read_all(cls, value)
