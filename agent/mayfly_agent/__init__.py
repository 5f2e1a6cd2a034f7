# SPDX-License-Identifier: GPL-3.0-or-later
"""The transfer agent: moves the data of one protected resource between EBS and a repository."""

__version__ = "0.1.0"
