# SPDX-License-Identifier: GPL-3.0-or-later
"""Block data on disk: volumes and snapshots as sparse files that share what they have in common."""
