# SPDX-License-Identifier: GPL-3.0-or-later
"""The EBS direct APIs of every Region, over the block store."""
