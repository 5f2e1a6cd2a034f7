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
        description: Id of the account that owns the bucket, 12 digits. Every call to AWS's S3 names it.
        type: str
        required: true
      kms_key_id:
        description: KMS key that wraps the repository's key.
        type: str
      passphrase:
        description: Passphrase that wraps the repository's key.
        type: str
      endpoint_url:
        description: A store that is not AWS's S3, as C(https://s3.example.com:9000); https alone.
        type: str
      addressing_style:
        description: Whether such a store has buckets in the path of requests, or in the name of its host.
        type: str
        choices: [path, virtual]
        default: path
      signing_region:
        description: Region that requests to such a store are signed for; O(repository.region) without it.
        type: str
      ca_file:
        description: File with the authorities that such a store's certificate comes from, PEM; an absolute path.
        type: str
      access_key_id:
        description: Key for such a store. Workers get it as it is.
        type: str
      secret_access_key:
        description: The key's secret.
        type: str
      recovery_key:
        description: Recovery key that wraps the repository's key.
        type: str
"""

    TARGET = (
        DOCUMENTATION.replace("  repository:\n", "  target_repository:\n", 1)
        .replace("The repository that holds restore points.", "For a copy, the repository that it goes to.", 1)
        .replace("    required: true\n    suboptions", "    suboptions", 1)
    )
