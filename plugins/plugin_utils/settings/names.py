# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of all settings, without the prefix ``mayfly_``, by the file of ``group_vars/all`` that explains each.

Apart from the schema, which every task's process would have to load for them.
"""

from __future__ import annotations

PREFIX = "mayfly_"
_BY_FILE = {
    "accounts": ("deployment", "accounts", "worker_account", "snapshot_access"),
    "networks": ("networks", "control_node_cidr", "check_operations", "check_ports"),
    "connections": ("worker_connection", "bastion"),
    "instance_types": ("instance_types", "worker_market", "worker_order", "max_workers", "capacity_timeout"),
    "tags": ("worker_tags",),
    "repositories": (
        "repository",
        "new_kms_key_id",
        "new_passphrase",
        "new_recovery_key",
        "rotate_key",
        "full_backup",
        "copy_repository",
        "copy_points",
    ),
    "restores": (
        "restore_point",
        "restore_account",
        "restore_region",
        "restore_availability_zone",
        "restore_kms_key_id",
        "restore_volume_types",
        "restore_tags",
        "restore_timeout",
        "restore_boot_timeout",
        "restore_volumes",
        "restore_attachment",
        "restore_instance_id",
        "restore_devices",
        "restore_location",
        "restore_subnet_id",
        "restore_security_group_ids",
        "restore_instance_type",
        "restore_image",
        "restore_name",
        "restore_key_name",
        "restore_instance_profile",
        "restore_keep_address",
    ),
    "retention": (
        "retention_count",
        "retention_days",
        "retention_daily",
        "retention_weekly",
        "retention_monthly",
        "retention_yearly",
        "retention_time_zone",
        "retention_live_share",
        "object_lock",
        "object_lock_days",
    ),
    "health_checks": ("health_check_mode", "health_check_percent"),
    "archives": (
        "archive_action",
        "archive_point",
        "archive_resources",
        "archive_storage_class",
        "archive_tier",
        "archive_days",
        "archive_wait",
        "archive_sets_absent",
        "archive_remove_unfinished",
    ),
    "file_recovery": ("tls_authority", "file_recovery_idle_timeout"),
    "workers": (
        "worker_image",
        "image_copies",
        "image_packages",
        "image_timeout",
        "image_remove_old",
        "lease",
        "deadline",
        "worker_ssh_port",
        "worker_ssh_user",
        "hooks",
        "hook_timeout",
        "snapshot_timeout",
        "transfer_retry_timeout",
        "transfer_stall_timeout",
        "agent_memory_max",
        "transfer_concurrency",
        "reap_regions",
        "reap_grace",
        "reap_run",
    ),
}
FILES = {name: file for file, names in _BY_FILE.items() for name in names}


def file_of(setting: str) -> str:
    """The file that explains a setting, or a key of one, as it is named with its prefix."""
    return f"group_vars/all/{FILES[setting.removeprefix(PREFIX).split('.')[0]]}.yml"
