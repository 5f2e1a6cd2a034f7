# SPDX-License-Identifier: GPL-3.0-or-later
"""A long campaign of the repository's state machine."""
