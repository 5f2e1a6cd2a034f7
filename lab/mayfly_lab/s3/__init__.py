# SPDX-License-Identifier: GPL-3.0-or-later
"""S3 of the lab: moto's control plane, with object data on disk, accounts, Regions and policies that count."""
