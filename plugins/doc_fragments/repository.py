# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """The repository."""

    DOCUMENTATION = """
options:
  repository:
    description: The repository that holds restore points.
    type: dict
    required: true
    suboptions:
      bucket:
        description: Name of the bucket.
        type: str
        required: true
      prefix:
        description: Prefix of every key; empty for the bucket's root.
        type: str
        default: ""
      region:
        description: Region of the bucket.
        type: str
        required: true
      account:
        description: Id of the account that owns the bucket, 12 digits. Every call to S3 names it.
        type: str
        required: true
      kms_key_id:
        description: KMS key that wraps the repository's key.
        type: str
      passphrase:
        description: Passphrase that wraps the repository's key.
        type: str
      recovery_key:
        description: Recovery key that wraps the repository's key.
        type: str
"""
